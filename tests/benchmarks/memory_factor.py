"""Memory of a forward pass beyond its live tensors: the constants in ``models/inference/cost.py``.

Every case runs in a fresh process, through the predictor, from weights on disk. A thread samples the process's
anonymous resident memory (``RssAnon`` of ``/proc/self/status``, so Linux only). Printed per case, in MiB: live
tensors and parameters as traced, the measured growth from before the network was opened, the planned one
(`TorchPredictor.cost`), and planned over measured for the pass alone and for the whole process, which is
what a memory budget is about.

    python tests/benchmarks/memory_factor.py            # about five minutes on two cores
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

CASES = [
    # base, tile, precision, average
    (64, 188 + 16, "float32", "none"),
    (64, 572, "float32", "none"),
    (64, 1148, "float32", "none"),
    (32, 572, "float32", "none"),
    (32, 1148, "float32", "none"),
    (32, 700, "float32", "d4"),
    (8, 1148, "float32", "none"),
    (64, 572, "bfloat16", "none"),
    (64, 1148, "bfloat16", "none"),
    (32, 572, "float64", "none"),
    (64, 572, "float64", "none"),
]
MIB = 2**20


def anonymous() -> int:
    """Bytes of anonymous resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    raise SystemExit("this kernel does not report RssAnon")


class Peak(threading.Thread):
    """Highest anonymous memory while it runs."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.001):
            self.bytes = max(self.bytes, anonymous())


def measure(base: int, tile: int, precision: str, average: str, weights: str) -> None:
    import numpy as np

    from tiler.geometry import Footprint
    from tiler.models import PredictorOptions, open_predictor

    valid = Footprint((0, 92, 92), (0, 96, 96), (0, 92, 92), (0, 92, 92), (1, 16, 16))
    options = PredictorOptions(device="cpu", precision=precision, average=average, footprint=valid)
    predictor = open_predictor("unet", weights=weights, options=options)
    cost = predictor.cost((1, tile, tile), 1)
    live = predictor.tracer.at((1, 1, tile, tile)).live
    batch = np.random.default_rng(0).integers(0, 256, (1, 1, 1, tile, tile), np.uint8)
    baseline = anonymous()
    peak = Peak()
    peak.start()
    for _ in range(3):
        predictor(batch)
    peak.stopped.set()
    peak.join()
    measured = peak.bytes - baseline
    figures = (live, predictor.tracer.parameters, baseline, measured, cost.bytes)
    print(f"{base:4d} {tile:5d} {precision:9s} {average:5s}", *(f"{value / MIB:9.0f}" for value in figures),
          f"{cost.bytes / measured:9.3f} {(baseline + cost.bytes) / (baseline + measured):9.3f}")


def save(base: int, folder: str) -> str:
    """Weights of the published network with random values."""
    from tiler.models import Normalisation, UNet, WeightsCard, save_weights

    path = Path(folder) / f"base{base}.safetensors"
    if not path.exists():
        module = UNet(base=base)
        scaling = Normalisation(255.0, (0.5,), (0.2,))
        card = WeightsCard("unet", module.arguments, ("a", "b"), scaling, "none", "none")
        save_weights(path, module.state_dict(), card)
    return str(path)


def main() -> None:
    if len(sys.argv) == 6:
        measure(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
        return
    print("base  tile precision average  live parameters baseline  measured   planned  pass ratio  process ratio")
    with tempfile.TemporaryDirectory() as folder:
        for base, *case in CASES:
            arguments = [str(base), *map(str, case), save(base, folder)]
            started = time.perf_counter()
            subprocess.run([sys.executable, __file__, *arguments], check=True)
            print(f"     {time.perf_counter() - started:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
