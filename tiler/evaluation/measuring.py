"""A table of the objects of a volume of any size, read block by block: the work behind `tiler measure`."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiler.bounded_map import bounded_map
from tiler.errors import Interrupted, PlanError
from tiler.evaluation.pair import block_shape
from tiler.geometry import Box, Grid
from tiler.objects.columns import Columns, columns_of
from tiler.objects.measures import Measures, Total
from tiler.ports import Listener, Source

BLOCK = 1 << 22
"""Voxels read at once by one worker."""


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
    return columns_of(total.result(), measured.labels.shape[1:], measured.labels.calibration, measured.channels())


def named(images: Sequence[Source]) -> dict[str, Source]:
    """Images by the prefix of their columns: file names, ``image`` for arrays; every prefix is unique."""
    found: dict[str, Source] = {}
    for image in images:
        stem = Path(image.name.rstrip("/")).name.split(".")[0]
        name = re.sub(r"\W+", "_", stem) if stem and stem != "array" else "image"
        names = (name if number == 1 else f"{name}_{number}" for number in range(1, len(images) + 2))
        found[next(each for each in names if each not in found)] = image
    return found
