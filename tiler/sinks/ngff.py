"""The OME-NGFF 0.5 description of an output: https://ngff.openmicroscopy.org/0.5/"""

from __future__ import annotations

from typing import Any

import numpy as np

from tiler.ports import OutputSpec
from tiler.sinks.layout import Layout

VERSION = "0.5"
TYPES = {"t": "time", "c": "channel"}
COLORS = ("FFFFFF", "00FFFF", "FF00FF", "FFFF00", "00FF00", "FF0000", "0000FF")


def ome_attributes(name: str, spec: OutputSpec, layout: Layout, path: str) -> dict[str, Any]:
    """The group's ``ome`` attribute: one image of one level."""
    image = {
        "name": name,
        "axes": _axes(spec, layout),
        "datasets": [{"path": path, "coordinateTransformations": [
            {"type": "scale", "scale": list(layout.with_channels(spec.calibration.scale, 1.0))},
            {"type": "translation", "translation": list(layout.with_channels(spec.calibration.offset, 0.0))},
        ]}],
    }
    ome: dict[str, Any] = {"version": VERSION, "multiscales": [image]}
    if spec.kind == "probabilities" and len(spec.classes) == spec.shape[0]:
        ome["omero"] = {"channels": _channels(spec)}
    return ome


def _axes(spec: OutputSpec, layout: Layout) -> list[dict[str, str]]:
    units = layout.with_channels(spec.calibration.units, None)
    return [{"name": axis, "type": TYPES.get(axis, "space"), **({"unit": unit} if unit else {})}
            for axis, unit in zip(layout.axes, units, strict=True)]


def _channels(spec: OutputSpec) -> list[dict[str, Any]]:
    """How viewers show the classes: probabilities from black to full."""
    dtype = np.dtype(spec.dtype)
    top = float(np.iinfo(dtype).max) if dtype.kind in "iu" else 1.0
    window = {"start": 0.0, "min": 0.0, "end": top, "max": top}
    return [{"label": label, "color": COLORS[i % len(COLORS)], "active": True, "window": dict(window)}
            for i, label in enumerate(spec.classes)]
