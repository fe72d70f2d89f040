"""Read the slices for the viewer of a report, one at a time."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tiler.evaluation.pair import Part
from tiler.evaluation.streaming import Scorer
from tiler.metrics import Isbi2012Result, warp
from tiler.ports import Array, Listener
from tiler.report import ShownSlice, Viewer, make_viewer
from tiler.report.png import Grey

FALLBACK = 0.5


def viewed_slices(scorer: Scorer, result: Isbi2012Result, image: Part | None, listener: Listener) -> Viewer:
    """Read the slices again and warp them at the threshold of the official warping error."""
    threshold = viewing_threshold(result)
    listener.stage("report")
    listener.started(len(result.slices), 0)
    return make_viewer(threshold, _slices(scorer, threshold, image, listener))


def viewing_threshold(result: Isbi2012Result) -> float:
    """Return the threshold of the best warping error, else of the best pixel error; degenerate ones are skipped."""
    for name in ("warping_min_splits_mergers_r20", "warping_min_all", "pixel_error"):
        reached = result.thresholds_reached[name]
        if reached is not None and not result.is_degenerate(reached):
            return reached
    return FALLBACK


def _slices(scorer: Scorer, threshold: float, image: Part | None, listener: Listener) -> Iterator[ShownSlice]:
    first = scorer.pair.labels.box.start[0]
    window: tuple[float, float] | None = None
    for z in range(scorer.pair.shape[0]):
        proposal, labels, mask = scorer.read(z)
        grey: Grey | None = None
        if image is not None:
            values = image.read(scorer.pair.slice_box(z))[0]
            window = window or _window(values)
            grey = _windowed(values, window)
        yield ShownSlice(first + z, proposal, labels, grey, warp(labels, proposal, threshold, mask=mask))
        listener.finished_block(z, labels.size)


def _window(values: Array) -> tuple[float, float]:
    """Return the grey values shown as black and white: 0 and 255 for uint8, else percentiles of the first slice."""
    if values.dtype == np.uint8:
        return 0.0, 255.0
    low, high = np.nanpercentile(values, (0.5, 99.5))
    return float(low), float(max(high, low + 1e-12))


def _windowed(values: Array, window: tuple[float, float]) -> Grey:
    low, high = window
    return np.asarray(np.clip((np.nan_to_num(values) - low) * (255 / (high - low)), 0, 255), np.uint8)
