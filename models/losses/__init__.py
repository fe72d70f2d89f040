"""What the networks of `tiler.models.zoo` are trained with.

A loss of a map takes scores (logits) and a target in {0, 1}, both ``(n, k, y, x)`` float, and gives a scalar.
"""
