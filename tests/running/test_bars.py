"""How far a stage is: in tiles where the network runs tile by tile, else in blocks."""

from __future__ import annotations

import io

import numpy as np
from rich.console import Console

import tiler
from tiler.activity import watched_by
from tiler.running.bars import Bars, Progressed, showing
from tiler.testing.predictors import PoolingNet


def test_a_block_moves_as_its_tiles_are_computed():
    progressed = Progressed(tiles=24)
    progressed.begin(3, 1)
    seen = [progressed.done]
    for _ in range(4):
        progressed.compute(2, of=8)
        seen.append(progressed.done)
    progressed.finish()
    assert seen == [8, 10, 12, 14, 16]
    assert (progressed.done, str(progressed)) == (16, "16/24 tiles")


def test_what_is_repeated_does_not_go_beyond_the_end():
    progressed = Progressed()
    progressed.begin(2, 1)
    progressed.compute(5, of=2)
    assert str(progressed) == "2/2 blocks"


def test_the_tiles_of_a_run_are_counted():
    seen = []

    class Noting(Bars):
        def computed(self, tiles, of):
            super().computed(tiles, of)
            seen.append(str(self.progressed))

    bars = Noting(showing(Console(file=io.StringIO())))
    with watched_by(bars):
        tiler.segment(np.zeros((1, 60, 60), np.uint8), PoolingNet(), tile=30, block="1x60x60", batch=1, listener=bars)
    total = int(seen[0].split("/")[1].split()[0])
    assert seen == [f"{number}/{total} tiles" for number in range(1, total + 1)]


def test_a_slow_step_is_shown_until_the_first_stage():
    bars = Bars(showing(Console(file=io.StringIO())))
    bars.doing("loading torch")
    bars.doing("loading unet")
    assert [task.description for task in bars.progress.tasks] == ["loading unet"]
    bars.stage("model")
    bars.started(3, 0)
    bars.doing("reading again")
    assert [task.description for task in bars.progress.tasks] == ["model"]
