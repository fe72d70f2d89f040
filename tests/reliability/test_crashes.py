"""Runs that are killed, or lose the power, at calls that change files: resumed, they leave the bytes of other runs.

``pytest -m slow -n 0 tests/reliability`` tries `POINTS` points of each run; ``SEED=1`` tries others.
`tests/reliability/crashes.py` does the same for chosen runs.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys

import pytest
from crashes import built, crashed
from power import lose_power
from runs import RUNS

POINTS = int(os.environ.get("POINTS", "25"))
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None or sys.platform != "linux",
                                    reason="calls are counted by a library that is compiled for Linux")


@needs_compiler
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("power", [False, True], ids=["killed", "without power"])
@pytest.mark.parametrize("name", RUNS)
def test_a_run_that_ended_anywhere_is_resumed(name, power, tmp_path):
    found = crashed(name, tmp_path, POINTS, power, int(os.environ.get("SEED", "0")))
    assert len(found) == POINTS
    assert [record for record in found if record["outcome"] != "equal" or record["redone"]] == []


CARELESS = """
import os, sys, ctypes
from pathlib import Path
place = Path(sys.argv[1])
ctypes.CDLL(None).arm(os.fsencode(place), os.fsencode(sys.argv[2]), int(sys.argv[3]))
(place / "new.txt.partial").write_bytes(b"new")
os.replace(place / "new.txt.partial", place / "new.txt")
(place / "synced.txt").write_bytes(b"kept")
descriptor = os.open(place / "synced.txt", os.O_RDONLY)
os.fsync(descriptor)
os.fsync(os.open(place, os.O_RDONLY))
(place / "late").mkdir()
(place / "late" / "a.txt").write_bytes(b"a")
"""


@needs_compiler
def test_what_was_not_synced_is_lost_and_a_call_kills(tmp_path):
    """The harness finds a program that does not sync."""
    place, saved = tmp_path / "place", tmp_path / "saved"
    place.mkdir()
    saved.mkdir()
    environment = {**os.environ, "LD_PRELOAD": str(built(tmp_path))}

    def run(at):
        return subprocess.run([sys.executable, "-c", CARELESS, place, saved, str(at)], check=False,
                              env=environment).returncode

    assert run(0) == 0
    assert len((saved / "calls").read_text().splitlines()) == 10
    lose_power(place, saved, random.Random(3))
    assert {file.name: file.read_bytes() for file in place.iterdir()} == {"new.txt": b"", "synced.txt": b"kept"}
    assert run(4) == -9
    assert not (place / "late").exists()
