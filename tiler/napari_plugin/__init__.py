"""The napari plugin: what tiler reads as layers, and a widget that segments one of them.

``napari.yaml`` is the manifest (https://napari.org/stable/plugins), ``reader`` makes layers of files, ``work`` runs
the engine without knowing of windows, ``widget`` is what is seen. Only ``widget`` imports napari.
"""
