"""Read files as lazy napari layers: images in grey, probabilities in a colour, labels as labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da

from tiler.errors import TilerError
from tiler.sources import open_source
from tiler.viewing.layers import GREY, Display, ViewLayer, labels_in, layers_of
from tiler.viewing.lazy import LazyVolume

LayerData = tuple[Any, dict[str, Any], str]
Paths = str | os.PathLike[str] | Sequence[str]

PLANE = 1024
"""Least side of a dask chunk, in voxels along y and x."""
METADATA = "tiler"
"""Key in a layer's metadata under which its file and channel are stored."""


def get_reader(path: Paths) -> Callable[[Paths], list[LayerData]] | None:
    """Return the reader for these files, or None if tiler cannot read them, so that napari asks other plugins."""
    try:
        for each in _paths(path):
            open_source(each)
    except TilerError:
        return None
    return read


def read(path: Paths) -> list[LayerData]:
    """Read all files as layers, an OME-Zarr image with its label images.

    Returns
    -------
    layers
        For each layer its data, keyword arguments and type, as napari expects them.

    Raises
    ------
    SourceError
        A file cannot be read.
    """
    found = []
    for each in _paths(path):
        for place, image in ((each, True), *((label, False) for label in labels_in(each))):
            for number, layer in enumerate(layers_of(place, image=image)):
                data, look, kind = layer_data(layer)
                found.append((data, {**look, "metadata": {METADATA: {"path": place, "channel": number}}}, kind))
    return found


def _paths(path: Paths) -> list[str]:
    return [os.fspath(path)] if isinstance(path, (str, os.PathLike)) else [os.fspath(each) for each in path]


def layer_data(layer: ViewLayer) -> LayerData:
    """Convert a layer to napari's data, keyword arguments and type."""
    calibration = layer.calibration
    levels = [_dask(level.array) for level in layer.levels]
    look = {
        "name": layer.name,
        "scale": calibration.scale,
        "translate": calibration.offset,
        "units": tuple(unit or "pixel" for unit in calibration.units),
        "axis_labels": calibration.axes,
        "multiscale": len(levels) > 1,
    }
    data = levels if len(levels) > 1 else levels[0]
    if layer.kind == Display.LABELS:
        return data, {**look, "opacity": 0.5, **_colors(layer)}, "labels"
    clear, full = ([*_rgb(layer.color), alpha] for alpha in (0.0, 1.0))
    if layer.kind == Display.IMAGE:
        black = [0.0, 0.0, 0.0, 1.0]
        shown = "gray" if layer.color == GREY[0] else _colormap(layer.color, [black, full])
        return data, {**look, "contrast_limits": layer.window, "blending": "additive", "colormap": shown}, "image"
    ramp = [full, clear] if layer.inverted else [clear, full]
    return data, {**look, "contrast_limits": layer.window, "blending": "translucent", "opacity": 0.7,
                  "colormap": _colormap(f"{layer.color} {'inverted' if layer.inverted else 'clear'}", ramp)}, "image"


def _dask(array: LazyVolume) -> da.Array:
    """Wrap a lazy volume in a dask array, which napari may slice and transpose freely."""
    unit = array.source.read_unit
    lead = [1] * (array.ndim - 2)
    if lead:
        lead[-1] = min(unit[0], array.shape[-3])
    plane = [min(size, max(PLANE, own)) for size, own in zip(array.shape[-2:], unit[1:], strict=True)]
    made: da.Array = da.from_array(array, chunks=(*lead, *plane), name=False, asarray=True)
    return made


def _rgb(color: str) -> list[float]:
    return [part / 255 for part in bytes.fromhex(color[1:])]


def _colormap(name: str, colors: list[list[float]]) -> dict[str, Any]:
    return {"name": f"tiler {name}", "colors": colors}


def _colors(layer: ViewLayer) -> dict[str, Any]:
    """Return the colours of class labels from their metadata; ids of objects keep napari's own colours."""
    if not layer.values:
        return {}
    named: dict[int | None, Any] = {value: [*_rgb(layer.colors[value]), 1.0]
                                    for value in layer.values if value in layer.colors}
    return {"colormap": {0: [0.0] * 4, None: [0.5, 0.5, 0.5, 1.0], **named}} if named else {}
