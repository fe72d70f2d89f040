"""Kill runs at calls that change files, resume them, and compare every byte with a run that was left alone.

``python tests/reliability/crashes.py 25 power zarr tif`` kills each of these runs at 25 calls and also takes back what
was not synced; ``kill`` in place of ``power`` kills alone. Every point is repeated by its number and the seed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
PATIENCE = 900
LAST = 60
"""Calls at the end of a run, where the output gets its name, that are tried as often as all others."""


def built(folder: Path) -> Path:
    """The library that counts calls."""
    library = folder / "interpose.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", library, HERE / "interpose.c", "-ldl"], check=True)
    return library


def crashed(name: str, folder: Path, points: int, power: bool, seed: int = 0) -> list[dict]:
    """One record for each point: ``call``, ``outcome`` (``equal``, or what is wrong) and ``redone`` blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    options = ["power" if power else "kill", str(points), str(seed), name]
    environment = {**os.environ, "LD_PRELOAD": str(built(folder)), "OMP_NUM_THREADS": "1"}
    found = subprocess.run([sys.executable, __file__, "worker", str(folder), *options], env=environment,
                           stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in found.stdout.splitlines()]


class Worker:
    """Forks one process for each run, since what it imports takes longer than the run."""

    def __init__(self, name: str, folder: Path) -> None:
        from runs import COMMON, NETWORKS, RUNS, SHAPE
        self.output, self.network, options = RUNS[name]
        self.folder, self.place, self.saved = folder, folder / "place", folder / "saved"
        self.source, self.begun, self.options = folder / "stack.tif", folder / "begun", {**COMMON, **options}
        (folder / "networks.py").write_text(NETWORKS)
        _write_stack(self.source, SHAPE)
        self.begun.mkdir()
        if "labels" in Path(self.output).parts:
            assert self.run("Net", "image.zarr", self.begun, COMMON) == 0, self.said
        elif "overwrite" in options:
            assert self.run("Net", self.output, self.begun, {**COMMON, "roi": "0:1,0:45,0:53"}) == 0, self.said

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def imported(self) -> None:
        """Import what a run needs, once, in the process that forks."""
        import tiler
        options = {name: value for name, value in self.options.items() if name != "overwrite"}
        network = f"{self.folder / 'networks.py'}:{self.network}"
        tiler.plan(self.source, network, self.begun / self.output, **options)
        gc.collect()
        gc.freeze()
        gc.disable()

    def run(self, network: str, output: str, place: Path, options: dict, fatal: int = 0) -> int:
        """The exit code of a run, negative for a signal."""
        shutil.rmtree(self.saved, ignore_errors=True)
        self.saved.mkdir()
        if not (child := os.fork()):
            self._child(network, output, place, options, fatal)
        end = time.monotonic() + PATIENCE
        while not (found := os.waitpid(child, os.WNOHANG))[0]:
            time.sleep(0.003)
            if time.monotonic() > end:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return 124
        return os.waitstatus_to_exitcode(found[1])

    def _child(self, network: str, output: str, place: Path, options: dict, fatal: int) -> None:
        import tiler
        code = 0
        try:
            said = os.open(self.folder / "said", os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o644)
            os.dup2(said, 1)
            os.dup2(said, 2)
            os.chdir(place)
            ctypes.CDLL(None).arm(os.fsencode(self.place), os.fsencode(self.saved), fatal)
            tiler.segment(self.source, f"{self.folder / 'networks.py'}:{network}", output, **options)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}".encode())
            code = 1
        finally:
            os._exit(code)

    def fresh(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.begun, self.place)

    def segment(self, *, resume: bool = False, fatal: int = 0) -> int:
        options = {**self.options, "overwrite": False, "resume": True} if resume else self.options
        return self.run(self.network, self.output, self.place, options, fatal)

    def straight(self) -> tuple[dict[str, bytes], list[str]]:
        """The files of a run that is left alone, and its calls."""
        self.fresh()
        assert self.segment() == 0, self.said
        return _files(self.place), (self.saved / "calls").read_text().splitlines()

    def point(self, call: int, power: bool, draw: random.Random, expected: dict[str, bytes]) -> dict:
        self.fresh()
        self.segment(fatal=call)
        if power:
            from power import lose_power
            lose_power(self.place, self.saved, draw)
        before = _blocks(self.place)
        code = self.segment(resume=True)
        if code:
            return {"outcome": f"exit code {code}: {self.said[-300:]}", "redone": 0}
        found, twice = _files(self.place), _blocks(self.place)
        unlike = [name for name in {*found, *expected} if found.get(name) != expected.get(name)]
        return {"outcome": f"differs: {unlike[:5]}" if unlike else "equal",
                "redone": sum(twice[block] > 1 for block in before)}


def _write_stack(path: Path, shape: tuple[int, ...]) -> None:
    import numpy as np
    import tifffile
    values = np.random.default_rng(0).integers(0, 255, shape).astype(float)
    for axis in (1, 2):
        values = sum(np.roll(values, step, axis) for step in range(-2, 3)) / 5
    values = (values - values.min()) / np.ptp(values) * 255
    tifffile.imwrite(path, values.astype("uint8"), photometric="minisblack")


def _files(folder: Path) -> dict[str, bytes]:
    """What must be equal: all but the record of how it was made."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*"))
            if file.is_file() and not file.name.endswith((".journal", ".lock", ".journal.partial"))}


def _blocks(folder: Path) -> Counter:
    """How often each block is recorded, by stage."""
    lines = [line.rpartition(b"\t")[0] for journal in sorted(folder.rglob("*.journal"))
             for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    entries = [json.loads(line) for line in lines[1:]] if lines else []
    return Counter((entry["stage"], entry["block"]) for entry in entries
                   if entry["stage"] not in ("created", "finish"))


def work(folder: Path, kind: str, points: int, seed: int, name: str) -> None:
    """Try the points of one run, and print a line of JSON for each."""
    sys.path.insert(0, str(HERE))
    import h5py  # noqa: F401 - imported once, not in every process
    import tensorstore  # noqa: F401
    import torch
    import zarr  # noqa: F401
    torch.set_num_threads(1)
    worker, draw = Worker(name, folder), random.Random(f"{name} {kind} {seed}")
    worker.imported()
    expected, calls = worker.straight()
    assert worker.straight()[0] == expected, "two runs that are left alone differ"
    for number in range(points):
        lowest = max(1, len(calls) - LAST) if number % 2 else 1
        call = draw.randint(lowest, len(calls))
        found = worker.point(call, kind == "power", draw, expected)
        print(json.dumps({"call": calls[call - 1], **found}), flush=True)


def main(points: str, kind: str, *names: str) -> None:
    from runs import RUNS
    for name in names or RUNS:
        with tempfile.TemporaryDirectory() as folder:
            found = crashed(name, Path(folder), int(points), kind == "power", int(os.environ.get("SEED", "0")))
        bad = [record for record in found if record["outcome"] != "equal"]
        print(f"{name}: {len(found) - len(bad)} of {len(found)} equal, {sum(each['redone'] for each in found)} blocks "
              "redone", *bad, sep="\n  ", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        work(Path(sys.argv[2]), sys.argv[3], int(sys.argv[4]), int(sys.argv[5]), sys.argv[6])
    else:
        main(*sys.argv[1:])
