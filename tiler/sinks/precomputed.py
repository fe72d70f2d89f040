"""Neuroglancer's precomputed volumes on a local disk, in one file a chunk or in shards.

A shard holds the chunks whose numbers agree but for the lowest bits. The bits of a number are those of the chunk's
place, in turn of x, y and z, as far as the axis has chunks::

    grid of 4 x 2 x 1 chunks (x, y, z)     bits  x0 y0 x1
    shards of 0, 1, 2, 3 bits              1x1x1  2x1x1  2x2x1  4x2x1 chunks

References
----------
https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/volume.md,
https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/sharded.md
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

from tiler.errors import SinkError
from tiler.geometry import Shape
from tiler.ports import KINDS, Json, OutputSpec
from tiler.ports.units import NANOMETRES
from tiler.sinks.pyramid import Level
from tiler.sinks.tensorstores import TensorSink

AT_ONCE_BITS = 9
"""Bits of the chunks that a reader finds with one index: 512 of them take 12 KiB."""


class PrecomputedSink(TensorSink):
    """A precomputed volume: an image, or a segmentation where the values are names, with its coarser scales."""

    dtypes = ("uint8", "uint16", "uint32", "uint64", "float32")

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        super().__init__(path, spec)
        if "t" in spec.calibration.axes:
            raise SinkError(f"{path}: a precomputed volume has no time: choose a time point (`roi=t=0`), or another "
                            "format", option="output")
        self.bits = None if spec.shard is None else self._bits(spec.shard)

    @property
    def write_unit(self) -> Shape:
        return self.spec.shard or super().write_unit

    @property
    def chunks(self) -> Shape:
        z, y, x = self.spec.chunk
        return self.layout.with_channels((*((z,) if self.layout.sizes else ()), y, x), 1)

    def shards_of(self, store: Any) -> Shape | None:
        return None if self.bits is None else tuple(store.chunk_layout.write_chunk.shape)

    def _grid(self, shape: Shape) -> list[int]:
        """Number of chunks along x, y and z."""
        return [-(-size // side) for size, side in zip(self._native(shape, 1), self._native(self.chunks, 1),
                                                       strict=True)]

    def _bits(self, shard: Shape) -> int:
        """Bits of a chunk's number that count the chunks of one shard.

        Raises
        ------
        SinkError
            If a shard of this shape is none of the format; the message gives those that are.
        """
        chunk, grid = self.spec.chunk[::-1], self._grid(self.layout.shape)
        legal = [tuple(part * side for part, side in zip(counts, chunk, strict=True))[::-1]
                 for counts in shards_in(grid)]
        if shard not in legal:
            near = sorted(legal, key=lambda each: abs(math.log(math.prod(each) / math.prod(shard))))[:2]
            raise SinkError(f"shards of a precomputed volume with chunks of {_by(self.spec.chunk)} double along x, y "
                            f"and z in turn, so that {_by(shard)} is not among them: the nearest are "
                            f"{' and '.join(map(_by, sorted(near)))}", option="shard")
        return legal.index(shard)

    def described(self, folder: Path, levels: Sequence[Level], number: int) -> Json:
        segmentation = not KINDS[self.spec.kind].ordered
        packed = segmentation and np.dtype(self.spec.dtype).name in ("uint32", "uint64")
        size, factors = (self._native(values, 1) for values in (levels[number].shape, levels[number].factors))
        resolution = [side * factor for side, factor in zip(self._nanometres("scale", 1.0), factors, strict=True)]
        scale: dict[str, Any] = {
            "key": self.folder_of(levels, number), "size": size, "chunk_size": self._native(self.chunks, 1),
            "resolution": resolution, "encoding": "compressed_segmentation" if packed else "raw",
            "voxel_offset": self._voxel_offset(resolution)}
        if packed:
            scale["compressed_segmentation_block_size"] = [8, 8, 8]
        if self.bits is not None:
            scale["sharding"] = sharding(self.bits, sum(bits_of(self._grid(levels[number].shape))))
        return {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{folder}/"},
                "multiscale_metadata": {"type": "segmentation" if segmentation else "image",
                                        "num_channels": self.spec.shape[0],
                                        "data_type": np.dtype(self.spec.dtype).name},
                "scale_metadata": scale}

    def folder_of(self, levels: Sequence[Level], number: int) -> str:
        """By the resolution in nanometres, as neuroglancer's own volumes are named."""
        factors = self._native(levels[number].factors, 1)
        sides = (side * factor for side, factor in zip(self._nanometres("scale", 1.0), factors, strict=True))
        return "_".join(f"{side:g}" for side in sides)

    def chunk_name(self, cell: tuple[int, ...]) -> str:
        sizes, sides, at = self._native(self.layout.shape, 1), self._native(self.chunks, 1), self._native(cell, 0)
        if self.bits is not None:
            return shard_name(at, self._grid(self.layout.shape), self.bits)
        offset = self._voxel_offset(self._nanometres("scale", 1.0))
        ends = [(i * side, min((i + 1) * side, size)) for i, side, size in zip(at, sides, sizes, strict=True)]
        return "_".join(f"{first + low}-{first + high}" for first, (low, high) in zip(offset, ends, strict=True))

    def view(self, store: Any) -> Any:
        """``(x, y, z, channel)`` on the layout's axes; an axis that the layout lacks has one voxel."""
        kept = store[tuple(slice(None) if axis in self.layout.axes else 0 for axis in "xyzc")]
        order = [axis for axis in "xyzc" if axis in self.layout.axes]
        return kept[tensorstore.d[[order.index(axis) for axis in self.layout.axes]].transpose[:]]

    def _native(self, values: Shape, missing: int) -> list[int]:
        """One value each for x, y and z."""
        named = dict(zip(self.layout.axes, values, strict=True))
        return [int(named.get(axis, missing)) for axis in "xyz"]

    def _voxel_offset(self, resolution: Sequence[float]) -> list[int]:
        """The corner of a scale in its own voxels."""
        return [round(at / step) for at, step in zip(self._nanometres("offset", 0.0), resolution, strict=True)]

    def _nanometres(self, name: str, missing: float) -> list[float]:
        """Scale or offset along x, y and z; where the unit is not known a voxel counts as one nanometre."""
        known = self.spec.calibration
        values = dict(zip(known.axes, getattr(known, name), strict=True))
        factors = {axis: NANOMETRES.get(unit or "", 1.0) for axis, unit in zip(known.axes, known.units, strict=True)}
        return [float(values.get(axis, missing) * factors.get(axis, 1.0)) for axis in "xyz"]


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))


