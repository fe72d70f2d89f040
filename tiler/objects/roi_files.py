"""Outlines as a zip of ROIs, which ImageJ's ROI manager opens."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from tiler.errors import SinkError
from tiler.geometry import Shape
from tiler.objects.outlines import Points
from tiler.stores.durable import obstacle, replacing

LARGEST = 32_767
"""Pixels of a section along y and x: ROIs have 16-bit coordinates."""


@dataclass(frozen=True, slots=True)
class Outline:
    """The outline of a piece of an object in a section.

    Parameters
    ----------
    section
        Number of the section, from 0.
    number
        Number of the object.
    corners
        ``(n, 2)`` corners y, x of pixels.
    """

    section: int
    number: int
    corners: Points


def check_rois(path: Path, shape: Shape | None, option: str = "outlines") -> None:
    """Refuse a file of outlines that cannot be written.

    Parameters
    ----------
    shape
        ``(z, y, x)`` of the output; None if it is not known yet.

    Raises
    ------
    SinkError
        The message names the option.
    """
    if (reason := obstacle(path)) is not None:
        raise SinkError(f"cannot write {path}: {reason}", option=option)
    if path.suffix.lower() != ".zip":
        raise SinkError(f"ROIs for ImageJ are written to a .zip, got {path}", option=option)
    if find_spec("roifile") is None:
        raise SinkError(f"{path}: ROIs for ImageJ need roifile: pip install 'em-tiler[rois]'", option=option)
    if shape is not None and max(shape[1:]) > LARGEST:
        raise SinkError(f"ROIs for ImageJ lie in sections of at most {LARGEST} x {LARGEST} pixels, the output has "
                        f"{shape[1]} x {shape[2]}: choose a region (`roi`), or leave out `outlines`")


def write_rois(outlines: Iterable[Outline], path: Path) -> int:
    """Write one ROI for each outline, and count them; further pieces of an object in a section are numbered.

    Raises
    ------
    SinkError
        If it cannot be written.
    """
    import roifile

    count, last, piece = 0, (-1, -1), 0
    try:
        with replacing(path) as draft, zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
            for outline in outlines:
                count += 1
                here = outline.section, outline.number
                piece, last = (piece + 1 if here == last else 1), here
                name = f"{outline.section + 1:04d}-{outline.number}" + (f"-{piece}" if piece > 1 else "")
                roi = roifile.ImagejRoi.frompoints(outline.corners[:, ::-1], name=name)
                roi.position, roi.roitype = outline.section + 1, roifile.ROI_TYPE.TRACED
                archive.writestr(f"{name}.roi", roi.tobytes())
    except OSError as error:
        raise SinkError(f"cannot write {path}: {error.strerror or error}", option="outlines") from error
    return count
