"""Volumes and results as layers for viewers.

``lazy`` is an array that reads only what is sliced, ``levels`` finds coarser levels, ``layers`` decides how an input
is displayed, ``space`` aligns layers, and ``server`` shows them in neuroglancer.
"""
