"""Other levels of an image of which one level is open."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

from tiler.errors import SourceError
from tiler.sources.ngff import multiscales_of
from tiler.sources.zarr import DEEPEST, ZarrImage
from tiler.sources.zarr_places import attributes_of, is_group, node, parents
from tiler.stores.address import Place


def place_of_level(name: str, raw: Any, level: str) -> Place:
    """The place of another level of an image.

    Parameters
    ----------
    name
        Name of the volume, for messages.
    raw
        The open level: a `tiler.sources.raw.RawImage`.
    level
        Name of the level, or its number from 0, the full resolution.

    Raises
    ------
    SourceError
        If there is no such level, or the format has none.
    """
    if isinstance(raw, ZarrImage):
        return _of_zarr(name, raw.path, level)
    folder = getattr(getattr(raw, "image", raw), "folder", None)
    if folder is None:
        raise SourceError(f"{name} has no levels that a region could refer to: leave out @{level}")
    return _beside(name, folder, level)


def _of_zarr(name: str, place: Place, level: str) -> Place:
    for group, inside in islice(parents(place), DEEPEST):
        if not is_group(group):
            break
        for image in multiscales_of(attributes_of(str(group), node(group))):
            if inside in image.paths:
                return group / _among(name, image.paths, level)
    raise SourceError(f"{name} is not a level of an OME-Zarr image, so there is no level {level} beside it")


def _among(name: str, paths: list[str], level: str) -> str:
    if level in paths:
        return level
    if level.isdecimal() and int(level) < len(paths):
        return paths[int(level)]
    raise SourceError(f"{name} has no level {level}: its levels are {', '.join(paths)}")


def _beside(name: str, folder: Path, level: str) -> Place:
    """A level of an N5 or precomputed volume, which are folders beside each other."""
    for wanted in (level, f"s{level}"):
        if (folder.parent / wanted).is_dir():
            return folder.parent / wanted
    there = ", ".join(sorted(each.name for each in folder.parent.iterdir() if each.is_dir()))
    raise SourceError(f"{name} has no level {level}: beside it lie {there}")
