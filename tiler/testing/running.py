"""Conformance suites for executors, jobs and listeners.

Subclass a suite in a test module and define the object to test::

    class TestMine(ExecutorConformance):
        def executor(self):
            return Mine()
"""

from __future__ import annotations

import itertools
import json
import pickle
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tiler.errors import BlockFailed
from tiler.ports import Executor, Job, Json, Listener


@dataclass(frozen=True)
class Squares:
    """A `tiler.ports.Job` whose record of a block is the square of its number; it fails at one step of one block."""

    fails_at: tuple[str, int] | None = None
    feeders: int = 1

    def where(self, index: int) -> str:
        return f"place {index}"

    def read(self, index: int) -> int:
        self._fail("read", index)
        return index

    def compute(self, index: int, window: int) -> int:
        self._fail("compute", index)
        return window**2

    def write(self, index: int, result: int) -> Json:
        self._fail("write", index)
        return {"square": result}

    def _fail(self, step: str, index: int) -> None:
        if self.fails_at == (step, index):
            raise ValueError(f"cannot {step}")


class ExecutorConformance:
    """Tests for every `tiler.ports.Executor`."""

    def executor(self) -> Executor:
        """The executor to test."""
        raise NotImplementedError

    def test_it_is_an_executor(self) -> None:
        assert isinstance(self.executor(), Executor)

    @pytest.mark.parametrize("indices", [[], [3], list(range(20)), [5, 1, 9]], ids=len)
    def test_every_block_is_finished_once(self, indices: list[int]) -> None:
        found = list(self.executor().run(Squares(), indices, threading.Event()))
        assert sorted(each.index for each in found) == sorted(indices)
        assert all(each.record == {"square": each.index**2} for each in found)

    def test_blocks_are_taken_as_they_are_needed(self) -> None:
        """An order of blocks may be endless, or too long for a list."""
        stop, found = threading.Event(), []
        for each in self.executor().run(Squares(), itertools.count(), stop):
            found.append(each.index)
            if len(found) == 5:
                stop.set()
        assert sorted(found) == list(range(len(found)))

    def test_no_block_is_begun_once_it_is_asked_to_stop(self) -> None:
        stop = threading.Event()
        stop.set()
        assert list(self.executor().run(Squares(), range(10), stop)) == []

    @pytest.mark.parametrize("step", ["read", "compute", "write"])
    def test_an_error_names_its_block(self, step: str) -> None:
        with pytest.raises(BlockFailed, match=f"block 4 at place 4 failed: .*cannot {step}") as failed:
            list(self.executor().run(Squares((step, 4)), range(8), threading.Event()))
        assert failed.value.index == 4

    def test_it_can_be_used_again(self) -> None:
        executor = self.executor()
        for _ in range(2):
            assert len(list(executor.run(Squares(), range(4), threading.Event()))) == 4


class JobConformance:
    """Tests for every `tiler.ports.Job`."""

    def job(self) -> Job:
        """The job to test, the same each time."""
        raise NotImplementedError

    def indices(self) -> Sequence[int]:
        """Some of its blocks."""
        return (0,)

    def test_a_block_says_where_it_lies(self) -> None:
        assert all(self.job().where(index) for index in self.indices())

    def test_it_says_how_many_threads_compute(self) -> None:
        assert self.job().feeders >= 1

    def test_a_block_gives_the_same_record_each_time(self) -> None:
        assert all(_record(self.job(), index) == _record(self.job(), index) for index in self.indices())

    def test_a_record_is_json(self) -> None:
        for index in self.indices():
            record = _record(self.job(), index)
            assert json.loads(json.dumps(record)) == record

    def test_a_pickled_copy_gives_the_same_record(self) -> None:
        for index in self.indices():
            copy: Job = pickle.loads(pickle.dumps(self.job()))
            assert _record(copy, index) == _record(self.job(), index)

    def test_reading_and_computing_change_nothing(self) -> None:
        """So that they can run ahead, and again elsewhere."""
        job, index = self.job(), self.indices()[0]
        window = job.read(index)
        first, second = job.compute(index, window), job.compute(index, job.read(index))
        assert _equal(first, second)


def _record(job: Job, index: int) -> Json:
    return dict(job.write(index, job.compute(index, job.read(index))))


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, np.ndarray):
        return bool(np.array_equal(first, second))
    return bool(first == second)


class ListenerConformance:
    """Tests for every `tiler.ports.Listener`, with calls in the order of a run."""

    def listener(self) -> Listener:
        """The listener to test."""
        raise NotImplementedError

    def test_a_run_from_start_to_end(self) -> None:
        listener = self.listener()
        for stage, total, done in (("statistics", 2, 0), ("model", 5, 3), ("finish", 0, 0)):
            listener.stage(stage)
            listener.started(total, done)
            for index in range(done, total):
                listener.finished_block(index, 1000)

    def test_a_run_that_was_finished_before(self) -> None:
        self.listener().stage("finished")

    def test_a_warning_before_the_first_stage(self) -> None:
        self.listener().warn("the grey values differ from those of the training data")

    def test_blocks_in_any_order(self) -> None:
        listener = self.listener()
        listener.stage("model")
        listener.started(3, 0)
        for index in (2, 0, 1):
            listener.finished_block(index, 1)
