"""Speed of a network on this machine: measured in a few seconds and stored for later runs.

A measurement is not stored if other processes took part of the processor meanwhile (`Contention`).

Passes are timed on tiles of growing size. Seconds are interpolated over operations on logarithmic axes; beyond the
largest tile they are proportional to the operations.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import dropwhile
from pathlib import Path
from typing import Any

import numpy as np

from tiler.activity import doing
from tiler.errors import ModelError
from tiler.geometry import Box, Shape, Span
from tiler.machine import Contention, cache_folder, cores
from tiler.ports import Array, Predictor, Source
from tiler.stores.durable import replace_durably
from tiler.version import __version__

log = logging.getLogger(__name__)

WORTH = 2e13
"""Operations above which a measurement is a small part of a run: about two minutes on two processor cores."""

SECONDS = 10.0
"""Duration of a measurement, without opening and compiling the network. Long enough for a core of 1024 with a U-Net of
base 32 on two processor cores: the allocator returns a tensor of more than 32 MiB to the system each time, so that it
costs more than its operations suggest."""

CORES = (32, 96, 256, 512, 1024)
"""Sides of the measured cores; cores of networks of volumes have the same number of voxels."""

REPEATS = 3


@dataclass(frozen=True, slots=True)
class Speed:
    """Measured duration of forward passes, by their number of operations.

    Parameters
    ----------
    points
        Pairs of floating-point operations and seconds of single passes, in ascending order.
    """

    points: tuple[tuple[float, float], ...]

    def call(self, flops: float) -> float:
        """Seconds of one pass of ``flops`` operations."""
        known, seconds = np.log(np.array(self.points).T)
        wanted = np.log(max(flops, 1.0))
        beyond = max(0.0, wanted - known[-1])
        return float(np.exp(np.interp(wanted, known, seconds) + beyond))

    def passes(self, flops: float, calls: int) -> float:
        """Seconds of all passes, if each has an equal share of the operations."""
        return calls * self.call(flops / calls)

    @property
    def operation(self) -> float:
        """Seconds of one operation of a large pass."""
        flops, seconds = self.points[-1]
        return seconds / flops


def speed_of(predictor: Predictor, source: Source, region: Box, memory: int | None = None) -> Speed | None:
    """The speed, if it was measured before or measuring pays off; None for small runs, or if no pass fits into memory.

    Small runs ignore measurements, so that their tiles are the same on every machine.
    """
    largest = _tile(predictor, CORES[2])
    per_voxel = predictor.cost(largest, 1).flops / max(1, _voxels(predictor.footprint.core(largest)))
    if per_voxel * region.voxels < WORTH:
        return None
    path = cache_folder("speed") / f"{_key(predictor)}.json"
    speed = _kept(path)
    if speed is None:
        speed = _measured(predictor, source, region, path, memory)
    return speed


def _measured(predictor: Predictor, source: Source, region: Box, path: Path, memory: int | None) -> Speed | None:
    """Measure, and store what was measured while the machine was free."""
    doing(f"measuring how fast the network runs here, up to {SECONDS:.0f} s")
    contention = Contention()
    speed = measure(predictor, source, region.shape, memory)
    if not speed.points:
        return None
    log.info("measured: %s", ", ".join(f"{flops:.2g} operations in {seconds:.3g} s"
                                       for flops, seconds in speed.points))
    if contention.found:
        log.info("not kept for later runs, since other processes took part of the processor meanwhile")
    else:
        _keep(path, speed)
    return speed


def measure(predictor: Predictor, source: Source, limit: Shape, memory: int | None = None) -> Speed:
    """Time passes of growing tiles, within `SECONDS` and the memory, and up to the size of the region."""
    if predictor.capabilities.needs_statistics:
        predictor = predictor.with_statistics((0.0,) * source.shape[0], (1.0,) * source.shape[0])
    points: list[tuple[float, float]] = []
    left = SECONDS
    for side in _cores(predictor):
        tile = _tile(predictor, side)
        if memory is not None and predictor.capabilities.feeders * predictor.cost(tile, 1).bytes > memory:
            break
        if points and (any(a > b for a, b in zip(predictor.footprint.core(tile)[1:], limit[1:], strict=True))
                       or left < _expected(points, predictor, tile)):
            break
        flops, seconds, spent = _timed(predictor, source, tile)
        left -= spent
        if not points or flops > points[-1][0]:
            points.append((flops, seconds))
    return Speed(tuple(points))


def _cores(predictor: Predictor) -> Iterator[int]:
    """The sides of `CORES` from the first that the network takes: deep ones cannot normalise a map of one voxel."""

    def refused(side: int) -> bool:
        try:
            predictor.cost(_tile(predictor, side), 1)
        except ModelError:
            return True
        return False

    return dropwhile(refused, CORES)


def _expected(points: list[tuple[float, float]], predictor: Predictor, tile: Shape) -> float:
    """Expected seconds for measuring a tile: at least two passes."""
    flops, seconds = points[-1]
    return 2 * seconds * predictor.cost(tile, 1).flops / flops


def _timed(predictor: Predictor, source: Source, tile: Shape) -> tuple[float, float, float]:
    """Operations and seconds of the fastest of several passes, and the total seconds without the first, slow one.

    With several feeders, all run a pass at once and the duration is divided by their number.
    """
    batch = _batch(predictor, source, tile)
    crop = predictor.footprint.core(tile)
    box = Box(tuple(Span(low - shrink, low - shrink + size) for low, shrink, size in
                    zip(predictor.footprint.low, predictor.footprint.shrink_low, crop, strict=True)))
    crops = predictor.capabilities.crops
    if crops is not None:
        flops = crops.crop_flops(tile, [{span: 1} for span in box.spans])
        run = partial(crops.cropped, batch, box)
    else:
        flops = predictor.cost(tile, 1).flops
        run = partial(predictor, batch)
    feeders, times = predictor.capabilities.feeders, list[float]()
    for _ in range(REPEATS + 1):
        begun = time.perf_counter()
        _together(run, feeders)
        times.append(time.perf_counter() - begun)
        if len(times) > 1 and sum(times[1:]) > SECONDS / len(CORES):
            break
    return flops, min(times[1:]) / feeders, sum(times[1:])


def _together(run: Callable[[], Array], feeders: int) -> None:
    """A pass for each feeder."""
    if feeders == 1:  # in this thread, as in a run
        run()
        return
    with ThreadPoolExecutor(feeders) as pool:
        for future in [pool.submit(run) for _ in range(feeders)]:
            future.result()


def _batch(predictor: Predictor, source: Source, tile: Shape) -> Array:
    """Noise in the source's dtype, because constant images may run faster than real ones."""
    noise = np.random.default_rng(0).random((1, predictor.in_channels, *tile), dtype=np.float32)
    return (noise * 255).astype(source.dtype)


