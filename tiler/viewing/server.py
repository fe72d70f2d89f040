"""Show layers with neuroglancer in a browser on this machine (https://github.com/google/neuroglancer)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import neuroglancer
import numpy as np
from neuroglancer.local_volume import MeshesNotSupportedForVolume

from tiler.errors import PlanError
from tiler.viewing.layers import Display, ViewLayer
from tiler.viewing.levels import Level
from tiler.viewing.space import Placed, place

LOOPBACK = "127.0.0.1"
DOWNSAMPLING = 64
"""Largest number of voxels that are read to display one."""
PANEL = 700
"""Approximate width of a panel in pixels; the first view is fitted to it."""
FEW_SLICES = 32
"""Volumes with at most this many slices get a single panel; the others would show only stripes."""
GREY_SHADER = """#uicontrol invlerp contrast
#uicontrol vec3 color color(default="{color}")
void main() {{ emitRGB(color * contrast()); }}
"""
PROBABILITY_SHADER = """#uicontrol vec3 color color(default="{color}")
#uicontrol float opacity slider(min=0, max=1, default=0.7)
#uicontrol float threshold slider(min=0, max=1, default=0.0)
#uicontrol bool invert checkbox(default={inverted})
void main() {{
  float p = (float(toRaw(getDataValue())) - {low!r}) / {range!r};
  if (invert) p = 1.0 - p;
  emitRGBA(vec4(color, p < threshold ? 0.0 : opacity * clamp(p, 0.0, 1.0)));
}}
"""


class PyramidVolume(neuroglancer.LocalVolume):  # type: ignore[misc]  # neuroglancer has no types
    """A volume that answers each request from the coarsest stored level that is fine enough.

    Parameters
    ----------
    levels
        Levels, the finest first.
    **settings
        Arguments of `neuroglancer.LocalVolume`.
    """

    def __init__(self, levels: Sequence[Level], **settings: Any) -> None:
        coarsest = max(math.prod(level.factors) for level in levels)
        super().__init__(levels[0].array, max_downsampling=DOWNSAMPLING * coarsest, **settings)
        self._levels = [(level.factors, neuroglancer.LocalVolume(level.array, **settings)) for level in levels]

    def get_encoded_subvolume(self, data_format: str, start: Any, end: Any, scale_key: str) -> tuple[bytes, str]:
        wanted = [int(factor) for factor in scale_key.split(",")]
        having, volume = max(((factors, volume) for factors, volume in self._levels
                              if not any(np.mod(wanted, factors))), key=lambda level: math.prod(level[0]))
        rest = ",".join(str(factor // own) for factor, own in zip(wanted, having, strict=True))
        encoded: tuple[bytes, str] = volume.get_encoded_subvolume(data_format, start, end, rest)
        return encoded

    def get_object_mesh(self, object_id: int) -> bytes:
        """Refuse meshes, which would need the whole volume in memory."""
        raise MeshesNotSupportedForVolume


@dataclass(frozen=True, slots=True)
class Served:
    """A running viewer.

    Parameters
    ----------
    address
        URL, with the secret token that every request needs.
    viewer
        The `neuroglancer.Viewer`.
    """

    address: str
    viewer: Any


@contextmanager
def serving(layers: Sequence[ViewLayer], port: int = 0) -> Iterator[Served]:
    """Serve layers on the loopback interface until the ``with`` block ends.

    Parameters
    ----------
    layers
        Layers, the lowest first.
    port
        Port to listen on; 0 takes any free one.

    Raises
    ------
    PlanError
        The port is not available.
    """
    neuroglancer.set_server_bind_address(LOOPBACK, port)
    try:
        # Otherwise anyone with the URL could request the user's credentials for cloud storage.
        viewer = neuroglancer.Viewer(allow_credentials=False)
    except OSError as error:
        raise PlanError(f"cannot listen on port {port}: {error.strerror or error}; "
                        "0 takes any free port (`port`)") from error
    try:
        with viewer.txn() as state:
            _show(state, layers)
        yield Served(viewer.get_viewer_url(), viewer)
    finally:
        neuroglancer.stop()


def _show(state: Any, layers: Sequence[ViewLayer]) -> None:
    places = place([layer.calibration for layer in layers])
    state.dimensions = _dimensions(places)
    for layer, placed in zip(layers, places, strict=True):
        state.layers.append(name=_unused(layer.name, state), layer=_layer(layer, placed))
    state.position = _middle(state.dimensions, layers[-1], places[-1])
    state.cross_section_scale = _extent(state.dimensions, layers[-1], places[-1]) / PANEL
    state.show_axis_lines = False
    state.layout = "4panel" if _slices(layers[0]) > FEW_SLICES else "xy"
    if len(layers) > 1:
        state.selected_layer.layer = state.layers[-1].name
        state.selected_layer.visible = True


def _unused(name: str, state: Any) -> str:
    """Return a name that no layer has yet; neuroglancer identifies layers by name."""
    taken = {layer.name for layer in state.layers}
    return next(each for each in (name, *(f"{name} ({n})" for n in range(2, len(taken) + 3))) if each not in taken)


def _dimensions(places: Sequence[Placed]) -> Any:
    """Return the axes of all layers, x first, each with the voxel size of the first layer that has it."""
    steps: dict[str, tuple[float, str]] = {}
    for placed in places:
        for axis, scale, unit in zip(placed.axes, placed.scale, placed.units, strict=True):
            steps.setdefault(axis, (scale, unit))
    axes = sorted(steps, key="xyzt".index)
    return _space(axes, [steps[axis][0] for axis in axes], [steps[axis][1] for axis in axes])


def _space(axes: Sequence[str], scales: Sequence[float], units: Sequence[str]) -> Any:
    return neuroglancer.CoordinateSpace(names=list(axes), scales=list(scales), units=list(units))


def _middle(dimensions: Any, layer: ViewLayer, placed: Placed) -> list[float]:
    """Return the centre of a layer in y and x, at its first slice and time, in voxels of the viewer."""
    found = []
    for axis, scale in zip(dimensions.names, dimensions.scales, strict=True):
        if axis not in placed.axes:
            found.append(0.5)
            continue
        number = placed.axes.index(axis)
        inside = layer.array.shape[number] / 2 if axis in "xy" else 0.5
        found.append((placed.shift[number] + inside) * placed.scale[number] / scale)
    return found


def _extent(dimensions: Any, layer: ViewLayer, placed: Placed) -> float:
    """Return the longer side of a layer's plane, in steps of the finest spatial axis of the viewer."""
    steps = dict(zip(placed.axes, placed.scale, strict=True))
    sizes = dict(zip(placed.axes, layer.array.shape, strict=True))
    finest = min(scale for axis, scale in zip(dimensions.names, dimensions.scales, strict=True) if axis in "xyz")
    return float(max(sizes[axis] * steps[axis] for axis in "xy") / finest)


