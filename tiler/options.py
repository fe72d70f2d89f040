"""What a user may ask for, as given on a command line or in a call, and how its texts are read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from tiler.errors import PlanError
from tiler.geometry import Box, Shape, Span
from tiler.ports import Json

UNITS = {prefix + binary: (1024 if binary else 1000) ** power
         for power, prefix in enumerate(("", "k", "m", "g", "t")) for binary in ("", "i")}

FREE = frozenset({"batch", "memory", "workers", "executor", "scheduler", "tune"})
"""Options that cannot change a result: a run may be resumed with others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that can be chosen about a segmentation; None is "not given".

    Parameters
    ----------
    weights
        File of weights; the model's own where not given.
    kind
        What is written: "probabilities" (default), "labels" or "instances".
    classes
        "all", or the name of one class; by default the second of two classes, else all. Labels and instances are made
        of all classes, or of the one named here, which is cut at 0.5.
    head
        "softmax", "sigmoid" or "none"; by default what belongs to the model.
    tile
        Shape of the model's input: ``572``, ``"1x572x572"``, ``(1, 572, 572)``; "auto" chooses.
    block
        Shape of one task and one write, likewise.
    batch
        Tiles handed to the model at once.
    memory
        Bytes that the run may take: ``8_000_000_000`` or ``"8GiB"``; by default half of what is available.
    workers
        Threads that read ahead, and as many that write behind; processes of "dask".
    executor
        "threads" (default), "serial", or "dask" for several processes or machines, which write to a file.
    scheduler
        With "dask": address of the scheduler of a running cluster (``tcp://10.0.0.1:8786``), or its scheduler
        file; by default processes of this machine are started, and a script must be guarded by
        ``if __name__ == "__main__"``.
    tune
        Whether to time the network for a few seconds where there is much to do (default), so that the choice of the
        tile and the expected time rest on it. Kept in the user's cache for the next run.
    roi
        Region to segment: ``"0:5,100:600,50:450"``, ``"z=3:5,x=0:512"``, a tuple of slices, or a `Box`;
        ``t=3`` chooses a time point.
    axes
        Names of the input's axes, e.g. ``"tyx"``, where the file does not say or says it wrong.
    channel
        Channels to use: ``"0"``, ``"0,2"``, ``1``.
    normalise
        "weights" (default), "volume", "volume:LOW,HIGH" (percentiles) or "MEAN,STD".
    border
        "mirror" or "zero"; by default what belongs to the model.
    nan
        "refuse" (default), or "zero" to take NaN and infinity as 0.
    device, precision, threads
        Where and how the network runs: "auto", "cpu", "cuda:0", "mps", several GPUs "cuda:0,cuda:1"; "float32"
        (default), "tf32" (of CUDA devices), "bfloat16", "float16", "float64"; processor threads per forward pass.
    backend
        What carries it out: "torch" (default), "compile", "openvino", "onnxruntime", "onnxruntime:tensorrt", or "auto"
        for the fastest that is installed and need not be compiled.
    tiling
        "exact", "blend" (overlapping windows, averaged: an approximation, whose seams are measured) or "whole" (every
        input in one piece); by default exact, and whole for networks that give no map.
    resize
        With "whole": what every slice is resized to, and its result from: ``352``, ``"352x480"``.
    average
        "none" (default), "flip4", "rot4", "d4" or "rot7".
    dtype
        Of the output: "float32" (default), "float16" or "uint8" for probabilities, "uint32" (default) or
        "uint64" for instances.
    ngff
        Version of OME-Zarr: "0.5" (default, zarr 3) or "0.4" (zarr 2).
    min_size
        Smallest instance in voxels.
    """

    weights: Any = None
    kind: str | None = None
    classes: str | None = None
    head: str | None = None
    tile: Any = None
    block: Any = None
    batch: int | str | None = None
    memory: int | str | None = None
    workers: int | str | None = None
    executor: str | None = None
    scheduler: str | None = None
    tune: bool | None = None
    roi: Any = None
    axes: str | None = None
    channel: Any = None
    normalise: str | None = None
    border: str | None = None
    nan: str | None = None
    device: str | None = None
    precision: str | None = None
    backend: str | None = None
    threads: int | None = None
    average: str | None = None
    tiling: str | None = None
    resize: Any = None
    dtype: str | None = None
    ngff: str | None = None
    min_size: int | None = None

    def given(self) -> dict[str, Any]:
        """What was given, by name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def to_json(self) -> Json:
        """What was given, as JSON; paths and regions as text."""
        plain = (str, int, float, bool, list, tuple)
        return {name: value if isinstance(value, plain) else str(value) for name, value in self.given().items()}

    def over(self, stored: Json) -> Options:
        """These options on top of stored ones, for a run that goes on."""
        return Options(**{**stored, **self.given()})


def parse_sizes(value: Any, option: str) -> Shape | None:
    """Sizes from ``572``, ``"572"``, ``"1x572x572"``, ``(1, 572, 572)``; None for "auto" or None."""
    if value is None or value == "auto":
        return None
    if isinstance(value, str):
        parts: Sequence[Any] = re.split(r"[x,]", value)
    else:
        parts = value if isinstance(value, Sequence) else [value]
    try:
        return tuple(int(part) for part in parts)
    except (TypeError, ValueError):
        raise PlanError(f"{value!r} is not a size: give 572, or 1x572x572 for z, y, x ({option})") from None


def parse_count(value: int | str | None, option: str) -> int | None:
    """A number of at least 1; None for "auto" or None."""
    if value is None or value == "auto":
        return None
    try:
        number = int(value)
    except ValueError:
        number = 0
    if number < 1:
        raise PlanError(f"{value!r} is not a number of at least 1 ({option})")
    return number


def parse_bytes(value: int | str | None, option: str = "--memory") -> int | None:
    """Bytes from ``8000000000``, ``"8GB"`` (10^9), ``"8GiB"`` or ``"8Gi"`` (2^30); None for "auto" or None."""
    if value is None or value == "auto":
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?i?)b?\s*", str(value).lower())
    if match is None or match[2] not in UNITS or float(match[1]) <= 0:
        raise PlanError(f"{value!r} is not an amount of memory: give bytes, or 500MB, 8GiB ({option})")
    return int(float(match[1]) * UNITS[match[2]])


