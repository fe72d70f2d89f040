"""A process that shares a run: python part_run.py SOURCE OUTPUT OPTIONS BLOCKS. It dies after so many, 0 is never."""

import json
import os
import signal
import sys

import tiler
from tiler.running.perform import Silent
from tiler.testing.predictors import PoolingNet


class Killer(Silent):
    blocks = int(sys.argv[4])

    def finished_block(self, index, voxels):
        self.blocks -= 1
        if self.blocks == 0:
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    tiler.segment(sys.argv[1], PoolingNet(), sys.argv[2], listener=Killer(), **json.loads(sys.argv[3]))
