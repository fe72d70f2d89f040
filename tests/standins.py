"""A network and a listener that several tests have run for them."""

from __future__ import annotations

import threading

import numpy as np

from tiler.ports import Capabilities
from tiler.running.perform import Silent
from tiler.testing.predictors import PoolingNet


class LabelNet(PoolingNet):
    """Two classes, in a type that all formats hold: labels of which instances can be made."""

    capabilities = Capabilities(meaning="labels")

    @property
    def dtype(self):
        return np.dtype(np.uint8)

    def __call__(self, batch):
        return (super().__call__(batch) > 125).astype(np.uint8)


class Stopping(Silent):
    """Counts the blocks of a run, and asks it to stop after some of them."""

    def __init__(self, after=None):
        self.after, self.blocks, self.stop = after, 0, threading.Event()

    def finished_block(self, index, voxels):
        self.blocks += 1
        if self.blocks == self.after:
            self.stop.set()


class ProbabilityNet(PoolingNet):
    """One probability between 0 and 1, of which instances are made above a threshold."""

    @property
    def dtype(self):
        return np.dtype(np.float32)

    def __call__(self, batch):
        return (super().__call__(batch) % 250 / 250).astype(np.float32)
