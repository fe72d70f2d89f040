"""Exact segmentation of microscopy volumes of any size."""
