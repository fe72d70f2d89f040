"""The napari plugin: a reader for all formats of tiler, and a widget that segments an image layer.

``napari.yaml`` is the manifest (https://napari.org/stable/plugins), ``reader`` turns files into layers, ``work`` runs
the engine without a window, and ``widget`` is the user interface. Only ``widget`` imports napari.
"""
