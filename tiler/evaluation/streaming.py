"""Score volumes that do not fit into memory, slice by slice or block by block, in threads.

Threads suffice, since compiled loops and most of numpy release the interpreter's lock; a process would need more than a
second for its imports, as long as ten slices take.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from tiler.bounded_map import bounded_map
from tiler.errors import Interrupted, PlanError
from tiler.evaluation.meaning import Meaning
from tiler.evaluation.pair import Pair
from tiler.geometry import Box
from tiler.metrics import ContingencyTable, SliceScores, integer_hint, score_slice
from tiler.metrics.checks import cells_and_membrane
from tiler.ports import Array, Listener

T = TypeVar("T")

BLOCK = 1 << 22  # voxels that a worker reads at once from either volume


@dataclass(frozen=True, slots=True)
class Scorer:
    """Reads and scores one slice.

    Parameters
    ----------
    pair
        Volumes to compare.
    meaning
        Rule that converts the proposal to P(cell).
    invert_labels
        Whether white is membrane in the labels.
    """

    pair: Pair
    meaning: Meaning
    invert_labels: bool = False

    def read(self, z: int) -> tuple[Array, Array, Array | None]:
        """Read P(cell), labels and mask (or None) of a slice, ``(y, x)`` each."""
        pair, box = self.pair, self.pair.slice_box(z)
        labels = pair.labels.read(box)[0]
        cells_and_membrane(labels)
        if self.invert_labels:
            labels = (labels == 0).astype(np.uint8)
        mask = None if pair.mask is None else pair.mask.read(box)[0]
        return self.meaning.cells(pair.proposal.read(box)[0]), labels, mask

    def __call__(self, z: int) -> tuple[SliceScores, str | None]:
        """Score a slice; return its scores and a hint about unscaled integers, or None."""
        try:
            proposal, labels, mask = self.read(z)
            scores = score_slice(proposal, labels, mask)
        except PlanError as error:
            raise PlanError(f"slice {z}: {error.marked}") from error
        return scores, integer_hint(proposal.dtype, float(proposal.max()))


def score_slices(scorer: Scorer, workers: int, listener: Listener, stop: threading.Event) -> tuple[SliceScores, ...]:
    """Score every slice of a pair, in order, in ``workers`` threads.

    Raises
    ------
    Interrupted
        ``stop`` was set.
    PlanError
        A slice cannot be scored; the message names it.
    """
    depth, height, width = scorer.pair.shape
    listener.stage("slices")
    listener.started(depth, 0)
    scores, hinted = [], False
    slices = bounded_map(scorer, _until(stop, range(depth)), workers=workers, depth=workers + 1)
    with closing(slices) as results:
        for z, (found, hint) in enumerate(results):
            if hint and not hinted:
                listener.warn(hint)
                hinted = True
            scores.append(found)
            listener.finished_block(z, height * width)
    if len(scores) < depth:
        raise Interrupted(f"interrupted after {len(scores)} of {depth} slices: nothing was scored")
    return tuple(scores)


@dataclass
class Total:
    """Sum of many contingency tables, in which each entry is copied only a few times.

    Tables are merged with others of similar size, like the digits of a binary counter. Adding each block to one large
    table would copy that table for every block.
    """

    tables: list[ContingencyTable] = field(default_factory=list)

    def add(self, table: ContingencyTable) -> None:
        while self.tables and self.tables[-1].counts.size <= 2 * table.counts.size:
            table = self.tables.pop() + table
        self.tables.append(table)

    def result(self) -> ContingencyTable:
        total = ContingencyTable.empty()
        while self.tables:
            total = total + self.tables.pop()
        return total


def count_blocks(pair: Pair, workers: int, listener: Listener, stop: threading.Event,
                 voxels: int = BLOCK, void: tuple[int, ...] = ()) -> ContingencyTable:
    """Count the contingency table of a pair from its blocks; voxels where the mask is 0 are left out.

    Parameters
    ----------
    pair
        Volumes to compare.
    workers
        Number of threads that read and count.
    listener, stop
        As for `score_slices`.
    voxels
        Target size of a block; a single larger chunk exceeds it.
    void
        Labels of voxels that are not scored.

    Raises
    ------
    Interrupted
        ``stop`` was set.
    PlanError
        A volume does not hold ids.
    """

    def count(box: Box) -> tuple[int, ContingencyTable]:
        return box.voxels, _table(pair, box, void)

    blocks = list(pair.blocks(voxels))
    listener.stage("blocks")
    listener.started(len(blocks), 0)
    total, done = Total(), 0
    with closing(bounded_map(count, _until(stop, blocks), workers=workers, depth=workers + 1)) as results:
        for done, (size, table) in enumerate(results, 1):
            total.add(table)
            listener.finished_block(done - 1, size)
    if done < len(blocks):
        raise Interrupted(f"interrupted after {done} of {len(blocks)} blocks: nothing was scored")
    return total.result()


def _until(stop: threading.Event, items: Iterable[T]) -> Iterator[T]:
    """Yield the items until ``stop`` is set."""
    for item in items:
        if stop.is_set():
            return
        yield item


def _table(pair: Pair, box: Box, void: tuple[int, ...]) -> ContingencyTable:
    labels, segments = pair.labels.read(box), pair.proposal.read(box)
    if pair.mask is not None:
        scored = pair.mask.read(box) != 0
        labels, segments = labels[scored], segments[scored]
    return ContingencyTable.of(labels, segments, void)
