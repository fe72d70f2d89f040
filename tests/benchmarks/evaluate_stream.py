"""Score a pair of label volumes in zarr that is larger than memory, and measure the peak.

    python tests/benchmarks/evaluate_stream.py --size 20GB --folder /somewhere/with/room
    python tests/benchmarks/evaluate_stream.py --size 200MB

Both volumes hold uint64 ids and are computed chunk by chunk from the coordinates: cells of about 60 voxels a
side, and the same cells displaced, joined here and there, with membranes. They compress well, so 20 GB of ids need
little room on a disk; what is read and scored is all of it. First a crop is scored from the files and, by the metric
alone, from an array in memory: the scores must be equal, or the script fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import zarr

CHUNK = (64, 128, 128)
CELL = 60
UNITS = {"kB": 10**3, "MB": 10**6, "GB": 10**9}
LIMIT = 2 * 2**30  # bytes
PROTOCOLS = ("snemi3d", "instances", "cremi")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="20GB", help="of both volumes together [20GB]")
    parser.add_argument("--folder", type=Path, help="where they are made [a temporary folder]")
    parser.add_argument("--protocol", action="append", choices=PROTOCOLS, help="[snemi3d]")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        truth, found = Path(folder) / "truth.zarr", Path(folder) / "found.zarr"
        started = time.perf_counter()
        shape = make(truth, found, parse(given.size))
        print(f"{' x '.join(map(str, shape))} voxels twice, {2 * 8 * np.prod(shape) / 1e9:.2f} GB of ids, made in "
              f"{time.perf_counter() - started:.0f} s", flush=True)
        check_crop(truth, found)
        for protocol in given.protocol or PROTOCOLS[:1]:
            measure(truth, found, protocol, given.workers, 2 * 8 * int(np.prod(shape)))


def parse(size: str) -> int:
    number, unit = re.fullmatch(r"([\d.]+)\s*([kMG]B)", size).groups()
    return int(float(number) * UNITS[unit])


def make(truth: Path, found: Path, size: int) -> tuple[int, int, int]:
    """Write both volumes, chunk by chunk."""
    voxels = size / 16
    side = max(1, round((voxels / np.prod(CHUNK) / 4) ** (1 / 3)))
    depth = max(1, round(voxels / np.prod(CHUNK) / (2 * side) ** 2))
    shape = (CHUNK[0] * depth, CHUNK[1] * 2 * side, CHUNK[2] * 2 * side)
    options = {"shape": shape, "chunks": CHUNK, "dtype": "uint64"}
    arrays = [zarr.create_array(path, **options) for path in (truth, found)]
    for corner in np.ndindex(*(-(-size // step) for size, step in zip(shape, CHUNK, strict=True))):
        start = [index * step for index, step in zip(corner, CHUNK, strict=True)]
        box = tuple(slice(a, a + step) for a, step in zip(start, CHUNK, strict=True))
        for array, displaced in zip(arrays, (0, 4), strict=True):
            array[box] = ids(start, displaced)
    return shape


def ids(start: list[int], displaced: int) -> np.ndarray:
    """The ids of one chunk: numbers of wavy cells; in the displaced volume every 17th is joined to the next."""
    z, y, x = np.ogrid[tuple(slice(a, a + step) for a, step in zip(start, CHUNK, strict=True))]
    wave = (6 * np.sin((x + y) / 23) + 5 * np.sin((y - z) / 17)).astype(np.int64) + displaced + 20
    places = [(axis + wave) for axis in (z, y, x)]
    cells = [place // CELL for place in places]
    number = ((cells[0] * 4096 + cells[1]) * 4096 + cells[2] + 1).astype(np.uint64)
    if displaced:
        number -= (number % 17 == 0).astype(np.uint64)
    membrane = np.minimum.reduce([np.broadcast_to(place % CELL, number.shape) for place in places]) < 3
    return np.where(membrane, 0, number).astype(np.uint64)


def check_crop(truth: Path, found: Path) -> None:
    """The streamed scores of a crop are those of arrays in memory."""
    import tiler
    from tiler.metrics import ContingencyTable, score_snemi3d

    crop = (slice(10, 60), slice(30, 200), slice(50, 250))
    streamed = tiler.evaluate(found, truth, "snemi3d", roi=crop).scores
    whole = score_snemi3d(ContingencyTable.of(*(zarr.open_array(path, mode="r")[crop] for path in (truth, found))))
    assert streamed == whole.headline(), (streamed, whole.headline())
    print(f"crop: streamed and in memory equal, {json.dumps(streamed)}", flush=True)


def measure(truth: Path, found: Path, protocol: str, workers: int, size: int) -> None:
    """Run the command by itself and watch how much memory it holds."""
    command = [sys.executable, "-m", "tiler.cli", "evaluate", str(found), str(truth), "--protocol", protocol,
               "--workers", str(workers), "--json", "-", "-q"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    watched, peak = psutil.Process(process.pid), 0
    while process.poll() is None:
        try:
            peak = max(peak, watched.memory_info().rss)
        except psutil.NoSuchProcess:
            break
        time.sleep(0.05)
    result = json.loads(process.communicate()[0])
    seconds = time.perf_counter() - started
    print(f"{protocol}, {workers} workers: {seconds:.1f} s, {size / seconds / 1e6:.0f} MB/s, "
          f"peak {peak / 2**20:.0f} MiB, {json.dumps(result['scores'])}", flush=True)
    assert peak < LIMIT, f"the peak is above {LIMIT / 2**30:.0f} GiB"


if __name__ == "__main__":
    main()
