"""Statistics of a whole volume, block by block: the first pass of ``normalise="volume"``.

They cover the whole volume, even if only a region is segmented, in blocks that depend only on the source, so that no
choice of tile or block changes them. Integers of up to 16 bits are counted in an exact histogram; for other types, the
moments of the blocks are merged in float64, in the order of the blocks.
"""

from __future__ import annotations

import base64
import math
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from tiler.errors import PlanError
from tiler.geometry import Box, Grid, Shape
from tiler.jobs.segment import finite
from tiler.options import Rule, parse_rule
from tiler.ports import Array, Json, Source

BLOCK_VOXELS = 1 << 24


@dataclass(frozen=True, slots=True)
class Scaling:
    """Normalisation of each channel, ``(value - mean) / std``, in the source's grey values."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class StatisticsJob:
    """Measure the blocks of a volume: a `tiler.ports.Job` whose records are its result."""

    source: Source
    nan: str

    @property
    def grid(self) -> Grid:
        return Grid(Box.of_shape(self.source.shape[1:]), block_of(self.source))

    @property
    def feeders(self) -> int:
        return 1

    def where(self, index: int) -> str:
        return str(self.grid[index])

    def read(self, index: int) -> Array:
        return finite(self.source.read(self.grid[index]), self.nan, self.source.name)

    def compute(self, index: int, window: Array) -> list[Json]:
        measure = _count if is_countable(self.source.dtype) else _moments
        return [measure(channel) for channel in window]

    def write(self, index: int, result: list[Json]) -> Json:
        return {"channels": result}


def is_countable(dtype: np.dtype[Any]) -> bool:
    """Whether all values of a type fit into a histogram."""
    return np.issubdtype(dtype, np.integer) and dtype.itemsize <= 2


def check_countable(rule: Rule, dtype: np.dtype[Any]) -> None:
    """Refuse percentiles of values that cannot be counted.

    Raises
    ------
    PlanError
        If the rule takes percentiles and the type has too many values for a histogram.
    """
    if rule.measured and rule.values and not is_countable(dtype):
        raise PlanError(f"percentiles need integers of up to 16 bits, the volume is {dtype}: "
                        "use `normalise=volume`")


def scaling(rule: str, records: dict[int, Json], dtype: np.dtype[Any]) -> Scaling:
    """Merge the records of all blocks, in order, into the scaling that a rule requires."""
    chosen = parse_rule(rule)
    check_countable(chosen, dtype)
    percentiles = (chosen.values[0], chosen.values[1]) if chosen.values else None
    blocks = [records[index]["channels"] for index in sorted(records)]
    channels = list(zip(*blocks, strict=True))
    if not is_countable(dtype):
        pairs = [_from_moments(parts) for parts in channels]
    else:
        pairs = [_from_counts(parts, dtype, percentiles) for parts in channels]
    return Scaling(tuple(m for m, _ in pairs), tuple(s or 1.0 for _, s in pairs))


def block_of(source: Source) -> Shape:
    """Block shape of whole read units, with up to some millions of voxels; depends only on the source."""
    sides = [min(unit, size) for unit, size in zip(source.read_unit, source.shape[1:], strict=True)]
    for axis in (2, 1, 0):
        others = sides[0] * sides[1] * sides[2] // sides[axis]
        times = max(1, BLOCK_VOXELS // (others * sides[axis]))
        sides[axis] = min(sides[axis] * times, source.shape[1 + axis])
    return tuple(sides)


def _count(values: Array) -> Json:
    """Histogram of one channel from its lowest value on, packed, for a line of the journal."""
    low = int(values.min())
    counts = np.bincount((values.astype(np.int32) - low).ravel())
    return {"low": low, "counts": base64.b64encode(zlib.compress(counts.astype("<i8").tobytes())).decode()}


def _histogram(parts: Iterable[Json], dtype: np.dtype[Any]) -> tuple[list[int], list[int]]:
    """Distinct values and their counts."""
    first = int(np.iinfo(dtype).min)
    total = np.zeros(1 << 8 * dtype.itemsize, np.int64)
    for part in parts:
        counts = np.frombuffer(zlib.decompress(base64.b64decode(part["counts"])), "<i8")
        total[part["low"] - first :][: len(counts)] += counts
    found = np.flatnonzero(total)
    return (found + first).tolist(), total[found].tolist()


def _from_counts(parts: Iterable[Json], dtype: np.dtype[Any],
                 percentiles: tuple[float, float] | None) -> tuple[float, float]:
    values, counts = _histogram(parts, dtype)
    total = sum(counts)
    if percentiles is None:
        first = sum(v * n for v, n in zip(values, counts, strict=True))
        second = sum(v * v * n for v, n in zip(values, counts, strict=True))
        # Exact integers up to here: the variance loses nothing to cancellation.
        return first / total, ((second * total - first * first) / total**2) ** 0.5
    low, high = (_percentile(values, np.cumsum(counts), percent) for percent in percentiles)
    return low, high - low


def _percentile(values: list[int], ranks: Array, percent: float) -> float:
    """Interpolate linearly between the two nearest values, like `numpy.percentile`."""
    at = percent / 100 * (int(ranks[-1]) - 1)
    low, high = (values[int(np.searchsorted(ranks, place, side="right"))] for place in (int(at), math.ceil(at)))
    return low + (high - low) * (at - int(at))


def _moments(values: Array) -> Json:
    wide = values.astype(np.float64)
    mean = float(wide.mean())
    return {"n": wide.size, "mean": mean, "m2": float(np.square(wide - mean).sum())}


def _from_moments(parts: Iterable[Json]) -> tuple[float, float]:
    total = reduce(_merged, parts)
    return total["mean"], (total["m2"] / total["n"]) ** 0.5


def _merged(a: Json, b: Json) -> Json:
    """Merge the moments of two sets (Chan, Golub and LeVeque 1983, doi:10.1080/00031305.1983.10483115)."""
    n, shift = a["n"] + b["n"], b["mean"] - a["mean"]
    mean = a["mean"] + shift * b["n"] / n
    return {"n": n, "mean": mean, "m2": a["m2"] + b["m2"] + shift * shift * a["n"] * b["n"] / n}
