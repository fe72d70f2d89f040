"""What the tests of the command line share: a file of networks, a stack, outcomes of commands and processes."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

NETWORK = '''
import os, time
import torch
from torch import nn
from tiler.models.zoo.unet import UNet


class Net(nn.Module):
    """A narrow U-Net with soft-max. On the CPU in float32 it counts its calls in $COUNT and waits for $PAUSE.

    A number made on the way keeps it from being run crop by crop, without its forward method.
    """

    def __init__(self, **arguments):
        super().__init__()
        torch.manual_seed(0)
        self.net = UNet(base=4, depth=2, **arguments)

    def forward(self, x):
        if x.device.type == "cpu" and x.dtype == torch.float32 and "COUNT" in os.environ:
            with open(os.environ["COUNT"], "ab") as file:
                file.write(b"x")
            time.sleep(float(os.environ["PAUSE"]))
        return torch.softmax(self.net(x / torch.tensor(255.0)), 1)


def colour():
    return Net(in_channels=3)


def padded():
    return Net(padding="same")


def undecided():
    return UNet(base=4, depth=2)


def failing():
    raise RuntimeError("no such luck\\nand a second line")


class Choosy(Net):
    """Takes no tile beyond 100, which the probe does not find out."""

    def forward(self, x):
        if x.shape[-1] > 100:
            raise RuntimeError("too large\\nfor me")
        return super().forward(x)
'''
STACK = np.random.default_rng(0).integers(0, 255, (3, 61, 53), dtype=np.uint8)
PLAN = ("--threads", "1", "--tile", "60", "--block", "20")
BLOCKS = 3 * 4 * 3


@dataclass(frozen=True)
class Outcome:
    """Results of a finished command."""

    code: int
    out: str
    err: str

    @property
    def lines(self):
        return self.err.splitlines()


@dataclass
class Outside:
    """``tiler segment stack.tif`` in a process of its own, whose network counts its calls."""

    process: subprocess.Popen
    journal: Path

    def until(self, lines):
        """Wait for so many lines of the journal: the plan, "created", and the blocks."""
        end = time.monotonic() + 60
        while count_lines(self.journal) < lines:
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < end, "the run does not get on"
            time.sleep(0.002)

    def outcome(self):
        out, err = self.process.communicate(timeout=60)
        return Outcome(self.process.returncode, out, err)


def count_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def tree(path):
    """Every file of an output, by name; a file is its own only entry."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}
