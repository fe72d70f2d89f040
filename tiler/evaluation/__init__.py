"""Scores of volumes of any size: what is compared, how it is read, what comes out.

``request`` says what is wanted, ``opening`` finds the volumes and what their values mean, ``scoring`` streams and
scores them, ``result`` is what `tiler.evaluate` returns.
"""
