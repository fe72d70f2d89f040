"""Label images inside an OME-Zarr image: ``IMAGE.zarr/labels/NAME``, listed there once they are whole.

::

    image.zarr/                     an OME-Zarr image, of anybody's making
      0, 1, ...                     its levels
      labels/                       lists the names of its label images; made where there is none
        cells/                      as many levels as the image has, in its version of OME-NGFF
        nuclei.partial/             not whole, not listed
    image.zarr.labels.cells.journal the record of the run, beside the image: an image holds only zarr

https://ngff.openmicroscopy.org/0.5/#labels-md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import zarr

from tiler.errors import SinkError
from tiler.geometry import Shape
from tiler.ports import KINDS, UNWATCHED, Json, Watch
from tiler.sinks.keeping import keeping_of
from tiler.sinks.listing import Listing
from tiler.sinks.ngff import ZARR_FORMATS
from tiler.sinks.pyramid import Level, levels_by
from tiler.sinks.target import writing
from tiler.sinks.zarr import ZarrSink
from tiler.stores.address import Place


@dataclass(frozen=True, slots=True)
class Image:
    """The image that labels belong to.

    Parameters
    ----------
    place
        Place of its group.
    version
        Version of OME-NGFF.
    axes
        Their names.
    steps
        For each of its levels but the first, how many voxels of the one before one of its own covers, along each axis.
    """

    place: Place
    version: str
    axes: tuple[str, ...]
    steps: tuple[Shape, ...]

    @classmethod
    def over(cls, output: Place) -> Image:
        """The image over a label image.

        Raises
        ------
        SinkError
            If there is none, it has a version that is not written, or its description makes no sense.
        """
        _, place, *_ = output.absolute().parents
        group = _group(output, place)
        try:
            return cls._described(place, group)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise SinkError(f"cannot write {output}: the description of the levels of {place} makes no sense "
                            f"({' '.join(str(error).split()) or type(error).__name__}): choose another .zarr",
                            option="output") \
                from error

    @classmethod
    def _described(cls, place: Place, group: zarr.Group) -> Image:
        attributes: Mapping[str, Any] = group.attrs.asdict()
        zarr_format = group.metadata.zarr_format
        ome = attributes.get("ome", attributes)
        multiscales = ome.get("multiscales") if isinstance(ome, Mapping) else None
        if not multiscales or not isinstance(multiscales[0], Mapping):
            raise SinkError(f"{place} is not an OME-Zarr image, so labels cannot be added: choose another .zarr",
                            option="output")
        version = str(ome.get("version") or multiscales[0].get("version") or {2: "0.4", 3: "0.5"}[zarr_format])
        if ZARR_FORMATS.get(version) != zarr_format:
            raise SinkError(f"{place} is OME-NGFF {version} in zarr {zarr_format}; labels are added to 0.5 in zarr 3 "
                            "and 0.4 in zarr 2: choose another .zarr", option="output")
        axes = tuple(str(axis["name"]) for axis in multiscales[0]["axes"])
        return cls(place, version, axes, _steps(group, multiscales[0]["datasets"], len(axes)))

    @property
    def listing(self) -> Listing:
        """The list of its labels."""
        return Listing(self.place, self.version)

    def factors(self, axes: Sequence[str]) -> list[Shape]:
        """For each of its levels, how many voxels of level 0 one of its own covers along some of its axes."""
        found: list[Shape] = [(1,) * len(axes)]
        for each in self.steps:
            steps = dict(zip(self.axes, each, strict=True))
            found.append(tuple(factor * steps.get(axis, 1) for factor, axis in zip(found[-1], axes, strict=True)))
        return found


def _steps(group: zarr.Group, datasets: Sequence[Mapping[str, Any]], axes: int) -> tuple[Shape, ...]:
    """By the scales of the levels; by the sizes of the arrays, where one has no scale."""
    sizes = [_scale(dataset) for dataset in datasets]
    if not all(sizes):
        arrays: list[Any] = [group[dataset["path"]] for dataset in datasets]
        sizes = [[1 / length for length in array.shape] for array in arrays]
    if {len(each) for each in sizes} != {axes}:
        raise ValueError(f"{axes} axes, levels of {' and '.join(sorted({str(len(each)) for each in sizes}))}")
    return tuple(tuple(max(1, round(coarse / fine)) for fine, coarse in zip(finer, coarser, strict=True))
                 for finer, coarser in pairwise(sizes))


def _scale(dataset: Mapping[str, Any]) -> list[float]:
    """Scale of a level; empty if it has none."""
    steps = dataset.get("coordinateTransformations") or ()
    return next((list(map(float, step["scale"])) for step in steps if "scale" in step), [])


def _group(output: Place, place: Place) -> zarr.Group:
    """A group that is there."""
    try:
        return zarr.open_group(keeping_of(place).stored(), mode="r")
    except (FileNotFoundError, ValueError, TypeError, LookupError, AttributeError) as error:
        missing = isinstance(place, Path) and not place.exists()
        told = "does not exist" if missing else "is not a zarr group"
        raise SinkError(f"cannot write {output}: {place} {told}; labels are added to an OME-Zarr image that is there",
                        option="output") from error


def image_over(output: Place, wanted: str | None, kind: str) -> Image:
    """The image that a label image is to be added to.

    Raises
    ------
    SinkError
        If there is no such image, or nothing can be added to its list; if another version than its own is wanted, or
        the result is not labels.
    """
    image = Image.over(output)
    if KINDS[kind].ordered:
        raise SinkError(f"{output} is the place of a label image, which {kind} cannot be: say `kind=labels`, mask or "
                        "instances, or choose another .zarr", option="output")
    if wanted is not None and wanted != image.version:
        raise SinkError(f"{image.place} is OME-NGFF {image.version}, and so are its labels; got {wanted}: leave out "
                        "`ngff`")
    image.listing.check()
    return image


class LabelSink(ZarrSink):
    """A label image inside an OME-Zarr image on a local disk or an object store.

    `room` and `create` look at the image for the first time, and raise the errors of `image_over`.
    """

    @cached_property
    def image(self) -> Image:
        """The image over it, looked at once."""
        return image_over(self._place, self.spec.ngff, self.spec.kind)

    def levels(self) -> Sequence[Level]:
        """As many as the image has, and as coarse."""
        return levels_by(self.layout, self.image.factors(self.layout.axes))

    def create(self) -> None:
        """Make the empty group; where it replaces one in place, that is listed no more."""
        with writing(self.name):
            if self.keeping.in_place:  # on a disk the older one stays whole until it is replaced
                self.image.listing.take_off(self._place.name)
        super().create()

    def finish(self, attributes: Json, watch: Watch = UNWATCHED) -> None:
        """Give it its name, then list it, so that listed labels are complete."""
        super().finish(attributes, watch)
        with writing(self.name):
            self.image.listing.add(self._place.name, [level.path for level in self.levels()])

    def _attributes(self, levels: Sequence[Level], attributes: Json) -> dict[str, Any]:
        """With the way back to the image."""
        made = super()._attributes(levels, attributes)
        made.get("ome", made)["image-label"]["source"] = {"image": "../../"}
        return made
