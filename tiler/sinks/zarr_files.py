"""The files of a zarr array on a local disk, made durable."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

from tiler.sinks.layout import Index
from tiler.sinks.target import sync

METADATA = ("zarr.json", ".zgroup", ".zattrs", ".zarray")


def sync_metadata(folder: Path) -> None:
    """Make what a group or an array says of itself durable, and its name."""
    for file in (folder / name for name in METADATA):
        if file.exists():
            sync(file)
    sync(folder)
    sync(folder.parent)


def sync_chunks(root: Path, array: Any, index: Index, known: set[Path]) -> None:
    """Make the files of all chunks (or shards) that a slice of the array touches durable, and their names.

    Parameters
    ----------
    root
        Folder of the array.
    array
        A zarr array.
    index
        The slice, one entry an axis.
    known
        Folders whose own names are known to be durable; completed.
    """
    sizes = array.shards or array.chunks
    ranges = [range(part.start // size, -(-part.stop // size)) for part, size in zip(index, sizes, strict=True)]
    files = [root / array.metadata.encode_chunk_key(cell) for cell in product(*ranges)]
    stored = [file for file in files if file.exists()]
    for file in stored:
        sync(file)
    for folder in {file.parent for file in stored}:
        sync(folder)
        _sync_names(folder, root, known)


def _sync_names(folder: Path, root: Path, known: set[Path]) -> None:
    """A folder may be as new as its files: its name, and those above it, are synced once each."""
    chain = [folder, *folder.parents]
    chain = [new for new in chain[:chain.index(root)] if new not in known]
    for new in chain:
        sync(new.parent)
    known.update(chain)
