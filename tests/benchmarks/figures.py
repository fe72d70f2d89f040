"""Draw the pictures of the README into data_samples/pictures.

    python tests/benchmarks/figures.py [phase] [result]

Without a name it draws both, in about a minute and a half on two cores. It needs matplotlib (the extra `figures`).
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import tifffile
import torch
from matplotlib import patches
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, hsv_to_rgb

import tiler
from tiler.models import UNet, load_model

mpl.use("agg")

SAMPLES = Path(__file__).parents[2] / "data_samples"
PICTURES = SAMPLES / "pictures"
WIDTH_PX, DPI = 1600, 160
INK, QUIET, ALARM, GOOD = "#1a1a1a", "#6b6b6b", "#b3261e", "#1b6e4b"

SIDE = 1024
TILE, OUTPUT, STRIDE = 572, 388, 16
CONTEXT = 92
ALIGNED = OUTPUT // STRIDE * STRIDE
FULL = 0.1
HEAT = LinearSegmentedColormap.from_list("heat", ["white", "#f3b27a", "#d1495b", "#5b1a52", "#1a0b2e"])
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.6,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "savefig.facecolor": "white",
}


@dataclass(frozen=True)
class Comparison:
    """`probability` (y, x) of one pass, and for each step the (y, x) difference of the tiles from it."""

    probability: np.ndarray
    differences: dict[int, np.ndarray]

    def share(self, step: int, tolerance: float) -> float:
        """Percent of pixels which differ by more than the tolerance, as a share of the range."""
        limit = tolerance * np.ptp(self.probability)
        return 100 * float((self.differences[step] > limit).mean())


def forward(network: torch.nn.Module, image: np.ndarray) -> np.ndarray:
    """(y, x) probability of the second class for a (y, x) image."""
    with torch.inference_mode():
        scores = network(torch.from_numpy(np.ascontiguousarray(image))[None, None])
        return torch.softmax(scores, dim=1)[0, 1].numpy()


def corners(step: int) -> Iterator[tuple[int, int]]:
    """Where tiles start that follow each other at `step`."""
    return ((y, x) for y in range(0, SIDE, step) for x in range(0, SIDE, step))


def compare(network: torch.nn.Module, image: np.ndarray) -> Comparison:
    """Run one pass over all, and tiles at both steps, on the same mirrored canvas."""
    canvas = np.pad(image, (CONTEXT, CONTEXT + OUTPUT), mode="reflect")
    # 1024 pixels out of the network, rounded up to a size that it can give, want 1212 in.
    needed = -(-(SIDE - OUTPUT) // STRIDE) * STRIDE + TILE
    once = forward(network, canvas[:needed, :needed])[:SIDE, :SIDE]
    differences = {}
    for step in (OUTPUT, ALIGNED):
        tiled = np.empty((SIDE + OUTPUT, SIDE + OUTPUT), once.dtype)
        for y, x in corners(step):
            tiled[y : y + step, x : x + step] = forward(network, canvas[y : y + TILE, x : x + TILE])[:step, :step]
        differences[step] = np.abs(tiled[:SIDE, :SIDE] - once)
    return Comparison(once, differences)


def synthetic_section() -> np.ndarray:
    """(y, x) uint8: a section made as the bundled sample is, but four times its area."""
    sys.path.insert(0, str(SAMPLES))
    from sstem.microscope import Specimen

    return Specimen(seed=3, sections=1, side=SIDE).section(0).image


def random_network() -> torch.nn.Module:
    """A narrow U-Net in float64, where rounding hides nothing."""
    torch.manual_seed(0)
    return UNet(base=4).double().eval()


def draw_phase() -> None:
    """Why a step of 388 is wrong and one of 384 is right."""
    image = synthetic_section()
    loaded = load_model("unet")
    scaling = loaded.normalisation
    scaled = (image / scaling.scale - scaling.mean[0]) / scaling.std[0]
    trained = compare(loaded.build().eval(), scaled.astype(np.float32))
    narrow = compare(random_network(), scaled)
    figure = plt.figure(figsize=(WIDTH_PX / DPI, 5.1))
    grid = figure.add_gridspec(
        2, 3, height_ratios=(0.21, 1), left=0.008, right=0.992, top=0.93, bottom=0.115, wspace=0.03, hspace=0.19
    )
    _explain(figure.add_subplot(grid[0, 0]))
    _show_probability(figure.add_subplot(grid[1, 0]), trained.probability)
    for column, (step, colour) in enumerate(((OUTPUT, ALARM), (ALIGNED, GOOD)), start=1):
        _draw_windows(figure.add_subplot(grid[0, column]), step, colour)
        axes = figure.add_subplot(grid[1, column])
        _show_difference(axes, trained, step)
        _say_shares(axes, step, colour, trained, narrow)
    save(figure, "phase.png")


def _explain(axes: Axes) -> None:
    axes.axis("off")
    axes.text(0, 1.33, "Why phase matters", fontsize=13, weight="bold", transform=axes.transAxes, va="center")
    text = (
        "Four 2x2 poolings group pixels by 16.\nA tile that starts between two groups\n"
        "pools other pixels together: another result,\nalso far from its edges."
    )
    axes.text(0, 0.98, text, transform=axes.transAxes, va="top", linespacing=1.45, color=INK)


def _draw_windows(axes: Axes, step: int, colour: str) -> None:
    """Draw the groups of the whole image above those of the tile which starts at `step`."""
    low, high = 352, 452
    rows = ((0, "whole image", 1.0, QUIET), (step, f"tile from {step}", 0.0, colour))
    for start, name, height, ink in rows:
        for left in range(start or low, high, STRIDE):
            axes.add_patch(patches.Rectangle((left, height), STRIDE, 0.62, fc="none", ec=ink, lw=1.0))
        axes.text(low - 2, height + 0.31, name, ha="right", va="center", color=ink, fontsize=8)
    axes.axvline(step, ymin=0.03, ymax=0.97, color=colour, lw=1.6)
    axes.set(xlim=(low - 36, high), ylim=(-0.1, 1.75))
    axes.axis("off")
    remainder = step % STRIDE
    sum_text = f"{step} = {step // STRIDE} x {STRIDE}" + (f" + {remainder}" if remainder else "")
    axes.set_title(f"Tiles step by {step}      {sum_text}", color=colour, weight="bold", pad=7)


def _show_probability(axes: Axes, probability: np.ndarray) -> None:
    axes.imshow(probability, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    _frame(axes)
    lines = (
        "P(cell) of one pass, bundled weights in float32.",
        f"Right: difference from it, white 0, dark {FULL} or more",
    )
    axes.set_xlabel("\n".join(lines), labelpad=6, linespacing=1.4)


def _show_difference(axes: Axes, comparison: Comparison, step: int) -> None:
    """White where the tiles agree with the one pass."""
    axes.imshow(comparison.differences[step], cmap=HEAT, vmin=0, vmax=FULL, interpolation="antialiased")
    for line in range(step, SIDE, step):
        axes.axvline(line, color=QUIET, lw=0.6, ls=(0, (4, 3)))
        axes.axhline(line, color=QUIET, lw=0.6, ls=(0, (4, 3)))
    _frame(axes)


def _say_shares(axes: Axes, step: int, colour: str, trained: Comparison, narrow: Comparison) -> None:
    """State what differs under the map, for the bundled weights and for a network where rounding hides nothing."""
    share, largest = trained.share(step, 1e-5), trained.differences[step].max()
    first = f"{share:.1f} % of pixels differ" + (f", by up to {largest:.2f}" if share else "")
    second = f"random weights in float64: {narrow.share(step, 1e-12):.1f} % differ"
    axes.set_xlabel(f"{first}\n{second}", labelpad=6, linespacing=1.4, color=colour)


def draw_result() -> None:
    """The bundled sample, what the bundled weights say, and the instances."""
    image = tifffile.imread(SAMPLES / "sstem.tif")[3]
    probability = np.squeeze(np.asarray(tiler.segment(image, "unet")))
    instances = np.squeeze(np.asarray(tiler.segment(image, "unet", kind="instances", min_size=60)))
    figure, panels = plt.subplots(1, 3, figsize=(WIDTH_PX / DPI, 3.62))
    figure.subplots_adjust(left=0.005, right=0.995, top=0.92, bottom=0.005, wspace=0.02)
    titles = (
        "Bundled sample (synthetic), 2 x 2 µm",
        "P(cell)",
        f"Instances: {len(np.unique(instances)) - 1} profiles",
    )
    pictures = (image, probability, overlay(image, instances))
    for axes, title, picture in zip(panels, titles, pictures, strict=True):
        axes.imshow(picture, cmap="gray", interpolation="antialiased")
        axes.set_title(title)
        _frame(axes)
    save(figure, "result.jpg")


def overlay(image: np.ndarray, instances: np.ndarray) -> np.ndarray:
    """(y, x, 3) float: the image, tinted where an instance lies."""
    turns = 0.618034 * np.arange(int(instances.max()) + 1) % 1
    tones = np.stack([turns, 0.45 + 0.3 * (7 * turns % 1), np.full_like(turns, 0.95)], axis=1)
    colours = hsv_to_rgb(tones)[instances]
    grey = image[..., None] / 255
    tinted = grey * (0.35 + 0.65 * colours) + 0.18 * colours
    return np.clip(np.where(instances[..., None] > 0, tinted, 0.5 * grey), 0, 1)


def _frame(axes: Axes) -> None:
    axes.set(xticks=[], yticks=[])


def save(figure: plt.Figure, name: str) -> None:
    """Write a picture 1600 pixels wide: photographs as JPEG, drawings as PNG with a palette."""
    from PIL import Image

    PICTURES.mkdir(exist_ok=True)
    path = PICTURES / name
    if path.suffix == ".jpg":
        figure.savefig(path, dpi=DPI, pil_kwargs={"quality": 84, "optimize": True})
    else:
        figure.savefig(path, dpi=DPI)
        Image.open(path).convert("RGB").quantize(96).save(path, optimize=True)
    print(f"{path.name}: {path.stat().st_size // 1024} KiB")


FIGURES: dict[str, Callable[[], None]] = {"phase": draw_phase, "result": draw_result}

if __name__ == "__main__":
    with mpl.rc_context(STYLE):
        for chosen in sys.argv[1:] or FIGURES:
            FIGURES[chosen]()
