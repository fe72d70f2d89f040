"""The work behind the widget, without a window: a source from a layer, a run, and layers from its result."""

from __future__ import annotations

import importlib
import tempfile
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tiler import api
from tiler.errors import PlanError
from tiler.napari_plugin.reader import METADATA, LayerData, read
from tiler.ports import Source
from tiler.sources import open_source
from tiler.sources.array import open_array
from tiler.sources.volume import volume_of

AXES = {2: "yx", 3: "zyx", 4: "tzyx"}


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run: its stage, and the number of finished and of all blocks."""

    stage: str
    done: int
    total: int


@dataclass
class Run:
    """One run of the engine, executed in one thread and stopped from another.

    Parameters
    ----------
    source
        Volume to segment.
    model
        Model, as for `tiler.segment`.
    output
        Zarr to write; None for a temporary one that is deleted when the program ends.
    options
        Options of `tiler.segment`; empty ones take their defaults.
    tell
        Called with `Progress`, or with a warning as text, in the thread of the run.
    """

    source: Source
    model: str
    output: Path | None
    options: Mapping[str, Any]
    tell: Callable[[Progress | str], None]
    _stop: threading.Event = field(default_factory=threading.Event)
    _now: Progress = field(default_factory=lambda: Progress("", 0, 0))

    def __call__(self) -> list[LayerData]:
        """Run the engine and return the layers of the result, which are read lazily from the written zarr.

        Raises
        ------
        TilerError
            The run is not possible or failed; the message is one line.
        """
        output = self.output or Path(temporary_folder()) / f"{Path(self.source.name).name.split('.')[0]}.zarr"
        given = {name: value for name, value in self.options.items() if value not in (None, "")}
        api.segment(self.source, self.model, output, overwrite=self.output is None, listener=self, stop=self._stop,
                    **given)
        return read(str(output))

    def cancel(self) -> None:
        """Stop at the next block border."""
        self._stop.set()

    def stage(self, name: str) -> None:
        self._show(Progress(name, 0, 0))

    def started(self, total: int, done: int) -> None:
        self._show(replace(self._now, done=done, total=total))

    def finished_block(self, index: int, voxels: int) -> None:
        self._show(replace(self._now, done=self._now.done + 1))

    def warn(self, message: str) -> None:
        self.tell(message)

    def _show(self, progress: Progress) -> None:
        self._now = progress
        self.tell(progress)


_temporary: list[tempfile.TemporaryDirectory[str]] = []


def temporary_folder() -> str:
    """Return a new folder that is deleted when the program ends; layers read from it until then."""
    _temporary.append(tempfile.TemporaryDirectory(prefix="tiler-"))
    return _temporary[-1].name


def model_names() -> list[str]:
    """Return the names of the registered networks, those with bundled weights first."""
    registry = importlib.import_module("tiler.models.zoo.registry")
    return sorted(registry.names(), key=lambda name: registry.describe(name).weights is None)


def source_of(layer: Any) -> Source:
    """Open the volume of an image layer: its file if tiler opened it, else its array and voxel sizes.

    Parameters
    ----------
    layer
        A `napari.layers.Image`.

    Raises
    ------
    PlanError
        The layer does not have 2 to 4 axes.
    """
    origin = layer.metadata.get(METADATA)
    if origin is not None:
        return open_source(origin["path"], channel=origin["channel"])
    data = layer.data[0] if layer.multiscale else layer.data
    plain = data.ndim - bool(layer.rgb)
    if plain not in AXES:
        raise PlanError(f"{layer.name} has {plain} axes: tiler segments images of 2 to 4, which are {AXES[4]}")
    samples = (1.0,) if layer.rgb else ()
    raw = open_array(data)
    header = replace(raw.header, name=str(layer.name), scale=(*map(float, layer.scale), *samples),
                     offset=(*map(float, layer.translate), *(0.0 for _ in samples)),
                     units=(*_units(layer, plain), *(None for _ in samples)))
    return volume_of(replace(raw, header=header), axes=AXES[plain] + ("s" if layer.rgb else ""), channel=None,
                     time=None)


def _units(layer: Any, count: int) -> tuple[str | None, ...]:
    """Return units as OME-NGFF spells them; napari's "pixel" means no unit."""
    named = tuple(str(unit) for unit in getattr(layer, "units", None) or ())
    return tuple(None if unit == "pixel" else unit for unit in named) if len(named) == count else (None,) * count