def bits_of(grid: Sequence[int]) -> list[int]:
    """Bits of a chunk's place along each axis."""
    return [(count - 1).bit_length() for count in grid]


def shards_in(grid: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Chunks along x, y and z of a shard of 0, 1, 2, ... bits."""
    counts, bits = [1] * len(grid), bits_of(grid)
    yield tuple(counts)
    for bit in range(max(bits)):
        for axis, known in enumerate(bits):
            if bit < known:
                counts[axis] *= 2
                yield tuple(counts)


def shard_name(shard: Sequence[int], grid: Sequence[int], bits: int) -> str:
    """The file of the shard at a place among shards of 2^bits chunks."""
    total = sum(bits_of(grid))
    held, (*_, counts) = min(bits, total), islice(shards_in(grid), bits + 1)
    number = number_of([at * count for at, count in zip(shard, counts, strict=True)], grid) >> held
    return f"{number:0{-(-(total - held) // 4)}x}.shard"


def number_of(chunk: Sequence[int], grid: Sequence[int]) -> int:
    """A chunk's number: the bits of its place, in turn of x, y and z."""
    known, number, place = bits_of(grid), 0, 0
    for bit in range(max(known)):
        for axis, at in enumerate(chunk):
            if bit < known[axis]:
                number |= (at >> bit & 1) << place
                place += 1
    return number


def sharding(bits: int, total: int) -> Json:
    """The description of shards that hold the chunks of the lowest ``bits`` of ``total`` bits."""
    held = min(bits, total)
    preshift = min(held, AT_ONCE_BITS)
    return {"@type": "neuroglancer_uint64_sharded_v1", "hash": "identity", "preshift_bits": preshift,
            "minishard_bits": held - preshift, "shard_bits": total - held,
            "data_encoding": "gzip", "minishard_index_encoding": "gzip"}
