"""A mask is an input: it may not change during a run, and is compared when a run goes on and when it is checked."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from standins import Stopping

import tiler
from tiler.errors import Interrupted, PlanChangedError, SinkError, SourceError
from tiler.testing.predictors import PoolingNet

VALUES = np.random.default_rng(0).integers(1, 250, (4, 32, 32), np.uint8)
TISSUE = np.zeros(VALUES.shape, np.uint8)
TISSUE[:, 4:20, 6:30] = 1
CHOICES = {"tile": (1, 34, 34), "block": (1, 32, 32), "executor": "serial"}


class Changing(Stopping):
    """Changes the mask after the second block."""

    def __init__(self, change):
        super().__init__()
        self.change = change

    def finished_block(self, index, voxels):
        super().finished_block(index, voxels)
        if self.blocks == 2:
            self.change()


@pytest.fixture
def files(tmp_path):
    np.save(tmp_path / "x.npy", VALUES)
    np.save(tmp_path / "m.npy", TISSUE)
    return tmp_path / "x.npy", tmp_path / "m.npy", tmp_path / "out.zarr"


def stopped(source, mask, output):
    listener = Stopping(after=2)
    with pytest.raises(Interrupted):
        tiler.segment(source, PoolingNet(), output, mask=mask, listener=listener, stop=listener.stop, **CHOICES)


@pytest.mark.parametrize("gone", [False, True])
def test_no_result_of_a_mask_that_changes(files, gone):
    source, mask, output = files
    listener = Changing(mask.unlink if gone else lambda: np.save(mask, 1 - TISSUE))
    with pytest.raises(SourceError, match="it was there when" if gone else "the mask has changed while it was read"):
        tiler.segment(source, PoolingNet(), output, mask=mask, listener=listener, **CHOICES)
    assert not (output / "zarr.json").exists()


def test_a_run_does_not_go_on_with_another_mask(files):
    source, mask, output = files
    stopped(source, mask, output)
    np.save(mask, 1 - TISSUE)
    with pytest.raises(PlanChangedError, match=r"part\.mask"):
        tiler.segment(source, PoolingNet(), output, resume=True, **CHOICES)
    with pytest.raises(PlanChangedError, match="source or mask"):
        tiler.segment(source, PoolingNet(), output, resume=True, same_input=True, **CHOICES)


def test_the_same_mask_elsewhere_is_accepted_as_the_same_input(files):
    source, mask, output = files
    stopped(source, mask, output)
    os.utime(mask, (1, 1))
    moved = mask.rename(mask.with_name("moved.npy"))
    tiler.segment(source, PoolingNet(), output, mask=moved, resume=True, same_input=True, **CHOICES)
    expected = np.where(TISSUE > 0, tiler.segment(VALUES, PoolingNet(), **CHOICES), 0)
    np.testing.assert_array_equal(np.asarray(tiler.open_volume(output))[0], expected)


def test_a_mask_in_memory_is_not_taken_for_the_same(files):
    source, _, output = files
    stopped(source, TISSUE, output)
    with pytest.raises(SinkError, match="the mask is an array in memory"):
        tiler.segment(source, PoolingNet(), output, mask=1 - TISSUE, resume=True, **CHOICES)
    with pytest.raises(PlanChangedError):
        tiler.segment(source, PoolingNet(), output, mask=1 - TISSUE, resume=True, same_input=True, **CHOICES)
    tiler.segment(source, PoolingNet(), output, mask=TISSUE, resume=True, same_input=True, **CHOICES)


def test_a_check_finds_the_mask(files):
    source, mask, output = files
    tiler.segment(source, PoolingNet(), output, mask=mask, **CHOICES)
    moved = shutil.move(mask, mask.with_name("moved.npy"))
    with pytest.raises(SourceError, match=r"m\.npy"):
        tiler.check(output, model=PoolingNet(), windows=2)
    assert tiler.check(output, model=PoolingNet(), mask=moved, windows=2).sound
    np.save(mask, 1 - TISSUE)
    with pytest.raises(PlanChangedError, match=r"part\.mask"):
        tiler.check(output, model=PoolingNet(), windows=2)
    assert not tiler.check(output, model=PoolingNet(), mask=mask, windows=4).sound


def test_a_check_asks_for_a_mask_in_memory(files):
    source, _, output = files
    tiler.segment(source, PoolingNet(), output, mask=TISSUE, **CHOICES)
    with pytest.raises(SinkError, match="the mask of the run was an array in memory, <ndarray>"):
        tiler.check(output, model=PoolingNet())
    assert tiler.check(output, model=PoolingNet(), mask=TISSUE, windows=2).sound


def test_a_check_refuses_a_mask_that_the_run_had_not(files):
    source, mask, output = files
    tiler.segment(source, PoolingNet(), output, **CHOICES)
    with pytest.raises(SinkError, match="the run had no mask"):
        tiler.check(output, model=PoolingNet(), mask=mask)
