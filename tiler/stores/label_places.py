"""Where label images of OME-Zarr images lie, ``IMAGE.zarr/labels/NAME``, and the files beside an output.

An image may be part of larger zarrs, a plate or a collection. Files of the run that are not zarr lie beside the
outermost of them, since readers complain of it inside::

    plate.zarr/A/1/labels/cells             an output
    plate.zarr.A.1.labels.cells.journal     beside it

On a local disk a folder is a zarr by its name or by the metadata in it, and links are followed, so that one output has
one name however it is reached. On object stores names alone are looked at, since every look is a request: an image
there is part of a zarr that is called so.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path, PurePath

from tiler.errors import SinkError
from tiler.stores.address import Place

METADATA = ("zarr.json", ".zattrs", ".zgroup", ".zarray", ".zmetadata")
"""Files in which a zarr describes itself; the first two hold attributes."""

GROUPS = ("zarr.json", ".zgroup")
ALWAYS = ".journal"
"""The ending of a name that lies beside every output; that of its draft is as long."""


def check_name(output: Place) -> None:
    """Refuse an output whose name the file system does not accept, or would not accept for the journal beside it.

    Raises
    ------
    SinkError
        If it is empty, too long, or holds a NUL.
    """
    if not isinstance(output, Path):
        return
    if not output.name:
        raise SinkError(f"{output} names no output: give the name of a file or of a .zarr folder", option="output")
    try:
        _look_at(output)
        _look_at(beside(output, ALWAYS))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SinkError(f"{str(output)!a:.200} cannot be an output: {reason}: choose another name",
                        option="output") from error


def _look_at(place: Place) -> None:
    with suppress(FileNotFoundError, NotADirectoryError, PermissionError):  # seen when it is written
        os.lstat(str(place))


def is_label(output: Place) -> bool:
    """Whether a place is that of a label image; ``NAME.zarr`` is one, too."""
    return zarr_over(output) is not None


def zarr_over(output: Place) -> Place | None:
    """The outermost zarr that a label image is part of; None where the place is not that of one."""
    above: list[Place] = list(output.absolute().parents)
    if len(above) < 2 or above[0].name != "labels" or not (any(map(_named, above)) or _is_zarr(above[1])):
        return None
    image = above[1].resolve()
    zarrs: list[Place] = [image, *filter(_is_zarr, image.parents)]
    return zarrs[-1]


def beside(output: Place, suffix: str) -> Place:
    """Place of a file about an output: beside it, or for a label image beside the whole zarr that it is part of."""
    outermost = zarr_over(output)
    if outermost is None:
        return output.with_name(output.name + suffix)
    _, image, *_ = output.absolute().parents
    names = [*steps(image.resolve(), outermost), "labels", output.name]
    return outermost.with_name(f"{outermost.name}.{'.'.join(map(_quoted, names))}{suffix}")


def steps(inner: Place, outer: Place) -> tuple[str, ...]:
    """Names of the folders on the way."""
    return PurePath(str(inner)).parts[len(PurePath(str(outer)).parts):]


def _quoted(name: str) -> str:
    """Without the dot, which stands between names: ``A/1`` and ``A.1`` are two places."""
    return name.replace("=", "=3D").replace(".", "=2E")


def _named(folder: Place) -> bool:
    """A zarr by its name."""
    return folder.suffix.lower() == ".zarr"


def _is_zarr(folder: Place) -> bool:
    return _named(folder) or (isinstance(folder, Path) and any((folder / name).exists() for name in GROUPS))
