"""The OME-NGFF description of an output: https://ngff.openmicroscopy.org/0.5/ and /0.4/"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tiler.errors import SinkError
from tiler.ports import KINDS, OutputSpec
from tiler.sinks.layout import Layout
from tiler.sinks.pyramid import Level

ZARR_FORMATS: Mapping[str, Any] = {"0.5": 3, "0.4": 2}
TYPES = {"t": "time", "c": "channel"}
COLORS = ("FFFFFF", "00FFFF", "FF00FF", "FFFF00", "00FF00", "FF0000", "0000FF")


def check_version(name: str, version: str) -> None:
    """Refuse a version that is not written.

    Raises
    ------
    SinkError
        If it is neither 0.5 nor 0.4.
    """
    if version not in ZARR_FORMATS:
        raise SinkError(f"{name}: OME-NGFF is written as {' or '.join(ZARR_FORMATS)}; got {version}", option="ngff")


def ome_attributes(name: str, spec: OutputSpec, layout: Layout, levels: Sequence[Level],
                   classes: Sequence[str]) -> dict[str, Any]:
    """The group's attributes: one image of these levels; 0.5 puts them under ``ome``, 0.4 at the top.

    Parameters
    ----------
    classes
        Names of the channels, or of the values of labels.
    """
    kind = KINDS[spec.kind]
    image = {"name": name, "type": kind.method, "axes": _axes(spec, layout),
             "datasets": [_dataset(spec, layout, level) for level in levels]}
    ome: dict[str, Any] = {"multiscales": [image]}
    if kind.classes == "channels" and len(classes) == spec.shape[0]:
        ome["omero"] = {"channels": _channels(spec, classes)}
    if not kind.ordered and not spec.channel_axis:
        ome["image-label"] = _values(classes, kind.step) if kind.classes == "values" else {}
    if spec.ngff == "0.5":
        return {"ome": {"version": spec.ngff, **ome}}
    for part in (image, *(ome[key] for key in ("omero", "image-label") if key in ome)):
        part["version"] = spec.ngff
    return ome


def _axes(spec: OutputSpec, layout: Layout) -> list[dict[str, str]]:
    units = layout.with_channels(spec.calibration.units, None)
    return [{"name": axis, "type": TYPES.get(axis, "space"), **({"unit": unit} if unit else {})}
            for axis, unit in zip(layout.axes, units, strict=True)]


def _dataset(spec: OutputSpec, layout: Layout, level: Level) -> dict[str, Any]:
    """A coarse voxel lies in the middle of those it covers, and coordinates are those of the middle of voxels."""
    scale = layout.with_channels(spec.calibration.scale, 1.0)
    offset = layout.with_channels(spec.calibration.offset, 0.0)
    coarse = [step * factor for step, factor in zip(scale, level.factors, strict=True)]
    middle = [at + step * (factor - 1) / 2 for at, step, factor in zip(offset, scale, level.factors, strict=True)]
    return {"path": level.path, "coordinateTransformations": [{"type": "scale", "scale": coarse},
                                                              {"type": "translation", "translation": middle}]}


def _channels(spec: OutputSpec, classes: Sequence[str]) -> list[dict[str, Any]]:
    """How viewers show the classes: probabilities from black to full."""
    dtype = np.dtype(spec.dtype)
    top = float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0
    window = {"start": 0.0, "min": 0.0, "end": top, "max": top}
    return [{"label": label, "color": _color(i), "active": True, "window": dict(window)}
            for i, label in enumerate(classes)]


def _values(classes: Sequence[str], step: int) -> dict[str, Any]:
    """Names and colours of the values of labels, so far apart; background is clear."""
    return {
        "colors": [{"label-value": i * step, "rgba": [*bytes.fromhex(_color(i)), 255 if i else 0]}
                   for i in range(len(classes))],
        "properties": [{"label-value": i * step, "class": label} for i, label in enumerate(classes)],
    }


def _color(number: int) -> str:
    return COLORS[number % len(COLORS)]
