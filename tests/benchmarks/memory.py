"""Memory against the plan and against the size of the volume.

Every case runs in a fresh process; a thread samples its anonymous resident memory (Linux only). The volumes are
sparse uint8 zarr arrays: chunks that are not there read as zeros, so that 64 GiB need no disk.

    python tests/benchmarks/memory.py            # all cases: about three quarters of an hour on two cores
    python tests/benchmarks/memory.py small      # 2 and 16 GiB through one convolution
    python tests/benchmarks/memory.py negative   # 2, 8 and 64 GiB through the tiles of a U-Net, without arithmetic
    python tests/benchmarks/memory.py unet       # base 64 at tiles 572 and 1148
    python tests/benchmarks/memory.py tiny       # 64 and 256 MiB, in half a minute: whether the script works
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tiler.geometry import Footprint, Reach
from tiler.ports import Capabilities, Cost

MIB = 1 << 20
SERIES = {
    "small": {"2 GiB": (128, 4096, 4096), "16 GiB": (1024, 4096, 4096)},
    "negative": {"2 GiB": (128, 4096, 4096), "8 GiB": (512, 4096, 4096), "64 GiB": (4096, 4096, 4096)},
    "tiny": {"64 MiB": (16, 2048, 2048), "256 MiB": (64, 2048, 2048)},
}
TILES = (572, 1148)


@dataclass(frozen=True)
class Negative:
    """255 minus the grey value, with the footprint of the published U-Net: all that is left is the engine's work."""

    border = "mirror"
    classes = ("negative",)
    in_channels = 1
    dtype = np.dtype(np.uint8)
    expects = None
    capabilities = Capabilities()
    footprint = Footprint.of([Reach(0, 0, 0, 0, 1), *[Reach(92, 96, 92, 92, 16)] * 2])
    identity: ClassVar = {"name": "negative"}

    def cost(self, tile, batch):
        return Cost(float(batch * np.prod(tile)), int(batch * np.prod(tile)))

    def with_statistics(self, mean, std):
        return self

    def __call__(self, batch):
        return 255 - batch[..., 92:-92, 92:-92]


class Peak(threading.Thread):
    """Highest anonymous memory of this process while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0

    def run(self) -> None:
        from tiler.machine import anonymous_memory

        while True:
            self.bytes = max(self.bytes, anonymous_memory())
            time.sleep(0.002)


def measure(folder: str, network: str, shape: str, tile: str) -> None:
    """Run one case and print planned and measured MiB, and seconds."""
    import zarr
    from torch import nn

    import tiler
    from tiler.models import UNet

    sizes = tuple(map(int, shape.split("x")))
    source, output = f"{folder}/in.zarr", f"{folder}/out.zarr"
    zarr.create_array(source, shape=sizes, dtype="uint8", chunks=(16, 512, 512))
    options = {"tile": None if tile == "auto" else tile}
    if network == "negative":
        module = Negative()
    else:
        module = UNet(base=64).eval() if network == "unet" else nn.Conv2d(1, 1, 3)
        options |= {"head": "softmax" if network == "unet" else "sigmoid", "dtype": "uint8"}
    planned = tiler.plan(source, module, **options)
    peak = Peak()
    peak.start()
    begun = time.perf_counter()
    tiler.segment(source, module, output, **options)
    seconds = time.perf_counter() - begun
    print(planned.estimate.peak_bytes / MIB, peak.bytes / MIB, seconds, "x".join(map(str, planned.tile)))


def run(network: str, shape: tuple[int, ...], tile: str) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "measure", folder, network, "x".join(map(str, shape)), tile]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    planned, measured, seconds = map(float, said[:3])
    size = "x".join(map(str, shape))
    print(f"{network:8s} {size:>15s} tile {said[3]:12s} planned {planned:7.0f} MiB  measured {measured:7.0f} MiB  "
          f"ratio {planned / measured:.2f}  {seconds:6.0f} s", flush=True)
    return planned, measured


def series(network: str, shapes: dict[str, tuple[int, ...]]) -> None:
    """Volumes of growing size, and what the later ones take over the first."""
    peaks = {size: run(network, shape, "auto")[1] for size, shape in shapes.items()}
    least = next(iter(peaks))
    for size, peak in peaks.items():
        print(f"{network}: {size} over {least} takes {peak / peaks[least] - 1:+.1%} memory (within 10 % wanted)")


def main(what: str) -> None:
    if what in ("all", "unet"):
        for tile in TILES:
            run("unet", (4, 2 * tile, tile), str(tile))
    for name in ("small", "negative") if what == "all" else {what} & set(SERIES):
        series("negative" if name == "negative" else "small", SERIES[name])


if __name__ == "__main__":
    if sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:])
    else:
        main(*(sys.argv[1:2] or ["all"]))
