"""MRC files, written by region through a memory map; see `tiler.sources.mrc` for the format and its source.

uint8 is stored as unsigned 16-bit integers (mode 6), as mrcfile does, since mode 0 is signed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import SinkError
from tiler.geometry import Box
from tiler.ports import Array, OutputSpec
from tiler.ports.units import NANOMETRES, steps
from tiler.sinks.mapped import MappedSink

HEADER = 1024
MODES = {"int16": (1, "<i2"), "float32": (2, "<f4"), "uint8": (6, "<u2"), "uint16": (6, "<u2"), "float16": (12, "<f2")}
"""Mode and stored type for each type of output."""

IMAGE_STACK, VOLUME, VOLUME_STACK = 0, 1, 401
"""Space groups of MRC2014."""

VERSION = 20140


class MrcSink(MappedSink):
    """An MRC file of mode 1, 2, 6 or 12, little-endian, with voxel size and origin in Ångström."""

    def __init__(self, path: Path, spec: OutputSpec) -> None:
        super().__init__(path, spec)
        if spec.channel_axis:
            raise SinkError(f"{path}: an MRC file has no channels, the result has {spec.shape[0]}: choose one class "
                            "(`classes`), or another format", option="output")
        if np.dtype(spec.dtype).name not in MODES:
            raise SinkError(f"{path}: an MRC file holds {', '.join(MODES)}, the result is {np.dtype(spec.dtype).name} "
                            "(`dtype`): choose another format", option="output")
        self._mode, self._stored = MODES[np.dtype(spec.dtype).name]

    def allocate(self, path: Path) -> None:
        with path.open("wb") as file:
            file.write(header_of(self.spec, self.layout.shape, self._mode))
            file.truncate(HEADER + int(np.prod(self.layout.shape)) * np.dtype(self._stored).itemsize)

    def map(self, path: Path, mode: str) -> tuple[Any, Array]:
        mapped = np.memmap(path, self._stored, "r+" if mode == "r+" else "r", HEADER, self.layout.shape)
        return mapped, mapped

    def read(self, box: Box) -> Array:
        return super().read(box).astype(self.spec.dtype, copy=False)

    @property
    def room(self) -> Any:
        room = super().room
        return type(room)(room.output * np.dtype(self._stored).itemsize // np.dtype(self.spec.dtype).itemsize,
                          reserved=True)


def header_of(spec: OutputSpec, shape: tuple[int, ...], mode: int) -> bytes:
    """The 1024 bytes before the voxels."""
    from_first = (1,) * (3 - len(shape[-3:])) + shape[-3:]
    volumes, (depth, height, width) = shape[0] if len(shape) == 4 else 1, from_first
    stack = "t" in spec.calibration.axes or len(shape) == 2
    group = VOLUME_STACK if len(shape) == 4 else IMAGE_STACK if stack else VOLUME
    cell, origin = _placed(spec)
    words = np.zeros(HEADER // 4, "<i4")
    words[:3] = width, height, depth * volumes
    words[3] = mode
    words[7:10] = width, height, 1 if group == IMAGE_STACK else depth
    words[10:13] = np.array([side * n for side, n in zip(cell, words[7:10], strict=True)], "<f4").view("<i4")
    words[13:16] = np.full(3, 90, "<f4").view("<i4")
    words[16:19] = 1, 2, 3
    # Minimum, maximum and mean are not known before the last block: these values mean "not determined".
    words[19:22] = np.array([0, -1, -2], "<f4").view("<i4")
    words[22], words[27], words[54] = group, VERSION, np.array(-1, "<f4").view("<i4")
    words[49:52] = np.array(origin, "<f4").view("<i4")
    words[52:54] = np.frombuffer(b"MAP \x44\x44\x00\x00", "<i4")
    return words.tobytes()


def _placed(spec: OutputSpec) -> tuple[list[float], list[float]]:
    """Voxel size and origin along x, y and z in Ångström; zeros, which mean unknown, where there is no unit."""
    known, found = spec.calibration, steps(spec.calibration)
    offsets = dict(zip(known.axes, known.offset, strict=True))
    factor = {axis: 10 * NANOMETRES.get(unit, 0.0) for axis, (_, unit) in found.items()}
    size = [found[axis][0] * factor[axis] if axis in found else 0.0 for axis in "xyz"]
    return size, [offsets.get(axis, 0.0) * factor.get(axis, 0.0) for axis in "xyz"]
