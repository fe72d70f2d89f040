"""A run that dies without a word after some blocks: python killed_run.py SOURCE OUTPUT BLOCKS"""

import os
import signal
import sys

import tiler
from tiler.running.perform import Silent
from tiler.testing.predictors import PoolingNet


class Killer(Silent):
    blocks = int(sys.argv[3])

    def finished_block(self, index, voxels):
        self.blocks -= 1
        if self.blocks == 0:
            os.kill(os.getpid(), signal.SIGKILL)


tiler.segment(sys.argv[1], PoolingNet(), sys.argv[2], tile="22", block="16", listener=Killer())
