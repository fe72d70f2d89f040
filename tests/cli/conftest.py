"""The command line inside this process, and outside of it where it is to be killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tiler.cli.main import _run

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


@pytest.fixture(scope="session")
def networks(tmp_path_factory):
    """A user's file of networks; one for all tests, so that it is imported and proved once."""
    path = tmp_path_factory.mktemp("networks") / "networks.py"
    path.write_text(NETWORK)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory, with a stack of three sections in it."""
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite(tmp_path / "stack.tif", STACK, photometric="minisblack")
    return tmp_path


@pytest.fixture
def tiler(folder, capsys):
    """``tiler("segment", ...)`` in this process."""

    def call(*arguments):
        capsys.readouterr()
        code = _run([str(argument) for argument in arguments])
        return Outcome(code, *capsys.readouterr())

    return call


@pytest.fixture
def segment(tiler, networks):
    """``tiler segment`` with the narrow network, a tile and a block, unless the arguments give others."""

    def call(*arguments, model="Net", plan=PLAN):
        return tiler("segment", *arguments, "--model", f"{networks}:{model}", *plan)

    return call


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


@pytest.fixture
def outside(folder, networks):
    """Start a run that can be killed; processes alive at the end of the test are killed."""
    started = []

    def start(output, *arguments, pause=0.0):
        command = [sys.executable, "-m", "tiler.cli", "segment", "stack.tif", "-m", f"{networks}:Net", *PLAN,
                   "-o", output, *arguments]
        env = {**os.environ, "COUNT": f"{output}.count", "PAUSE": str(pause), "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        started.append(process)
        return Outside(process, folder / f"{output}.journal")

    yield start
    for process in started:
        process.kill()
        process.communicate()


def count_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def tree(path):
    """Every file of an output, by name; a file is its own only entry."""
    files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    return {str(file.relative_to(path)): file.read_bytes() for file in files}
