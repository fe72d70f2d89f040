"""A stack in which each slice is scaled by its own statistics, as some networks of slices require.

A slice is measured completely when it is first read, in bands that depend only on the source. Its scaling is therefore
the same for every region, tile and process.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np

from tiler.geometry import Box, Grid, Span
from tiler.jobs.segment import finite
from tiler.jobs.statistics import Scaling, StatisticsJob, block_of, is_countable, scaling
from tiler.options import parse_rule
from tiler.ports import Array, Json, Measures, Source
from tiler.sources.around import Wrapping


@dataclass(frozen=True, slots=True)
class SliceJob(StatisticsJob):
    """Measure one slice in bands."""

    z: int

    @property
    def grid(self) -> Grid:
        height, width = self.source.shape[2:]
        return Grid(Box((Span(self.z, self.z + 1), Span(0, height), Span(0, width))), (1, *block_of(self.source)[1:]))


class ScaledSlices(Wrapping):
    """``(c, z, y, x)`` float32: a `tiler.ports.Source` over another one.

    Parameters
    ----------
    source
        Source with unscaled grey values.
    measures
        Rule for scaling a slice.
    nan
        Rule for voxels that are not finite: "refuse" or "zero".
    """

    def __init__(self, source: Source, measures: Measures, nan: str) -> None:
        self.source, self.measures, self.nan = source, measures, nan
        self._known: dict[int, tuple[Array, Array]] = {}
        self._lock = threading.Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.measures, self.nan)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.float32)

    @property
    def identity(self) -> Json | None:
        known = self.source.identity
        return None if known is None else {**known, "slices": self.measures.rule}

    def read(self, box: Box) -> Array:
        data = finite(self.source.read(box), self.nan, self.name).astype(np.float32)
        for at, z in enumerate(range(box.start[0], box.stop[0])):
            centre, spread = self._scaling(z)
            data[:, at] = (data[:, at] - centre) / spread
        return data

    def _scaling(self, z: int) -> tuple[Array, Array]:
        """Offset and divisor, ``(c, 1, 1)`` each."""
        with self._lock:
            if z not in self._known:
                found = self._measured(SliceJob(self.source, self.nan, z))
                centre, spread = (np.asarray(values, np.float32)[:, None, None]
                                  for values in self.measures.scaling(found.mean, found.std))
                self._known[z] = centre, spread
            return self._known[z]

    def _measured(self, job: SliceJob) -> Scaling:
        rule, dtype = self.measures.rule, self.source.dtype
        percentiles = parse_rule(rule).values
        if percentiles and not is_countable(dtype):  # a slice fits into memory, a volume may not
            whole = finite(self.source.read(job.grid.region), self.nan, self.name)
            low, high = np.percentile(whole.reshape(len(whole), -1), percentiles, axis=1)
            return Scaling(tuple(low), tuple(high - low))
        records: dict[int, Json] = {index: {"channels": job.compute(index, job.read(index))}
                                    for index in range(len(job.grid))}
        return scaling(rule, records, dtype)


def needs_slices(source: Source, measures: Measures, flat: bool) -> bool:
    """Whether a first pass over the whole volume does not give what a network of slices measures."""
    counted = is_countable(source.dtype) or not parse_rule(measures.rule).values
    return flat and measures.each_input and (source.shape[1] > 1 or not counted)
