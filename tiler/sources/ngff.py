"""OME-NGFF metadata, versions 0.1 to 0.5: the levels of an image, its axes and physical sizes.

Later versions are read as far as they agree with these. Malformed parts are left out with a warning.
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tiler.errors import SourceError
from tiler.ports.units import unit_of
from tiler.sources.axes import UNKNOWN, letter_of
from tiler.sources.raw import Header
from tiler.sources.values import (
    list_of,
    mapping_of,
    mappings_of,
    names_of,
    number_of,
    offsets_of,
    sizes_of,
    unusable,
)

logger = logging.getLogger(__name__)
TYPE_TO_AXIS = {"time": "t", "channel": "c"}
NEWEST = (0, 5)


@dataclass(frozen=True, slots=True)
class Multiscale:
    """One image of an OME-NGFF group.

    Parameters
    ----------
    metadata
        An entry of ``multiscales``.
    datasets
        Levels in the order of the list, and the path of each in the group.
    channels
        Names of the channels; empty if the group does not name them.
    """

    metadata: Mapping[str, Any]
    datasets: tuple[tuple[str, Mapping[str, Any]], ...]
    channels: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Its name in the group; may be empty."""
        name = self.metadata.get("name")
        return name if isinstance(name, str) else ""

    @property
    def paths(self) -> list[str]:
        """Paths of the levels in the group, in the order in which they are listed."""
        return [path for path, _ in self.datasets]

    def describe(self, header: Header, path: str) -> Header:
        """The header of one level's array with axes, units, scale and translation filled in."""
        axes, ndim = self._axes(), len(header.shape)
        if axes is None:
            return header
        if len(axes) != ndim:
            unusable(header.name, "axes", [axis.get("name") for axis in axes], f"those of an array of {ndim} axes")
            return header
        level = dict(self.datasets)[path]
        outer, inner = (_transform(header.name, part.get("coordinateTransformations"), ndim)
                        for part in (self.metadata, level))
        # The image's own transformations come after those of the level.
        return replace(
            header, axes=_letters(header.name, axes), channels=self.channels,
            scale=tuple(a * b for a, b in zip(outer[0], inner[0], strict=True)),
            offset=tuple(a * b + c for a, b, c in zip(outer[0], inner[1], outer[1], strict=True)),
            units=tuple(unit_of(axis.get("unit")) for axis in axes),
        )

    def _axes(self) -> list[Mapping[str, Any]] | None:
        """None before 0.3, which had no axes: there the arrays are tczyx, as five axes are taken to be anyhow."""
        systems = mappings_of(self.metadata.get("coordinateSystems"))  # of versions after 0.5
        axes = list_of(self.metadata.get("axes") or (systems[0].get("axes") if systems else None))
        return axes and [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]


def _letters(name: str, axes: Sequence[Mapping[str, Any]]) -> str:
    """Time and channels are known by their type, whatever their name; space by its name, else by its order."""
    letters = [TYPE_TO_AXIS.get(str(axis.get("type")), letter_of(axis.get("name")) or UNKNOWN) for axis in axes]
    if {"y", "x"} <= set(letters) and len(set(letters)) == len(letters):
        return "".join(letters)
    letters = [TYPE_TO_AXIS.get(str(axis.get("type")), UNKNOWN) for axis in axes]
    space = [place for place, letter in enumerate(letters) if letter == UNKNOWN]
    if not 2 <= len(space) <= 3 or letters.count("t") > 1 or letters.count("c") > 1:
        return "".join(letters)
    for place, letter in zip(space, "zyx"[-len(space):], strict=True):
        letters[place] = letter
    logger.warning("%s: its axes are called %s, which are taken to be %s", name,
                   ", ".join(str(axis.get("name")) for axis in axes), "".join(letters))
    return "".join(letters)


def _transform(name: str, steps: Any, ndim: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Scale and translation; malformed values become 1 and 0."""
    scale: tuple[float, ...] = (1.0,) * ndim
    offset: tuple[float, ...] = (0.0,) * ndim
    for step in mappings_of(steps):
        if step.get("type") == "scale" and "scale" in step:
            scale = tuple(size or 1.0 for size in sizes_of(name, "scale", step["scale"], [ndim])) or scale
        elif step.get("type") == "translation" and "translation" in step:
            offset = offsets_of(name, "translation", step["translation"], ndim) or offset
        elif step.get("type") not in (None, "identity"):
            unusable(name, "a coordinate transformation", step, "a scale or a translation by numbers")
    return scale, offset


def ome_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The OME part of a group's attributes: under "ome" from 0.5 on, at their top before."""
    return mapping_of(attributes.get("ome", attributes))


def multiscales_of(attributes: Mapping[str, Any]) -> list[Multiscale]:
    """Images of a group that have levels; empty if there are none."""
    ome = ome_of(attributes)
    names = names_of([channel.get("label") for channel in mappings_of(mapping_of(ome.get("omero")).get("channels"))])
    found = ((entry, _datasets(entry)) for entry in mappings_of(ome.get("multiscales")))
    return [Multiscale(entry, datasets, names) for entry, datasets in found if datasets]


def _datasets(entry: Mapping[str, Any]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    """Path and metadata of each level of an entry of ``multiscales``."""
    listed = list_of(entry.get("datasets")) or ()
    levels = [level if isinstance(level, Mapping) else {"path": level} for level in listed]
    return tuple((posixpath.normpath(str(level["path"]).strip("/") or "."), level) for level in levels
                 if isinstance(level.get("path"), (str, int)))


def warn_of_version(name: str, attributes: Mapping[str, Any]) -> None:
    """Warn if the version of a group is later than the supported ones."""
    ome = ome_of(attributes)
    told = [ome.get("version"), *(entry.get("version") for entry in mappings_of(ome.get("multiscales")))]
    for version in told:
        parts = [number_of(part) for part in str(version).split(".")[:2]]
        if len(parts) == 2 and None not in parts and tuple(parts) > NEWEST:
            logger.warning("%s is of version %s of OME-NGFF: what it shares with version 0.5 is read", name, version)
            return


def labels_of(attributes: Mapping[str, Any]) -> list[str] | None:
    """Paths of the images in a group of labels; None for any other group."""
    found = list_of(ome_of(attributes).get("labels"))
    return None if found is None else [str(path) for path in found]


def refuse_unfinished(name: str, attributes: Mapping[str, Any]) -> None:
    """Refuse an output of tiler on an object store whose attributes mark it as unfinished.

    Raises
    ------
    SourceError
        If it is unfinished.
    """
    if mapping_of(attributes.get("tiler")).get("unfinished"):
        raise SourceError(f"{name} is an output that is not finished: a run with `resume=True` goes on with it")


def refuse_plate(name: str, attributes: Mapping[str, Any]) -> None:
    """Refuse a plate or a well, which holds many images; the user must choose one.

    Raises
    ------
    SourceError
        The message names one of them.
    """
    ome = ome_of(attributes)
    for what, many, first, inner in (("plate", "wells", "A/1", "/0"), ("well", "images", "0", "")):
        if what in ome:
            paths = [str(each["path"]) for each in mappings_of(mapping_of(ome[what]).get(many)) if "path" in each]
            one = "one image of it" if what == "plate" else "one"
            raise SourceError(f"{name} is a {what} of {len(paths)} {many}: give {one}, such as "
                              f"{name}/{paths[0] if paths else first}{inner}")
