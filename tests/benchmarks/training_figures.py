"""Draw what training sees: the weight map of touching cells, and elastic deformation with its grid.

    python tests/benchmarks/training_figures.py FOLDER
    python tests/benchmarks/training_figures.py FOLDER --images FRAMES.tif --instances MASKS.tif --slice 4

Writes weight_map.png and elastic.png into FOLDER; without arguments of the bundled synthetic sample. It needs
matplotlib (the extra `figures`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
import tifffile
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from tiler.models.training.augmentation import Augmentation, displacements, grid_of, take_image, take_labels
from tiler.models.training.weight_maps import WeightMap, class_weights, separate_touching

mpl.use("agg")

SAMPLES = Path(__file__).parents[2] / "data_samples"
DPI = 130
GRID_EVERY = 24
"""Pixels between two lines of the grid that is drawn."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=Path, default=SAMPLES / "sstem.tif")
    parser.add_argument("--instances", type=Path, default=SAMPLES / "sstem_instances.tif")
    parser.add_argument("--slice", type=int, default=0)
    given = parser.parse_args()
    image, instances = (tifffile.imread(path)[given.slice] for path in (given.images, given.instances))
    given.folder.mkdir(exist_ok=True)
    draw_weight_map(image, instances, given.folder / "weight_map.png")
    draw_elastic(image, instances, given.folder / "elastic.png")


def draw_weight_map(image: np.ndarray, instances: np.ndarray, path: Path) -> None:
    """Image, instances, the mask with its gaps and the weights, as in figure 3 of the paper."""
    parted = separate_touching(instances.astype(np.int32))
    mask = (parted != 0).astype(np.uint8)
    rule = WeightMap(balance="inverse", border="paper")
    weights = rule.of(parted, mask, class_weights(rule.balance, np.bincount(mask.ravel(), minlength=2)))
    figure, axes = plt.subplots(1, 4, figsize=(17, 4.6), dpi=DPI, layout="constrained")
    axes[0].imshow(image, cmap="gray")
    axes[1].imshow(image, cmap="gray")
    axes[1].imshow(coloured(instances), alpha=0.5)
    axes[2].imshow(mask, cmap="gray", interpolation="nearest")
    shown = axes[3].imshow(weights, cmap="jet", interpolation="nearest")
    figure.colorbar(shown, ax=axes[3], shrink=0.85)
    titles = ("image", "instances", "mask, touching cells parted", "weights of the loss")
    for ax, title in zip(axes, titles, strict=True):
        bare(ax, title)
    figure.savefig(path)
    plt.close(figure)


def draw_elastic(image: np.ndarray, instances: np.ndarray, path: Path) -> None:
    """A tile before and after deformation, with the deformed grid, its labels and the displacements."""
    tile = min(image.shape)
    rule, random = Augmentation(), np.random.default_rng(4)
    middle = (np.array(image.shape) - 1)[:, None, None] / 2
    bend = displacements(tile, rule.grid, rule.elastic, random)
    places = grid_of(tile) + middle
    figure, axes = plt.subplots(1, 4, figsize=(17, 4.6), dpi=DPI, layout="constrained")
    for ax, where, title in zip(axes, (places, places + bend), ("tile", "deformed, with its grid"), strict=False):
        ax.imshow(take_image(image[None], where)[0], cmap="gray")
        ax.imshow(grid_lines(where), alpha=0.9)
        bare(ax, title)
    axes[2].imshow(coloured(take_labels(instances, places + bend)), interpolation="nearest")
    bare(axes[2], "its labels, nearest")
    draw_displacements(axes[3], bend, rule)
    figure.savefig(path)
    plt.close(figure)


def draw_displacements(ax: Axes, bend: np.ndarray, rule: Augmentation) -> None:
    """How far away each pixel comes from, and from where at the points of the coarse grid."""
    tile = bend.shape[1]
    shown = ax.imshow(np.hypot(*bend), cmap="magma")
    points = np.linspace(0, tile - 1, rule.grid).round().astype(int)
    y, x = np.meshgrid(points, points, indexing="ij")
    arrows = ax.quiver(x, y, bend[1][y, x], bend[0][y, x], color="tab:cyan", angles="xy", scale_units="xy",
                       scale=0.25, width=0.012, clip_on=False)
    dots = ax.scatter(x, y, color="tab:cyan", s=24, clip_on=False)
    for artist in (arrows, dots):
        artist.set_in_layout(False)
    ax.set(xlim=(-0.5, tile - 0.5), ylim=(tile - 0.5, -0.5))
    ax.figure.colorbar(shown, ax=ax, shrink=0.85, label="px")
    bare(ax, f"where from: {rule.grid}x{rule.grid} points, {rule.elastic:g} px (4x)")


def grid_lines(places: np.ndarray) -> np.ndarray:
    """``(y, x, 4)``: yellow where a line of a regular grid on the image comes to lie in the tile."""
    on_line = np.any(np.abs((places + GRID_EVERY / 2) % GRID_EVERY - GRID_EVERY / 2) < 0.6, axis=0)
    lines = np.zeros((*on_line.shape, 4))
    lines[on_line] = (1, 0.8, 0, 1)
    return lines


def coloured(instances: np.ndarray) -> np.ndarray:
    """``(y, x, 4)``: a colour for each instance, nothing where there is none."""
    colours = np.random.default_rng(1).uniform(0.25, 1, (int(instances.max()) + 1, 4))
    colours[:, 3] = 1
    colours[0] = 0
    return colours[instances]


def bare(ax: Axes, title: str) -> None:
    ax.set(xticks=[], yticks=[])
    ax.set_title(title, loc="left")


if __name__ == "__main__":
    main()
