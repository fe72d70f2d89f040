"""BioImage.IO packages: networks with their own weights, pre- and post-processing.

``contents`` finds the files of a package, ``description`` reads its yaml by `bioimageio.spec`, ``processing`` turns its
steps into tiler's, and ``loading`` combines them into a model.
"""

from __future__ import annotations

from pathlib import Path

YAMLS = (".yaml", ".yml")


def is_package(path: Path) -> bool:
    """Whether a path looks like a package: a folder, a zip, or the yaml itself."""
    return path.is_dir() or (path.is_file() and path.suffix in (*YAMLS, ".zip"))
