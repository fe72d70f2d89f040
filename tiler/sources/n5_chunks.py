"""The chunks of an N5 dataset, decoded one by one: none inflates to more bytes than it can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.sources.inflate import inflate
from tiler.sources.raw import Header, Index
from tiler.sources.tensorstores import TensorImage
from tiler.sources.values import mapping_of

KINDS = {"raw": "", "gzip": "gzip", "bzip2": "bz2", "xz": "lzma", "blosc": "blosc", "zstd": "zstd"}
"""Names of compressions in the metadata, and those of `tiler.sources.inflate`."""

SLACK = 2**16
"""Bytes that may follow the voxels of a chunk."""


@dataclass(frozen=True, slots=True)
class N5Image:
    """A dataset, first axis first; tensorstore, which opened it, does not bound what a chunk inflates to."""

    image: TensorImage
    attributes: Mapping[str, Any] = field(repr=False)

    @property
    def header(self) -> Header:
        return self.image.header

    def identity(self) -> Json:
        return self.image.identity()

    def fetch(self, index: Index) -> Array:
        if not self.image.folder.is_dir():
            raise SourceError(f"{self.image.folder} has vanished while it was read")
        out = np.zeros([part.stop - part.start for part in index], self.header.dtype)
        for cell in product(*(range(part.start // size, -(-part.stop // size))
                              for part, size in zip(index, self.header.chunk, strict=True))):
            file = self.image.folder / "/".join(map(str, cell))
            if file.exists():
                self._paste(self._chunk(file, cell), cell, index, out)
        if not self.image.folder.is_dir():
            raise SourceError(f"{self.image.folder} has vanished while it was read")
        return out

    def _paste(self, chunk: Array, cell: tuple[int, ...], index: Index, out: Array) -> None:
        starts = [at * size for at, size in zip(cell, self.header.chunk, strict=True)]
        spans = [(max(part.start, start), min(part.stop, start + size))
                 for part, start, size in zip(index, starts, chunk.shape, strict=True)]
        out[tuple(slice(low - part.start, high - part.start)
                  for (low, high), part in zip(spans, index, strict=True))] = chunk[
            tuple(slice(low - start, high - start) for (low, high), start in zip(spans, starts, strict=True))]

    def _chunk(self, file: Path, cell: tuple[int, ...]) -> Array:
        """A chunk, which at the end of an axis may be shorter than the others."""
        content, ndim, chunk = file.read_bytes(), len(cell), self.header.chunk
        mode, rank = np.frombuffer(content, ">u2", 2)
        shape = tuple(map(int, np.frombuffer(content, ">u4", ndim, 4)))
        least = [min(size, whole - at * size) for at, size, whole in zip(cell, chunk, self.header.shape, strict=True)]
        if mode > 1 or rank != ndim or not all(a <= b <= c for a, b, c in zip(least, shape, chunk, strict=True)):
            raise SourceError(f"{file} is damaged: its header says mode {mode} and shape {shape}, chunks are {chunk}")
        start = 4 + 4 * ndim + 4 * int(mode)
        data = self._inflated(content[start:], math.prod(shape) * self.header.dtype.itemsize)
        voxels = np.frombuffer(data, self.header.dtype.newbyteorder(">"), math.prod(shape))
        return voxels.reshape(shape[::-1]).T

    def _inflated(self, data: bytes, size: int) -> bytes:
        told = mapping_of(self.attributes.get("compression")).get("type") or self.attributes.get("compressionType")
        kind = KINDS[str(told)]
        return inflate(kind, data, size + SLACK) if kind else data
