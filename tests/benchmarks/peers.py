"""Compare tiler with MONAI, TorchIO and PyPI's `tiler` on the same padded U-Net and image: time, memory, error.

Every contestant runs in a process of its own and they take turns, so that all see the same machine. The error is
the largest difference from the whole-image pass in units of that pass's range.

The other libraries need an environment of their own, since PyPI's `tiler` is imported by the same name:

    python3 -m venv peers && peers/bin/pip install torch monai torchio tiler
    python tests/benchmarks/peers.py --peers peers/bin/python [--size 2048] [--base 32] [--only monai,openvino]

Takes about ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from padded_unet import make

ROI, OVERLAP = 512, 128


def whole(image: torch.Tensor, network: torch.nn.Module) -> np.ndarray:
    return network(image[None, None])[0].numpy()


def whole_channels_last(image: torch.Tensor, network: torch.nn.Module) -> np.ndarray:
    return whole(image.contiguous(), network.to(memory_format=torch.channels_last))


def monai(image: torch.Tensor, network: torch.nn.Module) -> np.ndarray:
    from monai.inferers import sliding_window_inference

    batch = image[None, None]
    return sliding_window_inference(batch, ROI, 1, network, overlap=OVERLAP / ROI, mode="constant")[0].numpy()


def monai_channels_last(image: torch.Tensor, network: torch.nn.Module) -> np.ndarray:
    return monai(image, network.to(memory_format=torch.channels_last))


def torchio(image: torch.Tensor, network: torch.nn.Module) -> np.ndarray:
    import torchio as tio

    subject = tio.Subject(image=tio.ScalarImage(tensor=image[None, :, :, None]))
    sampler = tio.inference.GridSampler(subject, (ROI, ROI, 1), (OVERLAP, OVERLAP, 0))
    aggregator = tio.inference.GridAggregator(sampler)
    for patch in tio.SubjectsLoader(sampler, batch_size=1):
        aggregator.add_batch(network(patch["image"]["data"][..., 0])[..., None], patch["location"])
    return aggregator.get_output_tensor()[..., 0].numpy()


def pypi_tiler(image: torch.Tensor, network: torch.nn.Module) -> np.ndarray:
    from tiler import Merger, Tiler

    array = image[None].numpy()
    tiles = Tiler(array.shape, (1, ROI, ROI), overlap=(0, OVERLAP, OVERLAP), channel_dimension=0, mode="reflect")
    outputs = Tiler((2, *array.shape[1:]), (2, ROI, ROI), overlap=(0, OVERLAP, OVERLAP), channel_dimension=0)
    merger = Merger(outputs, window="overlap-tile")
    for number, tile in tiles(array):
        merger.add(number, network(torch.from_numpy(tile)[None])[0].numpy())
    return merger.merge()


def ours(backend: str, precision: str) -> Callable[[torch.Tensor, torch.nn.Module], np.ndarray]:
    import tiler
    from tiler.models import PredictorOptions, open_predictor

    opened = {}

    def segment(image: torch.Tensor, network: torch.nn.Module) -> np.ndarray:
        if not opened:
            options = PredictorOptions(head="none", classes="all", backend=backend, precision=precision)
            opened["predictor"] = open_predictor(network, options=options)
        return tiler.segment(image.numpy(), opened["predictor"], axes="yx")

    return segment


class Contestant(NamedTuple):
    title: str
    run: Callable[[], Callable[[torch.Tensor, torch.nn.Module], np.ndarray]]
    peer: bool = False


CONTESTANTS = {
    "whole": Contestant("whole image, torch", lambda: whole),
    "whole-cl": Contestant("whole image, torch channels_last", lambda: whole_channels_last),
    "monai": Contestant("MONAI sliding window", lambda: monai, peer=True),
    "monai-cl": Contestant("MONAI sliding window, channels_last", lambda: monai_channels_last, peer=True),
    "torchio": Contestant("TorchIO grid sampler", lambda: torchio, peer=True),
    "pypi": Contestant("PyPI's tiler, overlap-tile", lambda: pypi_tiler, peer=True),
    "torch": Contestant("tiler, torch", lambda: ours("torch", "float32")),
    "openvino": Contestant("tiler, OpenVINO float32", lambda: ours("openvino", "float32")),
    "openvino-bf16": Contestant("tiler, OpenVINO bfloat16", lambda: ours("openvino", "bfloat16")),
}


def contest(name: str, image_file: str, output: str, base: int) -> None:
    """Run one contestant until its networks are compiled and proved, then on the clock; print seconds and peak MiB."""
    torch.set_grad_enabled(False)
    image, network = torch.from_numpy(np.load(image_file)), make(base)
    run = CONTESTANTS[name].run()
    run(image, network)
    begun = time.perf_counter()
    np.save(output, run(image, network))
    seconds = time.perf_counter() - begun
    print(f"RESULT {seconds} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}")


def measure(python: str, name: str, folder: str, base: int) -> tuple[float, float] | None:
    """Seconds and peak MiB; None for a contestant that cannot run here, with the reason printed."""
    command = [python, __file__, "contest", name, f"{folder}/image.npy", f"{folder}/{name}.npy", str(base)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        print(f"{name} is left out: {said.stderr.strip().splitlines()[-1]}\n", flush=True)
        return None
    line = next(line for line in said.stdout.splitlines() if line.startswith("RESULT"))
    seconds, peak = map(float, line.split()[1:])
    return seconds, peak


def compare(wanted: argparse.Namespace, folder: str) -> None:
    rng = np.random.default_rng(0)
    np.save(f"{folder}/image.npy", rng.random((wanted.size, wanted.size), dtype=np.float32))
    names = [name for name in CONTESTANTS if name == "whole" or not wanted.only or name in wanted.only.split(",")]
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(wanted.rounds):
        for name in [*taken]:
            python = wanted.peers if CONTESTANTS[name].peer else sys.executable
            found = measure(python, name, folder, wanted.base)
            if found is None:
                del taken[name]
            else:
                taken[name].append(found)
    reference = "monai" if "monai" in taken else "whole"
    fastest = min(seconds for seconds, _ in taken[reference])
    print(f"{wanted.size} x {wanted.size} px, base {wanted.base}, {torch.get_num_threads()} threads\n")
    print(f"| what | us/px | time over {reference} | peak MiB | largest error, of the range |\n|---|---|---|---|---|")
    truth = np.load(f"{folder}/whole.npy").astype(np.float64)
    for name, rows in taken.items():
        seconds, peak = np.min(rows, axis=0)
        error = np.abs(np.load(f"{folder}/{name}.npy") - truth).max() / np.ptp(truth)
        print(f"| {CONTESTANTS[name].title} | {1e6 * seconds / wanted.size**2:.2f} | {seconds / fastest:.2f} "
              f"| {peak:.0f} | {error:.1e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", required=True, help="python of the environment with monai, torchio and PyPI's tiler")
    parser.add_argument("--size", type=int, default=2048)
    parser.add_argument("--base", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", help="names separated by commas")
    with tempfile.TemporaryDirectory() as folder:
        compare(parser.parse_args(), folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["contest"]:
        contest(*sys.argv[2:5], int(sys.argv[5]))
    else:
        main()
