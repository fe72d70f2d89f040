"""Scores of volumes that do not fit into memory: slice by slice in processes, or block by block in threads."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np

from tiler.errors import Interrupted, PlanError, TilerError
from tiler.evaluation.meaning import Meaning
from tiler.evaluation.pair import Pair
from tiler.flow import bounded_map
from tiler.geometry import Box
from tiler.metrics import ContingencyTable, SliceScores, integer_hint, score_slice
from tiler.ports import Array, Listener

BLOCK = 1 << 22  # voxels read at once from either volume by one worker


@dataclass(frozen=True, slots=True)
class Scorer:
    """Reads and scores one slice. Picklable: every process gets one.

    Parameters
    ----------
    pair
        What is compared.
    meaning
        How P(cell) is made of the proposal.
    invert_labels
        Whether membrane is white in the labels.
    """

    pair: Pair
    meaning: Meaning
    invert_labels: bool = False

    def read(self, z: int) -> tuple[Array, Array, Array | None]:
        """``(y, x)`` each: P(cell), labels, mask."""
        pair, box = self.pair, self.pair.slice_box(z)
        labels = pair.labels.read(box)[0]
        if self.invert_labels:
            labels = (labels == 0).astype(np.uint8)
        mask = None if pair.mask is None else pair.mask.read(box)[0]
        return self.meaning.cells(pair.proposal.read(box)[0]), labels, mask

    def __call__(self, z: int) -> tuple[SliceScores, str | None]:
        """The scores of a slice, and a hint about integers that are compared as they are."""
        proposal, labels, mask = self.read(z)
        try:
            scores = score_slice(proposal, labels, mask)
        except PlanError as error:
            raise PlanError(f"slice {z}: {error}") from error
        return scores, integer_hint(proposal.dtype, float(proposal.max()))


_scorer: list[Scorer] = []  # of this process: sent once, not with every slice


def _begin(scorer: Scorer) -> None:
    _scorer[:] = [scorer]


def _score(z: int) -> tuple[SliceScores, str | None]:
    return _scorer[0](z)


def score_slices(scorer: Scorer, workers: int, listener: Listener, stop: threading.Event) -> tuple[SliceScores, ...]:
    """Score every slice of a pair, in order, in ``workers`` processes.

    Raises
    ------
    Interrupted
        ``stop`` was set.
    PlanError
        A slice cannot be scored; it is named.
    """
    depth, height, width = scorer.pair.shape
    listener.stage("slices")
    listener.started(depth, 0)
    scores, hinted = [], False
    with closing(_in_order(scorer, depth, min(workers, depth))) as results:
        for z, (found, hint) in enumerate(results):
            if hint and not hinted:
                listener.warn(hint)
                hinted = True
            scores.append(found)
            listener.finished_block(z, height * width)
            if stop.is_set() and z + 1 < depth:
                raise Interrupted(f"interrupted after {z + 1} of {depth} slices: nothing was scored")
    return tuple(scores)


def _in_order(scorer: Scorer, depth: int, workers: int) -> Generator[tuple[SliceScores, str | None], None, None]:
    if workers == 1:
        yield from map(scorer, range(depth))
        return
    # Not forked: a fork copies locks of threads that it does not copy.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(scorer,))
    try:
        yield from pool.map(_score, range(depth))
    except BrokenProcessPool as error:
        raise TilerError("a process that scored slices died; a script that uses workers must be guarded by "
                         "if __name__ == '__main__' (or was memory short? --workers 1 takes the least)") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass
class Total:
    """A sum of contingency tables that touches every entry few times only.

    Tables are merged with others about as large as they, as the digits of a binary counter are; adding each
    block to one large table would copy the large table once a block.
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
                 voxels: int = BLOCK) -> ContingencyTable:
    """The contingency table of a pair, from its blocks; voxels where the mask is 0 are left out.

    Parameters
    ----------
    pair
        What is compared.
    workers
        Threads that read and count.
    listener, stop
        As in a run.
    voxels
        Size of a block, more where a single chunk is larger.

    Raises
    ------
    Interrupted
        ``stop`` was set.
    PlanError
        A volume does not hold ids.
    """

    def count(box: Box) -> tuple[int, ContingencyTable]:
        return box.voxels, _table(pair, box)

    blocks = list(pair.blocks(voxels))
    listener.stage("blocks")
    listener.started(len(blocks), 0)
    total = Total()
    with closing(bounded_map(count, _until(stop, blocks), workers=workers, depth=workers + 1)) as results:
        for index, (size, table) in enumerate(results):
            total.add(table)
            listener.finished_block(index, size)
    if stop.is_set():
        raise Interrupted("interrupted: nothing was scored")
    return total.result()


def _until(stop: threading.Event, boxes: list[Box]) -> Iterator[Box]:
    for box in boxes:
        if stop.is_set():
            return
        yield box


def _table(pair: Pair, box: Box) -> ContingencyTable:
    labels, segments = pair.labels.read(box), pair.proposal.read(box)
    if pair.mask is not None:
        scored = pair.mask.read(box) != 0
        labels, segments = labels[scored], segments[scored]
    return ContingencyTable.of(labels, segments)
