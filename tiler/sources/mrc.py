"""MRC files (``.mrc .rec .map .st``): volumes of electron tomography and cryo-EM, read by region.

The format is that of Cheng et al. (2015), "MRC2014: Extensions to the MRC format header for electron cryo-microscopy
and tomography", doi:10.1016/j.jsb.2015.04.002. A header of 1024 bytes and an extended header come before the voxels,
which lie uncompressed in C order with the sections last to vary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.files import existing, file_identity
from tiler.sources.positions import FileBytes, ShortFile, read_region
from tiler.sources.raw import Header, Index

HEADER = 1024
"""Bytes of the header."""

MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
"""Types of voxels by the header's mode."""

UNREAD = {3: "complex 16-bit integers", 4: "complex numbers", 16: "RGB pixels", 101: "4-bit integers"}
"""Modes without grey values, or without support for reading a region."""

IMOD = 1146047817
"""Stamp of IMOD's files, whose mode 0 is unsigned unless a flag says otherwise."""

VOLUME_STACK = 401
"""The space group of a stack of volumes."""

FIELDS = np.dtype([
    ("size", "i4", 3), ("mode", "i4"), ("start", "i4", 3), ("grid", "i4", 3), ("cell", "f4", 3), ("angles", "f4", 3),
    ("axes", "i4", 3), ("statistics", "f4", 3), ("space_group", "i4"), ("extended", "i4"), ("extra", "V56"),
    ("imod_flags", "u4", 2), ("more", "V36"), ("origin", "f4", 3), ("map", "S4"), ("stamp", "u1", 4)])
"""The header up to its labels. IMOD's stamp and flags are ``imod_flags``, at byte 152."""


@dataclass(frozen=True, slots=True)
class MrcImage:
    """The voxels of an MRC file."""

    header: Header
    file: FileBytes = field(repr=False)
    offset: int
    missing: str = ""

    def fetch(self, index: Index) -> Array:
        return read_region(self.file, self.offset, self.header.shape, self.header.dtype, index)

    def identity(self) -> Json:
        told = file_identity(self.file.path)
        return {**told, "missing": self.missing} if self.missing else told


def open_mrc(path: Path, consent: Consent = REFUSED) -> MrcImage:
    """Open an MRC file; reads only its header.

    Raises
    ------
    SourceError
        If it does not exist, does not hold grey values, or lacks sections without the user's consent.
    """
    path = existing(path)
    file = FileBytes(path)
    if file.size < HEADER:
        raise SourceError(f"{path} has {file.size} bytes: the header of an MRC file alone has {HEADER}")
    fields = _fields(path, file.read(0, FIELDS.itemsize))
    header, offset = _header(path, fields), HEADER + int(fields["extended"])
    section = math.prod(header.shape[-2:]) * header.dtype.itemsize
    promised, there = math.prod(header.shape[:-2]), max(file.size - offset, 0) // section
    if there >= promised:
        return MrcImage(header, file, offset)
    gone = (f"{path} is truncated: its header promises {header.shape} voxels of {header.dtype.name}, {there} of "
            f"{promised} sections are there")
    consent.absent(gone)
    return MrcImage(header, ShortFile(path, offset + there * section), offset, gone)


def _fields(path: Path, stored: bytes) -> Any:
    """The header in the file's byte order, derived from the machine stamp or else from the mode."""
    for order in (">", "<") if stored[212:214] == b"\x11\x11" else ("<", ">"):
        fields = np.frombuffer(stored, FIELDS.newbyteorder(order))[0]
        if {*MODES, *UNREAD} & {int(fields["mode"])} and (fields["size"] > 0).all() and fields["extended"] >= 0:
            return fields
    raise SourceError(f"{path} has no MRC header: neither byte order gives a known mode and sizes")


def _header(path: Path, fields: Any) -> Header:
    letters = _letters(path, fields)
    shape = [int(size) for size in fields["size"][::-1]]
    scale, offset = _placed(fields)
    volumes = _volumes(fields, shape[0])
    if volumes > 1:
        shape = [volumes, shape[0] // volumes, *shape[1:]]
    lead = ("t",) * (volumes > 1)
    units = "angstrom" if scale else None
    return Header(
        str(path), "".join((*lead, *letters)), tuple(shape), _dtype(path, fields), (1,) * len(shape),
        (1.0,) * len(lead) + tuple(scale.get(letter, 1.0) for letter in letters),
        (None,) * len(lead) + (units,) * 3,
        (0.0,) * len(lead) + tuple(offset.get(letter, 0.0) for letter in letters))


def _letters(path: Path, fields: Any) -> tuple[str, ...]:
    """The axes of the array, slowest first; zeros, which some programs write, mean x, y, z."""
    order = [int(number) for number in fields["axes"]]
    if not any(order):
        order = [1, 2, 3]
    if sorted(order) != [1, 2, 3]:
        raise SourceError(f"{path}: columns, rows and sections are the axes {order} of the MRC header, which must be "
                          "1, 2 and 3 in some order")
    return tuple("xyz"[number - 1] for number in reversed(order))


def _placed(fields: Any) -> tuple[dict[str, float], dict[str, float]]:
    """Voxel size and origin by axis, in Ångström; empty if the header has no cell."""
    cell, grid, origin = (np.asarray(fields[name], float) for name in ("cell", "grid", "origin"))
    size = np.divide(cell, grid, out=np.zeros(3), where=grid > 0)
    if not (np.isfinite(size).all() and (size > 0).all() and np.isfinite(origin).all()):
        return {}, {}
    return dict(zip("xyz", map(float, size), strict=True)), dict(zip("xyz", map(float, origin), strict=True))


def _volumes(fields: Any, sections: int) -> int:
    """Number of stacked volumes: the space group marks a stack, the grid gives the depth of each volume."""
    depth = int(fields["grid"][2])
    stacked = int(fields["space_group"]) == VOLUME_STACK and depth > 0 and sections % depth == 0
    return sections // depth if stacked else 1


def _dtype(path: Path, fields: Any) -> np.dtype[Any]:
    mode = int(fields["mode"])
    if mode not in MODES:
        raise SourceError(f"{path} holds {UNREAD[mode]} (mode {mode}): convert it to mode 1, 2 or 6, for example with "
                          f"IMOD: newstack -mode 2 {path.name} converted.mrc")
    stamp, flags = (int(number) for number in fields["imod_flags"])
    unsigned = mode == 0 and stamp == IMOD and not flags & 1
    order = fields.dtype["mode"].byteorder
    return np.dtype("u1" if unsigned else MODES[mode]).newbyteorder(order)
