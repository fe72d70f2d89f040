"""Axes and physical sizes of HDF5 datasets, from the attributes that programs for microscopy write.

Axes come from vigra's ``axistags`` (ilastik) or the labels of the dimensions, physical sizes from ``resolution``
and ``offset`` in nanometres (CREMI, https://cremi.org/data/) or ``element_size_um`` (ilastik, Fiji).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tiler.sources.axes import CANONICAL, UNKNOWN
from tiler.sources.raw import Header, unknown_axes
from tiler.sources.values import json_of, mapping_of, mappings_of, names_of, offsets_of, size_of, sizes_of, unusable

READ = ("axistags", "resolution", "offset", "element_size_um", "time_interval", "channel_names")
Step = tuple[float | None, str, float]


def header_of(name: str, dataset: Any) -> Header:
    """Header of a dataset; malformed attributes are left out with a warning."""
    attributes = _attributes(name, dataset)
    axes = _axes(name, attributes, dataset)
    scale, unit, offset = _sizes(name, attributes, len(dataset.shape))
    if scale and UNKNOWN in axes and len(scale) > 2:
        axes = axes[:-len(scale)] + "zyx"
    plain = Header.plain(name=name, shape=tuple(dataset.shape), dtype=dataset.dtype, axes=axes, chunk=dataset.chunks)
    space = [axis for axis in axes if axis in "zyx"]
    if len(space) == len(scale):
        plain = _placed(plain, {axis: (size, unit, at) for axis, size, at in zip(space, scale, offset, strict=True)})
    interval = size_of(name, "time_interval", attributes.get("time_interval"))
    if interval and "t" in axes:
        plain = _placed(plain, {"t": (interval, "second", 0.0)})
    return replace(plain, channels=names_of(attributes.get("channel_names")))


def _attributes(name: str, dataset: Any) -> dict[str, Any]:
    """The attributes that this module uses, as far as they are readable."""
    found: dict[str, Any] = {}
    for each in READ:
        try:
            value = dataset.attrs.get(each)
        except Exception as error:  # h5py raises whatever a type that it does not know leads to
            unusable(name, f"the attribute {each}", error, "readable")
            continue
        if value is not None and not _is_empty(value):
            found[each] = value
    return found


def _is_empty(value: Any) -> bool:
    """`h5py.Empty`: an attribute that has a type and no value."""
    return type(value).__name__ == "Empty"


def _axes(name: str, attributes: Mapping[str, Any], dataset: Any) -> str:
    """One letter per axis, if the file names all of them."""
    tags = attributes.get("axistags")
    if tags is not None:
        letters = [str(axis.get("key", UNKNOWN)) for axis in mappings_of(mapping_of(json_of(tags)).get("axes"))]
    else:
        letters = [str(dimension.label).lower() for dimension in dataset.dims]
    known = len(letters) == len(dataset.shape) and len(set(letters)) == len(letters) and all(
        len(axis) == 1 and axis in CANONICAL for axis in letters)
    if known:
        return "".join(letters)
    if tags is not None:
        unusable(name, "axistags", tags, f"a description of {len(dataset.shape)} axes out of {', '.join(CANONICAL)}")
    return unknown_axes(len(dataset.shape))


def _sizes(name: str, attributes: Mapping[str, Any], ndim: int) -> tuple[list[float | None], str, list[float]]:
    """Scale, unit and offset of z, y and x, or of y and x; empty if the file does not contain them."""
    counts = [count for count in (2, 3) if count <= ndim]
    for what, unit in (("resolution", "nanometer"), ("element_size_um", "micrometer")):
        scale = list(sizes_of(name, what, attributes.get(what), counts))
        if any(scale):
            told = attributes.get("offset") if what == "resolution" else None
            offset = list(offsets_of(name, "offset", told, len(scale)))
            return scale, unit, offset or [0.0] * len(scale)
    return [], "", []


def _placed(header: Header, known: Mapping[str, Step]) -> Header:
    """The header with scale, unit and offset of some axes; a size that is None leaves its axis as it is."""
    steps = [_step(header, i, known.get(axis)) for i, axis in enumerate(header.axes)]
    scale, units, offset = zip(*steps, strict=True)
    return replace(header, scale=scale, units=units, offset=offset)


def _step(header: Header, i: int, step: Step | None) -> tuple[float, str | None, float]:
    if step is None or step[0] is None:
        return header.scale[i], header.units[i], header.offset[i]
    return step[0], step[1], step[2]


