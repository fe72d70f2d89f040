"""Time and memory against the size of the volume, threads and workers; every case in a process of its own.

    python tests/benchmarks/scaling.py [--base 16] [--slices 2 8 32]

Takes about six minutes on two cores.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
SIDE = 1024


def measure(output: str, slices: str, base: str, workers: str) -> None:
    """Run one case and print its seconds and the highest anonymous memory of this process."""
    import numpy as np
    from memory import Peak

    import tiler
    from tiler.models import UNet

    stack = np.random.default_rng(0).integers(0, 255, (int(slices), SIDE, SIDE), np.uint8)
    np.save(f"{output}.npy", stack)
    executor = {"executor": "dask", "workers": int(workers)} if int(workers) else {}
    peak = Peak()
    peak.start()
    begun = time.perf_counter()
    tiler.segment(f"{output}.npy", UNet(base=int(base)).eval(), f"{output}.zarr", head="softmax", dtype="uint8",
                  block=f"1x{SIDE}x{SIDE}", **executor)
    print(f"RESULT {time.perf_counter() - begun} {peak.bytes / MIB}")


def run(slices: int, base: int, threads: int, workers: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "measure", f"{folder}/out", str(slices), str(base), str(workers)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        said = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    line = next(line for line in said.splitlines() if line.startswith("RESULT"))
    seconds, peak = map(float, line.split()[1:])
    print(f"| {slices} | {threads} | {workers or 'none'} | {1e6 * seconds / (slices * SIDE**2):.2f} | {peak:.0f} |",
          flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=int, default=16)
    parser.add_argument("--slices", type=int, nargs="+", default=[2, 8, 32])
    wanted = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    print(f"U-Net base {wanted.base}, slices of {SIDE} x {SIDE}, {cores} cores\n")
    print("| slices | threads a call | dask workers | us/px, with opening | peak MiB of the driver |")
    print("|---|---|---|---|---|")
    for slices in wanted.slices:
        run(slices, wanted.base, cores, 0)
    run(wanted.slices[-1], wanted.base, 1, 0)
    run(wanted.slices[-1], wanted.base, 1, cores)


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:])
    else:
        main()
