"""Volumes and results as layers for viewers: which there are, how each is shown, how its voxels are read.

``lazy`` is an array that reads what is sliced, ``levels`` finds coarser ones, ``layers`` decides how an input is
shown, ``space`` lays layers over each other, ``server`` shows them in neuroglancer.
"""
