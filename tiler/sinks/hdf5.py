"""HDF5: one compressed dataset, with resolution and offset as CREMI keeps them (https://cremi.org/data/)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tiler.geometry import Box
from tiler.ports import KINDS, Array, OutputSpec, Watch
from tiler.ports.units import NANOMETRES, seconds_per_frame
from tiler.sinks.pyramid import Level, cells, count_cells, levels_of, voxels_of
from tiler.sinks.staged import StagedSink


class Hdf5Sink(StagedSink):
    """An HDF5 file. What a killed writer leaves of one cannot be read, so it is written in one go at the end."""

    def staged(self, spec: OutputSpec) -> OutputSpec:
        return replace(spec, ngff="0.5")

    def levels(self) -> Sequence[Level]:
        return levels_of(self.spec, self.layout)[:1]

    def pieces(self, levels: Sequence[Level]) -> int:
        return count_cells(levels[0].shape, self.stage.chunk)

    def convert(self, levels: Sequence[Any], path: Path, watch: Watch) -> None:
        (array,) = levels
        chunks = tuple(min(pair) for pair in zip(array.chunks, array.shape, strict=True))
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset(KINDS[self.spec.kind].dataset, array.shape, self.spec.dtype, chunks=chunks,
                                          compression="gzip", compression_opts=1, shuffle=True)
            describe(dataset, self.spec, self.layout.axes)
            for index in cells(tuple(slice(0, size) for size in array.shape), chunks):
                dataset[index] = array[index]
                watch.made(voxels_of(index))

    @contextmanager
    def opened_levels(self, path: Path) -> Iterator[Sequence[Any]]:
        with h5py.File(path, "r") as file:
            yield [file[KINDS[self.spec.kind].dataset]]

    def load(self, path: Path, box: Box) -> Array:
        with h5py.File(path, "r") as file:
            return self.layout.load(file[KINDS[self.spec.kind].dataset], box)


def describe(dataset: Any, spec: OutputSpec, axes: tuple[str, ...]) -> None:
    """Names of the axes and channels; resolution and offset of z, y and x in nanometres; seconds per frame."""
    for dimension, axis in zip(dataset.dims, axes, strict=True):
        dimension.label = axis
    if len(spec.classes) == spec.shape[0]:
        dataset.attrs["channel_names"] = list(spec.classes)
    known = spec.calibration
    space = [i for i, axis in enumerate(known.axes) if axis != "t"]
    lengths = [NANOMETRES.get(known.units[i] or "") for i in space]
    if None not in lengths:
        dataset.attrs["resolution"] = np.array([known.scale[i] for i in space]) * np.array(lengths, float)
        dataset.attrs["offset"] = np.array([known.offset[i] for i in space]) * np.array(lengths, float)
    interval = seconds_per_frame(known)
    if interval is not None:
        dataset.attrs["time_interval"] = interval
