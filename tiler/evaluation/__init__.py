"""Evaluation of volumes of any size.

``request`` holds the user's request, ``opening`` opens and aligns the volumes, ``meaning`` interprets their values,
``scoring`` streams and scores them, ``hints`` looks for wrong kinds of input, and ``result`` is what
`tiler.evaluate` returns.
"""
