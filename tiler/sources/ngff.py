"""OME-NGFF metadata, versions 0.1 to 0.5: which array is which level, its axes and physical sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tiler.errors import SourceError
from tiler.sources.axes import UNKNOWN
from tiler.sources.raw import Header

TYPE_TO_AXIS = {"time": "t", "channel": "c"}


@dataclass(frozen=True, slots=True)
class Multiscale:
    """One image of an OME-NGFF group.

    Parameters
    ----------
    metadata
        An entry of ``multiscales``.
    channels
        Names of the channels; none where the group does not tell them.
    """

    metadata: Mapping[str, Any]
    channels: tuple[str, ...] = ()

    @property
    def paths(self) -> list[str]:
        """Of the levels' arrays in the group, the finest first."""
        return [str(dataset["path"]).strip("/") for dataset in self.metadata["datasets"]]

    def describe(self, header: Header, path: str) -> Header:
        """The header of one level's array with axes, units, scale and translation filled in."""
        axes = self._axes()
        if axes is None or len(axes) != len(header.shape):
            return header
        level = self.metadata["datasets"][self.paths.index(path)]
        outer, inner = (_transform(part.get("coordinateTransformations"), len(axes))
                        for part in (self.metadata, level))
        # The image's own transformations come after those of the level.
        scale = tuple(a * b for a, b in zip(outer[0], inner[0], strict=True))
        offset = tuple(a * b + c for a, b, c in zip(outer[0], inner[1], outer[1], strict=True))
        return Header(header.name, "".join(map(_letter, axes)), header.shape, header.dtype, header.chunk,
                      scale, tuple(axis.get("unit") for axis in axes), offset, self.channels)

    def _axes(self) -> list[Mapping[str, Any]] | None:
        """None before 0.3, which had no axes: there the arrays are tczyx, as five axes are taken to be anyhow."""
        axes = self.metadata.get("axes")
        return axes and [axis if isinstance(axis, Mapping) else {"name": axis} for axis in axes]


def _letter(axis: Mapping[str, Any]) -> str:
    """Time and channels are known by their type, whatever their name; space by its name."""
    name = str(axis.get("name", UNKNOWN)).lower()
    return TYPE_TO_AXIS.get(str(axis.get("type")), name if len(name) == 1 else UNKNOWN)


def _transform(steps: Sequence[Mapping[str, Any]] | None, ndim: int) -> tuple[Sequence[float], Sequence[float]]:
    scale: Sequence[float] = (1.0,) * ndim
    offset: Sequence[float] = (0.0,) * ndim
    for step in steps or ():
        if step.get("type") == "scale" and "scale" in step:
            scale = [float(value) for value in step["scale"]]
        elif step.get("type") == "translation" and "translation" in step:
            offset = [float(value) for value in step["translation"]]
    return scale, offset


def ome_of(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """The OME part of a group's attributes: under "ome" from 0.5 on, at their top before."""
    ome = attributes.get("ome", attributes)
    return ome if isinstance(ome, Mapping) else {}


def multiscale_of(attributes: Mapping[str, Any]) -> Multiscale | None:
    """The first image of a group; None where it has none."""
    ome = ome_of(attributes)
    entries = ome.get("multiscales")
    shown = ome.get("omero", {}).get("channels") or ()
    names = tuple(str(channel.get("label", "")) for channel in shown)
    return Multiscale(entries[0], names if all(names) else ()) if entries else None


def labels_of(attributes: Mapping[str, Any]) -> list[str] | None:
    """Paths of the images in a group of labels; None for any other group."""
    found = ome_of(attributes).get("labels")
    return [str(path) for path in found] if isinstance(found, (list, tuple)) else None


def refuse_unfinished(name: str, attributes: Mapping[str, Any]) -> None:
    """An output of tiler on an object store says in its attributes that it is not whole.

    Raises
    ------
    SourceError
        If it does.
    """
    told = attributes.get("tiler")
    if isinstance(told, Mapping) and told.get("unfinished"):
        raise SourceError(f"{name} is an output that is not finished: tiler segment with --resume goes on with it")


def refuse_plate(name: str, attributes: Mapping[str, Any]) -> None:
    """A plate or a well holds many images, of which one has to be chosen.

    Raises
    ------
    SourceError
        Naming one of them.
    """
    ome = ome_of(attributes)
    if "plate" in ome:
        wells = [well["path"] for well in ome["plate"].get("wells", ())]
        raise SourceError(f"{name} is a plate of {len(wells)} wells: give one image of it, "
                          f"such as {name}/{wells[0] if wells else 'A/1'}/0")
    if "well" in ome:
        images = [image["path"] for image in ome["well"].get("images", ())]
        raise SourceError(f"{name} is a well of {len(images)} images: give one, "
                          f"such as {name}/{images[0] if images else 0}")