@dataclass(frozen=True, slots=True)
class Region:
    """A region as it was asked for; spans may be open where the volume's size is not known yet."""

    spans: tuple[tuple[int | None, int | None], ...]
    time: int | None = None

    def within(self, shape: Shape) -> Box:
        """The box in a volume ``(z, y, x)``.

        Raises
        ------
        PlanError
            If a span ends before it starts.
        """
        spans = [(start or 0, size if stop is None else stop) for (start, stop), size in
                 zip(self.spans, shape, strict=True)]
        for start, stop in spans:
            if stop < start:
                raise PlanError(f"a region cannot end before it starts, got {start}:{stop} (--roi)")
        return Box(tuple(Span(start, stop) for start, stop in spans))


def parse_roi(value: Any) -> Region | None:
    """A region from text, slices or a box.

    Raises
    ------
    PlanError
        If it cannot be read.
    """
    if value is None:
        return None
    if isinstance(value, Box):
        return Region(tuple((span.start, span.stop) for span in value.spans))
    try:
        named = _named_ranges(value) if isinstance(value, str) else _sliced(value)
        time = named.pop("t", None)
        if set(named) <= set("zyx"):
            spans = tuple(named.get(axis, (None, None)) for axis in "zyx")
            return Region(spans, None if time is None else time[0])
    except (TypeError, ValueError):
        pass
    raise PlanError(f"region {value!r} cannot be read: give 0:5,100:600,50:450 for z, y, x, or "
                    "y=100:600,x=50:450 (--roi)")


Range = tuple[int | None, int | None]


def _named_ranges(text: str) -> dict[str, Range]:
    parts = [part.strip() for part in text.strip("[] ").split(",")]
    if any("=" in part for part in parts):
        pairs = [part.split("=") for part in parts]
        return {name.strip(): _range(numbers) for name, numbers in pairs}
    return _aligned([_range(part) for part in parts])


def _sliced(value: Any) -> dict[str, Range]:
    if any(part.step not in (None, 1) for part in value):
        raise ValueError(value)
    return _aligned([(part.start, part.stop) for part in value])


def _aligned(ranges: list[Range]) -> dict[str, Range]:
    """Two ranges are y and x, three are z, y and x."""
    if len(ranges) not in (2, 3):
        raise ValueError(ranges)
    return dict(zip("zyx"[-len(ranges) :], ranges, strict=True))


def _range(text: str) -> Range:
    start, colon, stop = text.partition(":")
    if not colon:
        return int(start), int(start) + 1
    return int(start) if start.strip() else None, int(stop) if stop.strip() else None
