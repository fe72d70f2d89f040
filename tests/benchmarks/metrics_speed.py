"""Time all official ISBI-2012 scores of a 30x512x512 stack: warm, with nothing compiled, in two threads.

    python tests/benchmarks/metrics_speed.py LABELS.tif PROPOSAL.tif
    python tests/benchmarks/metrics_speed.py LABELS.tif --from VOLUME.tif --weights unet-isbi2012.safetensors

The second form first lets the bundled U-Net make the proposal (minutes on a CPU; kept with --keep FILE.npy).
Each measurement runs in a process of its own, from its start to the last score. Beside it stands the CPU time,
which a busy machine does not change. The reference, Fiji's evaluator in Java, takes about 245 s on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import tifffile

ONE_CORE = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path)
    parser.add_argument("proposal", type=Path, nargs="?")
    parser.add_argument("--from", dest="volume", type=Path, help="make the proposal of this volume")
    parser.add_argument("--weights", type=Path, help="of the U-Net that makes it")
    parser.add_argument("--keep", type=Path, help="where to keep it (.npy)")
    parser.add_argument("--once", type=int, metavar="WORKERS", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.once:
        score_once(given.labels, given.proposal, given.once)
        return
    with tempfile.TemporaryDirectory() as folder:
        proposal = given.proposal or made_by_network(given, Path(folder))
        measure_all(given.labels, proposal, Path(folder))


def made_by_network(given: argparse.Namespace, folder: Path) -> Path:
    import tiler

    path = given.keep or folder / "proposal.npy"
    np.save(path, tiler.segment(given.volume, "unet", weights=given.weights))
    return path


def measure_all(labels: Path, proposal: Path, folder: Path) -> None:
    run = partial(measure, labels, proposal)
    run("to fill the cache", 1, folder / "cache")
    warm = run("one worker, warm", 1, folder / "cache")
    run("one worker, nothing compiled", 1, folder / "empty")
    two = run("two workers, warm", 2, folder / "cache")
    print(f"two workers take {two / warm:.2f} of the time of one")


def measure(labels: Path, proposal: Path, name: str, workers: int, compiled: Path) -> float:
    """Seconds from the start of a new interpreter to its end."""
    started = time.perf_counter()
    command = [sys.executable, __file__, str(labels), str(proposal), "--once", str(workers)]
    environment = {**os.environ, **ONE_CORE, "NUMBA_CACHE_DIR": str(compiled)}
    printed = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds, used = time.perf_counter() - started, json.loads(printed)
    print(f"{name:30} {seconds:6.2f} s, of which scoring {used['scoring']:6.2f} s, CPU {used['cpu']:6.2f} s, "
          f"peak {used['peak'] / 2**20:4.0f} MiB, V_Rand {used['v_rand_thinned']:.4f}", flush=True)
    return seconds


def score_once(labels: Path, proposal: Path, workers: int) -> None:
    from tiler.metrics import Isbi2012Result, score_slice

    cuts, truth = volume(proposal), volume(labels)
    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:  # the compiled loops hold no lock
        official = Isbi2012Result(tuple(pool.map(score_slice, cuts, truth))).official
    use = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"scoring": time.perf_counter() - started, "cpu": use.ru_utime + use.ru_stime,
                      "peak": use.ru_maxrss * 1024, **official}))


def volume(path: Path) -> np.ndarray:
    if path.suffix == ".npy":
        return np.load(path, mmap_mode="r")
    return tifffile.imread(path)


if __name__ == "__main__":
    main()
