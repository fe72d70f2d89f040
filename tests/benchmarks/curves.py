"""Cost of an output pixel for each tile size and backend, in one run.

The network alone is timed, as the engine calls it: a tile in, its core out. Backends take turns at every size.

    python tests/benchmarks/curves.py [--base 64] [--tiles 380 572 1148 2044] [--backends torch openvino]
        [--device cuda]

Takes about twenty minutes on two cores, most of them for the tile of 2044 and for compiling.
"""

from __future__ import annotations

import argparse
import time

import torch

from tiler.errors import ModelError
from tiler.models import PredictorOptions, UNet, open_predictor

WAYS = {"torch": ("torch", "float32"), "torch-tf32": ("torch", "tf32"), "torch-bf16": ("torch", "bfloat16"),
        "compile": ("compile", "float32"), "openvino": ("openvino", "float32"),
        "openvino-bf16": ("openvino", "bfloat16"),
        "onnxruntime": ("onnxruntime", "float32")}


def microseconds(predictor, tile: int, calls: int) -> float:
    """Per pixel that the tile may write; the fastest of some calls after one that compiles."""
    core = predictor.footprint.core((1, tile, tile))[1]
    taken = []
    with predictor.network.session() as session:
        batch = torch.rand(1, 1, tile, tile, device=session.feeder.device)
        session.download(session(batch))
        for _ in range(calls):
            begun = time.perf_counter()
            session.download(session(batch))
            taken.append(time.perf_counter() - begun)
    return 1e6 * min(taken) / core**2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=int, default=64)
    parser.add_argument("--tiles", type=int, nargs="+", default=[380, 572, 1148, 2044])
    parser.add_argument("--backends", nargs="+", default=list(WAYS), choices=WAYS)
    parser.add_argument("--calls", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    wanted = parser.parse_args()
    module = UNet(base=wanted.base).eval()
    print(f"U-Net base {wanted.base}, {torch.get_num_threads()} threads, us per pixel of the core\n")
    print(f"| tile | MFLOP/px | {' | '.join(wanted.backends)} |\n|---|---|{'---|' * len(wanted.backends)}")
    for tile in wanted.tiles:
        cells = []
        for way in wanted.backends:
            backend, precision = WAYS[way]
            try:
                options = PredictorOptions(head="softmax", backend=backend, precision=precision,
                                           device=wanted.device)
                predictor = open_predictor(module, options=options)
                cells.append(f"{microseconds(predictor, tile, wanted.calls):.2f}")
            except ModelError as error:
                cells.append(f"({error})")
        shape = (1, tile, tile)
        flops = predictor.cost(shape, 1).flops / predictor.footprint.core(shape)[1] ** 2 / 1e6
        print(f"| {tile} | {flops:.2f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
