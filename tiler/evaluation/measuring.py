"""A table of the objects of a volume of any size, read block by block: the work behind `tiler measure`."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiler.bounded_map import bounded_map
from tiler.errors import Interrupted, PlanError, SinkError
from tiler.evaluation.pair import block_shape
from tiler.geometry import Box, Grid
from tiler.objects.measures import Measures, Total
from tiler.ports import Array, Calibration, Listener, Source
from tiler.ports.units import NANOMETRES, steps
from tiler.stores.durable import replacing

BLOCK = 1 << 22
"""Voxels read at once by one worker."""
ROWS = 1 << 14
"""Rows of a table that are converted to text at once."""
AXES = ("z", "y", "x")

Columns = dict[str, Array]


@dataclass(frozen=True, slots=True)
class Measured:
    """Labels and the images that are measured inside them.

    Parameters
    ----------
    labels
        One channel of integers; 0 is background.
    images
        Volumes of the same ``(z, y, x)`` shape, by the prefix of their columns.
    """

    labels: Source
    images: Mapping[str, Source]

    def check(self) -> None:
        """Refuse what cannot be measured, before a voxel is read.

        Raises
        ------
        PlanError
            If labels are not integers or have several channels, or an image has another shape or complex values.
        """
        labels = self.labels
        if labels.dtype.kind not in "iub" or labels.shape[0] > 1:
            raise PlanError(f"{labels.name} holds {labels.shape[0]} channel(s) of {labels.dtype}: objects are measured "
                            "in one channel of integers (segment with `kind=instances`)")
        for image in self.images.values():
            if image.shape[1:] != labels.shape[1:]:
                raise PlanError(f"the image {image.name} has shape {image.shape[1:]} (z, y, x), the labels "
                                f"{labels.name} have {labels.shape[1:]}: they must be equal")
            if image.dtype.kind not in "iubf":
                raise PlanError(f"the image {image.name} holds {image.dtype}: give real numbers")

    def blocks(self) -> Grid:
        """Whole units of the labels."""
        shape = self.labels.shape[1:]
        return Grid(Box.of_shape(shape), block_shape(self.labels.read_unit, shape, BLOCK))

    def table(self, box: Box) -> Measures:
        """Measures of one block."""
        (labels,) = self.labels.read(box)
        if labels.dtype.kind == "i" and labels.min(initial=0) < 0:
            raise PlanError(f"{self.labels.name} holds negative numbers, which are no ids of objects")
        channels = [channel for image in self.images.values() for channel in image.read(box)]
        images = np.stack(channels) if channels else np.zeros((0, *box.shape))
        return Measures.of(labels.astype(labels.dtype.str.replace("i", "u").replace("b", "u")), images, box.start)

    def channels(self) -> list[str]:
        """Names of all channels of all images: ``raw``, or ``raw_0``, ``raw_1``."""
        return [name if image.shape[0] == 1 else f"{name}_{channel}"
                for name, image in self.images.items() for channel in range(image.shape[0])]


def measure_objects(measured: Measured, workers: int, listener: Listener, stop: threading.Event) -> Columns:
    """The table of all objects: (n,) arrays by column, see `columns_of`.

    Raises
    ------
    Interrupted
        ``stop`` was set.
    PlanError
        If something cannot be measured.
    """
    measured.check()
    blocks = measured.blocks()
    listener.stage("measure")
    listener.started(len(blocks), 0)
    wanted = (box for box in blocks if not stop.is_set())
    total, done = Total(), 0
    with closing(bounded_map(measured.table, wanted, workers=workers, depth=workers + 1)) as tables:
        for done, table in enumerate(tables, 1):
            total.add(table)
            listener.finished_block(done - 1, blocks[done - 1].voxels)
    if done < len(blocks):
        raise Interrupted(f"interrupted after {done} of {len(blocks)} blocks: nothing was measured")
    return columns_of(total.result(), measured.labels, measured.channels())


def columns_of(table: Measures, labels: Source, channels: Sequence[str]) -> Columns:
    """(n,) arrays by the names of their columns.

    ``id``; ``voxels``; ``volume_UNIT3``, or ``area_UNIT2`` of a single section; the centroid ``z``, ``y``, ``x`` in
    voxels (the middle of the first voxel is 0) and ``z_UNIT``, ``y_UNIT``, ``x_UNIT`` in the world; the box
    ``z_start`` to ``x_stop``, half open; ``sections`` it extends over; ``touches_border``; and for each channel of an
    image ``NAME_mean``, ``NAME_min``, ``NAME_max``, ``NAME_std``. Columns in physical units are left out where the
    voxel size is unknown.
    """
    found: Columns = {"id": table.ids, "voxels": table.voxels, **_physical_size(table, labels)}
    found |= dict(zip(AXES, table.centres.T, strict=True))
    found |= _physical_centres(table, labels.calibration)
    for axis, start, stop in zip(AXES, table.starts.T, table.stops.T, strict=True):
        found |= {f"{axis}_start": start, f"{axis}_stop": stop}
    found |= {"sections": table.stops[:, 0] - table.starts[:, 0], "touches_border": table.touches(labels.shape[1:])}
    for name, values in zip(channels, table.images, strict=True):
        found |= {f"{name}_mean": values.mean, f"{name}_min": values.least, f"{name}_max": values.most,
                  f"{name}_std": np.sqrt(values.squares / table.voxels)}
    return found


def _lengths(calibration: Calibration) -> tuple[str, dict[str, float]]:
    """The unit of x, and the known sides of a voxel in that unit."""
    known = {axis: step for axis, step in steps(calibration).items() if step[1] in NANOMETRES}
    if not {"y", "x"} <= known.keys():
        return "", {}
    unit = known["x"][1]
    return unit, {axis: scale * (NANOMETRES[own] / NANOMETRES[unit]) for axis, (scale, own) in known.items()}


def _physical_size(table: Measures, labels: Source) -> Columns:
    unit, sides = _lengths(labels.calibration)
    if {"z", "y", "x"} <= sides.keys():
        return {f"volume_{unit}3": table.voxels * (sides["z"] * sides["y"] * sides["x"])}
    if sides and labels.shape[1] == 1:
        return {f"area_{unit}2": table.voxels * (sides["y"] * sides["x"])}
    return {}


def _physical_centres(table: Measures, calibration: Calibration) -> Columns:
    unit, sides = _lengths(calibration)
    offsets = dict(zip(calibration.axes, zip(calibration.offset, calibration.units, strict=True), strict=True))
    found = {}
    for place, axis in enumerate(AXES):
        if axis in sides:
            offset, own = offsets[axis]
            found[f"{axis}_{unit}"] = (table.centres[:, place] * sides[axis]
                                       + offset * (NANOMETRES[str(own)] / NANOMETRES[unit]))
    return found


def named(images: Sequence[Source]) -> dict[str, Source]:
    """Images by the prefix of their columns: file names, ``image`` for arrays; every prefix is unique."""
    found: dict[str, Source] = {}
    for image in images:
        stem = Path(image.name.rstrip("/")).name.split(".")[0]
        name = re.sub(r"\W+", "_", stem) if stem and stem != "array" else "image"
        names = (name if number == 1 else f"{name}_{number}" for number in range(1, len(images) + 2))
        found[next(each for each in names if each not in found)] = image
    return found


def check_table(path: Path) -> None:
    """Refuse a table that cannot be written, before anything is measured.

    Raises
    ------
    SinkError
        If the name does not end in ``.csv`` or is not a valid file name, or its folder does not exist.
    """
    if path.suffix.lower() != ".csv":
        raise SinkError(f"{path} is no table that tiler writes: choose a name that ends in .csv", option="output")
    try:
        refused = not path.absolute().parent.is_dir() or path.is_dir()
    except (OSError, ValueError) as error:  # a name that is too long, a NUL
        raise SinkError(f"cannot write {str(path)!a:.200}: {getattr(error, 'strerror', None) or error}",
                        option="output") from error
    if refused:
        raise SinkError(f"cannot write {path}: its folder does not exist, or it is a folder itself", option="output")


def write_csv(columns: Columns, path: Path) -> None:
    """Write a table with a header line; numbers read back exactly. The file gets its name when it is complete.

    Raises
    ------
    SinkError
        If it cannot be written.
    """
    try:
        with replacing(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
            file.writelines(csv_lines(columns))
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}", option="output") from error


def csv_lines(columns: Columns) -> Iterator[str]:
    """The lines of a table, header first."""
    yield ",".join(columns) + "\n"
    for row in _rows(columns):
        yield ",".join(map(str, row)) + "\n"


def _rows(columns: Columns) -> Iterator[tuple[object, ...]]:
    count = len(next(iter(columns.values())))
    for first in range(0, count, ROWS):
        yield from zip(*(_plain(column[first:first + ROWS]) for column in columns.values()), strict=True)


def _plain(column: Array) -> list[object]:
    """Values as Python numbers; booleans become 0 and 1."""
    found: list[object] = (column.astype(np.int64) if column.dtype == bool else column).tolist()
    return found
