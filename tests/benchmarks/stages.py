"""Networks of the field beside the whole-image pass and MONAI's sliding window: time, error, peak memory.

One process, two threads, the contestants take turns in every round; the least time of each counts. The error is the
largest difference from the whole-image pass in units of that pass's range. What is not installed is left out:

    pip install --no-deps dynamic-network-architectures segmentation-models-pytorch timm torchvision monai pytorch3dunet
    python tests/benchmarks/stages.py [--only nnunet,resnet34] [--rounds 2] [--scale 1]

Takes about a quarter of an hour on two cores; ``--scale 0.5`` halves every side of the images.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

import tiler

sys.path.append(str(Path(__file__).parents[1] / "models" / "aten"))
from published_networks import Published, smp

THREADS = 2

Run = Callable[[torch.Tensor], np.ndarray]


def _nnunet() -> nn.Module:
    from dynamic_network_architectures.architectures.unet import PlainConvUNet

    return PlainConvUNet(
        input_channels=1, n_stages=5, features_per_stage=[16, 32, 64, 128, 160], conv_op=nn.Conv3d, kernel_sizes=3,
        strides=[1, 2, 2, 2, 2], n_conv_per_stage=2, num_classes=2, n_conv_per_stage_decoder=2, conv_bias=True,
        norm_op=nn.InstanceNorm3d, norm_op_kwargs={"eps": 1e-5, "affine": True}, nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True})


def _plantseg() -> nn.Module:
    from pytorch3dunet.unet3d.model import UNet3D

    return UNet3D(1, 2, layer_order="gcr", f_maps=16, num_levels=4, num_groups=8, final_sigmoid=False)


@dataclass(frozen=True)
class Contest:
    """A network, the size of its image, the window of MONAI and the share of MONAI's time that is wanted."""

    network: Published
    window: int
    wanted: float


CONTESTS = {
    "nnunet": Contest(Published(_nnunet, 1, (64, 256, 256)), 64, 0.6),
    "plantseg": Contest(Published(_plantseg, 1, (64, 256, 256)), 64, 0.6),
    "resnet34": Contest(smp("Unet", "resnet34", (2048, 2048)), 512, 0.6),
    "efficientnet-b0": Contest(smp("Unet", "efficientnet-b0", (2048, 2048)), 512, 0.8),
}


def contestants(module: nn.Module, contest: Contest) -> dict[str, Run]:
    def whole(x: torch.Tensor) -> np.ndarray:
        return module(x)[0].numpy()

    def monai(x: torch.Tensor) -> np.ndarray:
        from monai.inferers import sliding_window_inference

        window = (contest.window,) * (x.ndim - 2)
        return sliding_window_inference(x, window, 1, module, overlap=0.5, mode="gaussian")[0].numpy()

    model = tiler.open_model(module, head="none", classes="all")

    def ours(x: torch.Tensor) -> np.ndarray:
        image = (x[0] if contest.network.channels > 1 else x[0, 0]).numpy()
        axes = "cyx" if contest.network.channels > 1 else "zyx"[-image.ndim:]
        return tiler.segment(image, model, axes=axes).reshape(-1, *x.shape[2:])

    return {"whole": whole, "tiler": ours, "monai": monai}


def measured(run: Run, x: torch.Tensor) -> tuple[np.ndarray, float, float]:
    """Result, seconds, and MiB by which the process grew meanwhile (0 where Linux's /proc is missing)."""
    before = _resident("VmRSS")
    if before:
        Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    begun = time.perf_counter()
    found = run(x)
    return found, time.perf_counter() - begun, _resident("VmHWM") - before


def _resident(name: str) -> float:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(name)), 0.0)


def compare(name: str, contest: Contest, rounds: int, scale: float) -> None:
    torch.manual_seed(0)
    module = contest.network.build().eval()
    size = tuple(round(side * scale) for side in contest.network.size)
    x = torch.rand(1, contest.network.channels, *size)
    runs = contestants(module, contest)
    runs["tiler"](x)  # opened and checked
    taken: dict[str, list[tuple[float, float]]] = {key: [] for key in runs}
    results = {}
    for _ in range(rounds):
        for key, run in runs.items():
            results[key], seconds, peak = measured(run, x)
            taken[key].append((seconds, peak))
    truth = results["whole"].astype(np.float64)
    least = {key: np.min(rows, axis=0) for key, rows in taken.items()}
    for key, (seconds, peak) in least.items():
        error = np.abs(results[key] - truth).max() / np.ptp(truth)
        print(f"| {name} {' x '.join(map(str, size))} | {key} | {seconds:.1f} | {seconds / least['whole'][0]:.2f} "
              f"| {seconds / least['monai'][0]:.2f} | {error:.1e} | {peak:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help=f"names separated by commas: {', '.join(CONTESTS)}")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--scale", type=float, default=1.0)
    wanted = parser.parse_args()
    torch.set_num_threads(THREADS)
    torch.set_grad_enabled(False)
    print(f"{THREADS} threads; wanted of tiler: at most 1.15 of whole, and of monai "
          + ", ".join(f"{contest.wanted} ({name})" for name, contest in CONTESTS.items()))
    print("\n| network | what | seconds | of whole | of monai | largest error, of the range | MiB |")
    print("|---|---|---|---|---|---|---|")
    for name in wanted.only.split(",") if wanted.only else CONTESTS:
        try:
            compare(name, CONTESTS[name], wanted.rounds, wanted.scale)
        except ImportError as missing:
            print(f"{name} is left out: {missing}")


if __name__ == "__main__":
    main()
