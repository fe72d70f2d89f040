"""Common code for N5 and precomputed volumes: tensorstore reads their chunks, tiler their metadata.

tensorstore refuses a volume for metadata that reading does not need, such as a resolution of null. tiler therefore
passes it only the metadata that reading needs, in place of the file on disk (``kvstack``: one store over another).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.sources.raw import Header, Index, Lazy
from tiler.sources.volume import one_line
from tiler.sources.zarr_places import listing_hash

MOST = 50_000
"""Largest number of file names to inspect in search of a chunk."""


@dataclass(frozen=True, slots=True)
class TensorImage:
    """A volume that tensorstore reads; its first voxel is at the origin.

    Parameters
    ----------
    header
        Metadata of the volume.
    folder
        Folder of the chunks.
    metadata
        Text of the metadata file on disk.
    handle
        The open store.
    missing
        Description of missing voxels, which are read as zeros with the user's consent.
    """

    header: Header
    folder: Path
    metadata: str
    handle: Lazy[Any] = field(repr=False)
    missing: str = ""

    def fetch(self, index: Index) -> Array:
        read = np.array(self.handle()[index].read().result())
        if not self.folder.is_dir():
            raise SourceError(f"{self.folder} has vanished while it was read")
        return read

    def identity(self) -> Json:
        """The metadata, and a hash of the names, sizes and times of the chunks."""
        told = {"kind": "tensorstore", "path": str(self.folder), "metadata": self.metadata,
                "listing": listing_hash(self.folder)}
        return {**told, "missing": self.missing} if self.missing else told


def opened(driver: str, folder: Path, document: str, content: Json, context: Any = None) -> Any:
    """A store whose metadata are given and whose chunks lie in a folder.

    Parameters
    ----------
    driver
        ``n5`` or ``neuroglancer_precomputed``.
    folder
        Folder of the chunks; with ``context`` they are in a store in memory instead.
    document
        Name of the metadata file that the driver expects.
    content
        Content of that file.

    Raises
    ------
    SourceError
        If tensorstore cannot read it.
    """
    place = {"driver": "memory", "path": "chunks/"} if context else {"driver": "file", "path": f"{folder}/"}
    context = context or tensorstore.Context()
    try:
        memory = tensorstore.KvStore.open({"driver": "memory", "path": "given/"}, context=context).result()
        memory.write(document, json.dumps(content).encode()).result()
        given = {"exact": document, "base": {"driver": "memory", "path": f"given/{document}"}}
        spec = {"driver": driver, "kvstore": {"driver": "kvstack", "layers": [{"base": place}, given]}}
        store = tensorstore.open(spec, open=True, read=True, context=context).result()
    except (ValueError, OSError) as error:
        raise SourceError(f"{folder} cannot be read: {_first(error)}") from error
    return store[tensorstore.d[:].translate_to[0]]


def _first(error: Exception) -> str:
    """Message of an error without tensorstore's list of settings."""
    return one_line(error).split(" [", maxsplit=1)[0]


def header_of(name: str, axes: str, store: Any, scale: Sequence[float], units: Sequence[str | None],
              offset: Sequence[float]) -> Header:
    """Header of a store, without reading a voxel."""
    return Header(name, axes, tuple(store.shape), np.dtype(store.dtype.numpy_dtype),
                  tuple(store.chunk_layout.read_chunk.shape), tuple(scale), tuple(units), tuple(offset))


def json_file(file: Path) -> Mapping[str, Any]:
    """The object that a file of JSON holds.

    Raises
    ------
    SourceError
        If it holds no object.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{file} cannot be read: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise SourceError(f"{file} makes no sense: it holds no JSON object")
    return found


def chunk_names(folder: Path, pattern: str) -> Iterator[str]:
    """Names of files below a folder that match the pattern of chunks, up to a limit."""
    wanted = re.compile(pattern)
    return (name for name in islice(_below(folder, ""), MOST) if wanted.fullmatch(name))


def _below(folder: Path, prefix: str) -> Iterator[str]:
    if not folder.is_dir():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _below(Path(entry.path), f"{prefix}{entry.name}/")
            else:
                yield prefix + entry.name