def _slices(layer: ViewLayer) -> int:
    return dict(zip(layer.calibration.axes, layer.array.shape, strict=True)).get("z", 1)


def _layer(layer: ViewLayer, placed: Placed) -> Any:
    source = neuroglancer.LayerDataSource(url=_volume(layer, placed), transform=_transform(placed),
                                          # No meshes: neuroglancer would build them from the whole volume in memory.
                                          subsources={"default": True}, enable_default_subsources=False)
    if layer.kind == Display.LABELS:
        return neuroglancer.SegmentationLayer(
            source=source, tab="rendering", selected_alpha=0.4, segments=list(layer.values), hide_segment_zero=True,
            segment_colors=dict(layer.colors))
    if layer.kind == Display.IMAGE:
        return neuroglancer.ImageLayer(source=source, shader=GREY_SHADER.format(color=layer.color), opacity=1.0,
                                       blend="additive", shader_controls={"contrast": {"range": list(layer.window)}})
    low, high = layer.window
    shader = PROBABILITY_SHADER.format(color=layer.color, inverted=str(layer.inverted).lower(), low=low,
                                       range=high - low)
    return neuroglancer.ImageLayer(source=source, shader=shader, opacity=1.0, blend="default",
                                   tab="rendering")


def _volume(layer: ViewLayer, placed: Placed) -> PyramidVolume:
    kind = "segmentation" if layer.kind == Display.LABELS else "image"
    levels = [Level(level.array.astype(_shown_type(level.array.dtype, kind)), level.factors)
              for level in layer.levels]
    return PyramidVolume(levels, dimensions=_space(placed.axes, placed.scale, placed.units), volume_type=kind,
                         downsampling="3d" if layer.array.ndim == 3 else None)


def _shown_type(dtype: np.dtype[Any], kind: str) -> np.dtype[Any]:
    """Return the nearest type that neuroglancer can display: unsigned ids, numbers of at most 32 bits."""
    if kind == "segmentation":
        return np.dtype(f"u{dtype.itemsize}") if dtype.kind in "iu" else np.dtype(np.uint64)
    return dtype if dtype.itemsize <= 4 and dtype.kind in "iu" else np.dtype(np.float32)


def _transform(placed: Placed) -> Any:
    rank = len(placed.axes)
    matrix = np.eye(rank, rank + 1)
    matrix[:, -1] = placed.shift
    return neuroglancer.CoordinateSpaceTransform(
        output_dimensions=_space(placed.axes, placed.scale, placed.units), matrix=matrix)
