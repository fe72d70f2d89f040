"""How scores fall on data that differ from the training data, and what the options against it regain.

    python tests/benchmarks/degradation.py IMAGES.tif LABELS.tif --slices 20:25

prints V_Rand and V_Info of thinned segmentations and the pixel error of shipped weights, for images of another pixel
size, inverted, of another contrast, noisy and blurred. Images of another size are made by resampling, and their
results are resampled to the size of the labels.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile
import torch
from torch.nn import functional

import tiler
from tiler.metrics import Isbi2012
from tiler.models.training.options import parse_slices

Images = npt.NDArray[np.uint8]
SCORES = ("v_rand_thinned", "v_info_thinned", "pixel_error")


@dataclass(frozen=True)
class Case:
    """Images that are changed in some way, and options for them."""

    name: str
    change: Callable[[Images], Images]
    options: dict[str, Any] = field(default_factory=dict)


def main() -> None:
    given = arguments()
    part = slice(*parse_slices(given.slices)) if given.slices else slice(None)
    images, labels = (tifffile.imread(path)[part] for path in (given.images, given.labels))
    print(f"| images | options | {' | '.join(SCORES)} |\n|---|---|{'---|' * len(SCORES)}")
    for case in cases(given.only):
        changed = case.change(images)
        found = np.asarray(tiler.segment(changed, "unet", weights=given.weights, axes="zyx", memory=given.memory,
                                         **case.options))
        values = scores(resized(found, labels.shape[1:]), labels)
        spelled = " ".join(f"`--{name} {value}`".replace(" True", "") for name, value in case.options.items())
        print(f"| {case.name} | {spelled} | {' | '.join(f'{value:.4f}' for value in values)} |", flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--weights", default="unet-isbi2012")
    parser.add_argument("--slices", metavar="A:B")
    parser.add_argument("--memory", default="auto")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    return parser.parse_args()


def cases(only: str) -> Iterator[Case]:
    """Every case once as it is, and where an option helps against it once with that option."""
    yield from (case for case in _cases() if only in case.name)


def _cases() -> Iterator[Case]:
    yield Case("as they are", lambda x: x)
    for factor in (0.5, 0.7, 0.85, 1.2, 1.5, 2.0):
        name = f"resampled by {factor:g}: pixels of {4 / factor:.2g} nm"
        yield Case(name, lambda x, factor=factor: of_size(x, factor))
        yield Case(name, lambda x, factor=factor: of_size(x, factor), {"rescale": round(1 / factor, 3)})
    yield Case("inverted", lambda x: 255 - x)
    yield Case("inverted", lambda x: 255 - x, {"invert": True})
    for slope, shift in ((0.5, 100), (0.3, 20)):
        name = f"grey values {slope:g} v + {shift}"
        yield Case(name, lambda x, a=slope, b=shift: grey(a * x + b))
        yield Case(name, lambda x, a=slope, b=shift: grey(a * x + b), {"normalise": "volume"})
    for deviation in (10, 20, 40):
        yield Case(f"noise of {deviation} grey values", lambda x, deviation=deviation: noisy(x, deviation))
    for deviation in (1.0, 2.0):
        yield Case(f"blurred by {deviation:g} pixels", lambda x, deviation=deviation: blurred(x, deviation))


def grey(values: npt.NDArray[Any]) -> Images:
    return np.rint(values).clip(0, 255).astype(np.uint8)


def of_size(images: Images, factor: float) -> Images:
    """Every image at another size: area where it shrinks, cubic where it grows."""
    return grey(resized(images.astype(np.float32), tuple(round(side * factor) for side in images.shape[1:])))


def resized(images: npt.NDArray[Any], size: tuple[int, ...]) -> npt.NDArray[Any]:
    if images.shape[1:] == size:
        return images
    stack = torch.from_numpy(images)[None]
    return functional.interpolate(stack, size=size, mode="bicubic", antialias=True)[0].clamp(0, 255).numpy()


def noisy(images: Images, deviation: float) -> Images:
    return grey(images + np.random.default_rng(0).normal(0, deviation, images.shape))


def blurred(images: Images, deviation: float) -> Images:
    from scipy import ndimage

    return grey(ndimage.gaussian_filter(images.astype(np.float32), (0, deviation, deviation)))


def scores(found: npt.NDArray[Any], labels: npt.NDArray[Any]) -> tuple[float, ...]:
    protocol = Isbi2012()
    for proposal, truth in zip(found.clip(0, 1), labels, strict=True):
        protocol.add(proposal, truth)
    headline = protocol.result().headline()
    return tuple(float(headline[name]) for name in SCORES)


if __name__ == "__main__":
    main()
