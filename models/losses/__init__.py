"""Losses that the networks of `tiler.models.zoo` are trained with.

A loss of a map takes scores (logits) and a target in {0, 1}, both ``(n, k, y, x)`` float, and returns a scalar.
A choice that the source leaves open is marked [choice].
"""
