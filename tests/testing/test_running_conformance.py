"""The executors, jobs and listeners of the package do what their suites ask."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

from tiler.cli import progress, talk
from tiler.executors.serial import Serial
from tiler.executors.threads import Threads
from tiler.jobs.statistics import StatisticsJob
from tiler.opening import open_all
from tiler.options import Options
from tiler.running.bars import Bars, showing
from tiler.running.destination import InMemory
from tiler.running.perform import Silent
from tiler.running.stages import stages_of
from tiler.running.start import run_spec
from tiler.sources import open_source
from tiler.testing.predictors import PoolingNet
from tiler.testing.running import ExecutorConformance, JobConformance, ListenerConformance

VOLUME = np.random.default_rng(0).integers(0, 255, (3, 40, 37), dtype=np.uint8)


class TestSerial(ExecutorConformance):
    def executor(self):
        return Serial()


class TestThreads(ExecutorConformance):
    def executor(self):
        return Threads(3)


class TestStatistics(JobConformance):
    def job(self):
        return StatisticsJob(open_source(VOLUME), "refuse")


class TestSegment(JobConformance):
    _made = None

    def job(self):
        if type(self)._made is None:
            opened = open_all(VOLUME, PoolingNet(), Options(block="16"), trust=False)
            stage = stages_of(run_spec(opened, opened.plan(), InMemory()))[-1]
            stage.sink.create()
            type(self)._made = stage, stage.job({}, {})
        return self._made[1]

    def indices(self):
        return (0, 3, 7)


class TestSilent(ListenerConformance):
    def listener(self):
        return Silent()


class TestQuiet(ListenerConformance):
    def listener(self):
        return talk.Quiet()


class TestLines(ListenerConformance):
    def listener(self):
        return progress.Lines()


class TestBars(ListenerConformance):
    def listener(self):
        return Bars(showing(Console(file=io.StringIO())))
