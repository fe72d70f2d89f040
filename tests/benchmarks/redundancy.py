"""Share of the operations that a plan spends on context which is computed twice, by network and image.

    python tests/benchmarks/redundancy.py [--memory 8GiB] [--sides 2048 4096 8192]

Nothing is computed but plans: about a minute.
"""

from __future__ import annotations

import argparse

import numpy as np

import tiler
from tiler.models import UNet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--memory", default="8GiB")
    parser.add_argument("--sides", type=int, nargs="+", default=[2048, 4096, 8192])
    wanted = parser.parse_args()
    print("| base | padding | image | tile | for context |\n|---|---|---|---|---|")
    for base in (32, 64):
        for padding in ("valid", "same"):
            network = UNet(base=base, padding=padding).eval()
            for side in wanted.sides:
                volume = np.broadcast_to(np.zeros((), np.uint8), (4, side, side))
                plan = tiler.plan(volume, network, memory=wanted.memory, head="softmax", tune=False)
                print(f"| {base} | {padding} | {side} | {plan.tile[1]} | {plan.estimate.redundant:.1%} |", flush=True)


if __name__ == "__main__":
    main()
