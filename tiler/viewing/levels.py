"""Coarser levels of an image, for formats that store them."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tiler.errors import TilerError
from tiler.ports import Source
from tiler.sources import open_source
from tiler.sources.files import PRECOMPUTED
from tiler.sources.ngff import multiscales_of, ome_of
from tiler.sources.zarr_places import attributes_of as stated
from tiler.sources.zarr_places import node
from tiler.stores.address import Place, names_place, place_of
from tiler.viewing.lazy import LazyVolume


@dataclass(frozen=True, slots=True)
class Level:
    """One level of an image.

    Parameters
    ----------
    array
        Voxels. A level whose shape was rounded down repeats its last voxels so that it covers level 0.
    factors
        Number of voxels of level 0 that one voxel covers, for each axis.
    """

    array: LazyVolume
    factors: tuple[int, ...]


def attributes_of(source: Any) -> dict[str, Any]:
    """Return the attributes of a zarr group, those of OME-NGFF if it has any; empty for other inputs."""
    place = _place(source)
    if place is None or (isinstance(place, Path) and not place.is_dir()):
        return {}
    try:
        return dict(ome_of(stated(str(place), node(place))))
    except TilerError:
        return {}


def _place(source: Any) -> Place | None:
    """Return the place of a zarr; None for arrays in memory and precomputed volumes."""
    if not names_place(source) or str(source).startswith(PRECOMPUTED):
        return None
    return place_of(source)


def open_levels(source: Any, channel: int, axes: str | None = None) -> tuple[Level, ...]:
    """Open all levels of an image, the finest first; levels that are not whole multiples are left out.

    Parameters
    ----------
    source
        Input, as for `tiler.open_volume`.
    channel
        Number of the channel, from 0.
    axes
        Names of the axes, as for `tiler.open_volume`.
    """
    opened = open_source(source, axes=axes, channel=channel)
    finest = LazyVolume.of(opened)
    levels = [Level(finest, (1,) * finest.ndim)]
    for place in _others(source, opened):
        try:
            coarse = LazyVolume.of(open_source(place, axes=axes, channel=channel))
        except TilerError:
            continue  # the viewer works without this level
        level = _level(finest, coarse)
        if level is not None:
            levels.append(level)
    return tuple(sorted(levels, key=lambda level: level.factors))


def _others(source: Any, opened: Source) -> list[Place]:
    """The levels of the image of which a level was opened, without that level."""
    for image in multiscales_of(attributes_of(source)):
        places = [place_of(source) / path for path in image.paths]
        shown = [place.absolute() for place in places]
        finest = getattr(getattr(opened, "raw", None), "path", None)
        if finest in shown:
            return [place for place, whole in zip(places, shown, strict=True) if whole != finest]
    return []


def _level(finest: LazyVolume, coarse: LazyVolume) -> Level | None:
    """Match a level with the finest one; None if its shape is not a whole fraction, give or take a last voxel."""
    # finest 1001, coarse 500: the factor is 2 and 501 voxels cover it, so the last voxel is repeated
    if coarse.ndim != finest.ndim:
        return None
    factors = tuple(round(a / b) for a, b in zip(finest.shape, coarse.shape, strict=True))
    covering = tuple(math.ceil(size / max(factor, 1)) for size, factor in zip(finest.shape, factors, strict=True))
    beyond = [have - need for have, need in zip(coarse.shape, covering, strict=True)]
    if not all(factors) or not set(beyond) <= {0, -1}:
        return None
    return Level(replace(coarse, shape=covering), factors)
