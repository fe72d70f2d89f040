"""Functions for all formats on a file system: whether a file exists, its identity, and names of the images in it."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from tiler.errors import SourceError
from tiler.ports import Json

PIECES, PIECE = 16, 4096
"""Number of pieces of a file whose content enters its identity, and bytes of each; small files enter completely."""
PRECOMPUTED = "precomputed://"
INNER = re.compile(r"(.+\.(?:h5|hdf5|hdf)):/*(.+?)/*", re.IGNORECASE | re.DOTALL)
IMAGE = re.compile(r"(.+\.(?:tif|tiff|btf|tf8|tf2|lsm|ome)):(\d+|pages)", re.IGNORECASE | re.DOTALL)


def existing(path: Path) -> Path:
    """The absolute path of something that exists.

    Raises
    ------
    SourceError
        If the file does not exist, or the name is not valid.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        raise SourceError(f"{path} does not exist") from None
    except ValueError as error:  # a NUL, a lone surrogate
        raise SourceError(f"{str(path)!a:.200} is not a path: {error}") from None
    except OSError as error:  # no permission, a name that is too long
        raise SourceError(f"{path!s:.200} cannot be opened: {error.strerror or error}") from None
    return path.absolute()


def file_status(path: Path) -> Json:
    """Path, size and modification time.

    Raises
    ------
    SourceError
        If the file is gone.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise SourceError(f"{path} does not exist any more") from None
    return {"kind": "file", "path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}


def file_identity(path: Path) -> Json:
    """Path, size, modification time and a hash of some of the content: programs that copy files set the time back.

    Raises
    ------
    SourceError
        If the file is gone or cannot be read.
    """
    status, sampled = file_status(path), hashlib.sha256()
    step = max(PIECE, (status["size"] - PIECE) // (PIECES - 1))
    try:
        with path.open("rb") as file:
            for number in range(PIECES):
                file.seek(number * step)
                sampled.update(file.read(PIECE))
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or error}") from None
    return {**status, "sample": sampled.hexdigest()}


def files_identity(paths: Iterable[Path]) -> Json:
    """Identity of a file, with those of the other files that hold some of its voxels."""
    first, *others = (file_identity(path) for path in paths)
    return {**first, "others": others} if others else first


def split_inner(path: Path) -> tuple[Path, str | None]:
    """``file.h5:/volumes/raw`` as ``file.h5`` and ``volumes/raw``; None where nothing follows the suffix."""
    return _split(INNER, path)


def split_image(path: Path) -> tuple[Path, str | None]:
    """``file.tif:2`` as ``file.tif`` and ``2``; None where nothing follows the suffix."""
    return _split(IMAGE, path)


def _split(pattern: re.Pattern[str], path: Path) -> tuple[Path, str | None]:
    found = pattern.fullmatch(str(path))
    return (Path(found[1]), found[2]) if found and not os.path.lexists(path) else (path, None)
