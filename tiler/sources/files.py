"""What all formats on a file system share: whether a file is there, and its identity."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tiler.errors import SourceError
from tiler.ports import Json

PRECOMPUTED = "precomputed://"


def existing(path: Path) -> Path:
    """The absolute path of something that exists.

    Raises
    ------
    SourceError
        If there is nothing of that name.
    """
    if not path.exists():
        raise SourceError(f"{path} does not exist")
    return path.absolute()


def file_identity(path: Path) -> Json:
    """Path, size and modification time."""
    status = os.stat(path)
    return {"kind": "file", "path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def split_inner(path: Path) -> tuple[Path, str | None]:
    """``file.h5:/volumes/raw`` as ``file.h5`` and ``volumes/raw``; None where nothing stands behind the suffix."""
    found = re.fullmatch(r"(.+\.(?:h5|hdf5|hdf)):/*(.+?)/*", str(path), re.IGNORECASE)
    return (Path(found[1]), found[2]) if found and not path.exists() else (path, None)
