"""Detection of changes in an output: stamps of files, hashes of metadata, coarser levels computed again."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import DamagedError
from tiler.sinks.layout import Index
from tiler.sinks.pyramid import Level, made_units, steps_between
from tiler.sinks.target import readable

PIECE = 1 << 22
"""Bytes of a file that are held at once."""


def stamp_of(files: Iterable[Path]) -> str:
    """Changes whenever one of these files is written, cut or deleted; a copy has another stamp, too."""
    digest = hashlib.blake2b(digest_size=8)
    for file in files:
        try:
            status = file.stat()
            digest.update(f"{status.st_size} {status.st_mtime_ns};".encode())
        except OSError:
            digest.update(b"none;")
    return digest.hexdigest()


def mark_of(content: bytes | Iterable[bytes]) -> str:
    """BLAKE2b of some bytes."""
    digest = hashlib.blake2b(digest_size=16)
    for piece in (content,) if isinstance(content, bytes) else content:
        digest.update(piece)
    return digest.hexdigest()


def marks_of_files(files: Iterable[Path]) -> dict[str, str]:
    """By their names, as far as they are there."""
    return {file.name: mark_of(pieces(file)) for file in files if file.is_file()}


def pieces(file: Path, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """The bytes of a part of a file, some at a time."""
    left = file.stat().st_size - start if stop is None else stop - start
    with file.open("rb") as opened:
        opened.seek(start)
        while left > 0 and (piece := opened.read(min(PIECE, left))):
            left -= len(piece)
            yield piece


def mark_of_folder(folder: Path) -> str:
    """Hash of the names and sizes of all files in a folder, at any depth."""
    digest = hashlib.blake2b(digest_size=16)
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(place, name)
            digest.update(f"{file.relative_to(folder).as_posix()} {file.stat().st_size};".encode())
    return digest.hexdigest()


def unlike(marks: Mapping[str, str], recorded: Mapping[str, str]) -> list[str]:
    """Metadata that is missing or no longer as it was written, by name."""
    missing = [f"{name} is missing" for name in recorded if name not in marks]
    return missing + [f"{name} was changed" for name, mark in marks.items() if recorded.get(name, mark) != mark]


def level_faults(levels: Sequence[Level], arrays: Sequence[Any], kind: str) -> Iterator[str]:
    """Find the first piece of each level that does not match its finer level.

    Parameters
    ----------
    levels
        From level 0 on.
    arrays
        Arrays of the same levels.
    kind
        Kind of the output.
    """
    for (finer, level), (source, target) in zip(pairwise(levels), pairwise(arrays), strict=True):
        if tuple(target.shape) != tuple(level.shape):
            yield f"level {level.path} has shape {tuple(target.shape)} instead of {tuple(level.shape)}"
            continue
        made = made_units(source, target, steps_between(finer, level), kind)
        fault = next((unit for unit, values in made if not _holds(target, unit, values)), None)
        if fault is not None:
            yield f"level {level.path} at {_spelled(fault)} is not what level {finer.path} gives"


def _holds(array: Any, unit: Index, values: Any) -> bool:
    try:
        with readable("level"):
            stored = np.asarray(array[unit])
    except DamagedError:
        return False
    return np.array_equal(stored, values, equal_nan=stored.dtype.kind == "f")


def _spelled(index: Index) -> str:
    return "[" + ", ".join(f"{part.start}:{part.stop}" for part in index) + "]"