def _tile(predictor: Predictor, side: int) -> Shape:
    """The legal tile whose core has that side, or as many voxels along three axes."""
    flat = predictor.footprint.flat
    return predictor.footprint.covering((1, side, side) if flat else (round(side ** (2 / 3)),) * 3)


def _voxels(shape: Shape) -> int:
    return int(np.prod(shape))


def _key(predictor: Predictor) -> str:
    """Key of a measurement; depends on the machine, the network and the versions of the libraries."""
    machine = [platform.node(), platform.machine(), platform.processor(), cores()]
    content = [__version__, np.__version__, machine, predictor.capabilities.feeders, dict(predictor.identity)]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def _kept(path: Path) -> Speed | None:
    """Read an earlier measurement; None if there is none or its file is damaged."""
    try:
        points = tuple(_pairs(json.loads(path.read_text(encoding="utf-8"))["points"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Speed(points) if points else None


def _pairs(content: Any) -> Iterator[tuple[float, float]]:
    least = 0.0
    for flops, seconds in content:
        if not (least < float(flops) < np.inf and 0 < float(seconds) < np.inf):
            raise ValueError(content)
        least = float(flops)
        yield float(flops), float(seconds)


def _keep(path: Path, speed: Speed) -> None:
    """Store a measurement. If the folder is not writable, later runs measure again."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, json.dumps({"points": speed.points}).encode(), shared=True)
