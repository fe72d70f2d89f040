"""What a user writes, as a type checker sees it: ``mypy --strict`` accepts it, and it runs.

An expected error is marked by an ignore of its code: without the error the ignore itself would be one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

import tiler
from tiler.executors.serial import Serial
from tiler.geometry import Box, Footprint, Reach, Shape
from tiler.ports import UNWATCHED, Calibration, Capabilities, Cost, Json, Room, VolumeShape, Watch

VOLUME = np.random.default_rng(0).integers(0, 255, (3, 24, 20), dtype=np.uint8)


class Doubling:
    """A network of one's own: twice the input, without context."""

    footprint = Footprint.of([Reach(0, 0, 0, 0, 1)] * 3)
    border: tiler.ports.Border = "mirror"
    in_channels = 1
    classes = ("doubled",)
    dtype = np.dtype(np.uint16)
    expects: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    capabilities = Capabilities()

    @property
    def identity(self) -> Json:
        return {"name": "doubling"}

    def cost(self, tile: Shape, batch: int) -> Cost:
        return Cost(float(np.prod(tile)), 16 * int(np.prod(tile)) * batch)

    def with_statistics(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Doubling:
        return self

    def __call__(self, batch: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
        return batch.astype(np.uint16) * 2


class Constant:
    """A source of one's own."""

    name = "constant"
    shape: VolumeShape = (1, 3, 24, 20)
    dtype = np.dtype(np.uint8)
    calibration = Calibration.plain("zyx", (3, 24, 20))
    identity: Json | None = None
    read_unit: Shape = (1, 24, 20)

    def read(self, box: Box) -> npt.NDArray[np.uint8]:
        return np.full((1, *box.shape), 7, np.uint8)


class Collecting:
    """A sink of one's own, which stores whole slices."""

    name = "collecting"
    write_unit: Shape = (1, 24, 20)
    room = Room(0)

    def __init__(self) -> None:
        self.voxels = np.zeros((1, 3, 24, 20), np.uint16)
        self.about: Json = {}

    def create(self) -> None:
        self.voxels[:] = 0

    def write(self, box: Box, data: npt.NDArray[np.uint16]) -> None:
        self.voxels[(slice(None), *box.slices)] = data

    def read(self, box: Box) -> npt.NDArray[np.uint16]:
        return self.voxels[(slice(None), *box.slices)]

    def finish(self, attributes: Json, watch: Watch = UNWATCHED) -> None:
        self.about = attributes


def run(folder: Path) -> None:
    """Every call of a user."""
    array = tiler.segment(VOLUME, Doubling(), tile=16, executor=Serial())
    assert float(array.mean()) == 2 * VOLUME.mean()

    path = tiler.segment(VOLUME, Doubling(), folder / "out.npy", block="1x24x20")
    assert path.name == "out.npy"

    sink = tiler.segment(Constant(), Doubling(), Collecting(), workers=1)
    assert sink.read(Box.between((0, 0, 0), (1, 1, 1))).tolist() == [[[[14]]]]

    opened = tiler.open_volume(folder / "out.npy")
    assert opened[0, 1, :2].shape == (2, 20)
    assert np.asarray(opened).shape == (1, 3, 24, 20)

    plan = tiler.plan(VOLUME, Doubling(), memory="8GiB", tune=False)
    assert plan.estimate.tiles >= 1

    try:
        tiler.segment(VOLUME, Doubling(), tyle=16)  # type: ignore[call-overload]
        tiler.plan(VOLUME, Doubling(), kind="masks")  # type: ignore[arg-type]
        raise AssertionError("both are refused")
    except tiler.TilerError:
        pass

    options = tiler.Options(kind="labels", roi="0:1,0:8,0:8")
    assert options.given()["kind"] == "labels"
