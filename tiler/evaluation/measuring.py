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
from tiler.geometry import Box, Grid, Span
from tiler.objects.columns import Columns, columns_of
from tiler.objects.measures import Measures, Total
from tiler.options import Region
from tiler.ports import Listener, Source

SAMPLE = (1, 256, 256)
"""Voxels of the middle in which labels are told from grey values."""
FEW = 200
"""Pairs of voxels that say nothing yet."""
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
    roi
        Region to measure, in whose voxels alone objects count; None for all.
    """

    labels: Source
    images: Mapping[str, Source]
    roi: Region | None = None

    def check(self) -> None:
        """Refuse what cannot be measured, before a voxel is read.

        Raises
        ------
        PlanError
            If labels are not integers or have several channels, or an image has another shape or complex values.
        """
        labels = self.labels
        if labels.dtype.kind not in "iub" or labels.shape[0] > 1:
            raise PlanError(f"{labels.name} holds {labels.shape[0]} channel(s) of {labels.dtype}, so that it looks "
                            "like an image: the first volume has to hold labels, one channel of integers in which each "
                            "number is an object (segment with `kind=instances`)")
        if any(span.stop > size for span, size in zip(self.region.spans, labels.shape[1:], strict=True)):
            raise PlanError(f"the region {self.region} does not lie in {labels.name}, which has {labels.shape[1:]} "
                            "voxels (z, y, x)", option="roi")
        for image in self.images.values():
            if image.shape[1:] != labels.shape[1:]:
                raise PlanError(f"the image {image.name} has shape {image.shape[1:]} (z, y, x), the labels "
                                f"{labels.name} have {labels.shape[1:]}: they must be equal")
            if image.dtype.kind not in "iubf":
                raise PlanError(f"the image {image.name} holds {image.dtype}: give real numbers")

    def blocks(self) -> Grid:
        """Whole units of the labels."""
        return Grid(self.region, block_shape(self.labels.read_unit, self.region.shape, BLOCK))

    @property
    def region(self) -> Box:
        shape = self.labels.shape[1:]
        return Box.of_shape(shape) if self.roi is None else self.roi.within(shape)

    def looks_grey(self) -> bool:
        """Whether neighbours along x mostly differ in the middle of the region, as grey values do."""
        middle = Box(tuple(_middle(span, side) for span, side in zip(self.region.spans, SAMPLE, strict=True)))
        (values,) = self.labels.read(middle)
        left, right = values[..., :-1], values[..., 1:]
        inside = (left != 0) & (right != 0)
        return inside.sum() > FEW and bool((left != right)[inside].mean() > 0.5)

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
    if measured.looks_grey():
        listener.warn(f"{measured.labels.name} looks like a grey image, since most neighbouring voxels differ: the "
                      "first volume has to hold labels, in which each number is an object, and images follow it")
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
    return columns_of(total.result(), blocks.region, measured.labels.calibration, measured.channels())


def _middle(span: Span, side: int) -> Span:
    start = max(span.start, (span.start + span.stop - side) // 2)
    return Span(start, min(span.stop, start + side))


def named(images: Sequence[Source]) -> dict[str, Source]:
    """Images by the prefix of their columns: file names, ``image`` for arrays; every prefix is unique."""
    found: dict[str, Source] = {}
    for image in images:
        stem = Path(image.name.rstrip("/")).name.split(".")[0]
        name = re.sub(r"\W+", "_", stem) if stem and stem != "array" else "image"
        names = (name if number == 1 else f"{name}_{number}" for number in range(1, len(images) + 2))
        found[next(each for each in names if each not in found)] = image
    return found
