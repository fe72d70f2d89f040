"""Synthetic serial-section transmission electron microscopy (ssTEM) of neuropil.

Lengths in the plane are pixels of 4 nm, positions along the stack are sections of 50 nm (12.5 pixels).
"""
