"""The command line inside this process, and outside of it where it is to be killed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import tifffile
from cli_cases import NETWORK, PLAN, STACK, Outcome, Outside

from tiler.cli.main import _run


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
