"""Are these data of the kind that a network was trained on? A look at one sample, before the first block.

The sample is the middle of the middle section, at most 513 x 513 pixels: it does not depend on tiles or blocks, and
is read at once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tiler.geometry import Box, Span
from tiler.jobs.segment import finite
from tiler.ports import Array, Contrast, Predictor, Source
from tiler.ports.units import nanometres

SAMPLE_RADIUS = (0, 256, 256)
FAR = 1.5
"""Factor between two voxel sizes from which a network sees other things than it was trained on."""
CLEAR = 0.05
"""Least absolute value of `line_contrast` that says which of the lines are dark."""
SMOOTHING, WIDTH = 2.0, 9
"""Pixels: deviation of the Gaussian that removes grain, and width of the widest line."""


def oddities(source: Source, region: Box, predictor: Predictor) -> Iterator[str]:
    """Warnings, one line each, where the data look unlike those that a network was trained on.

    Parameters
    ----------
    source, region
        The data, and the part of them that is segmented.
    predictor
        The network. What its weights do not state is not checked.
    """
    known, expected = predictor.capabilities.trained_on, predictor.expects
    odd = [] if "rescale" in predictor.identity else [odd_voxels(source, known.voxel_size)]
    if expected is not None or known.contrast is not None:
        sample = sample_of(source, region)
        odd += [odd_grey_values(sample, *expected, source.name) if expected else None,
                odd_contrast(sample, known.contrast, source.name)]
    yield from filter(None, odd)


def sample_of(source: Source, region: Box) -> Array:
    """``(c, y, x)``: the middle of the middle section of a region."""
    spans = [Span(centre - half, centre + half + 1).intersect(span) for span, centre, half in
             zip(region.spans, [(s.start + s.stop) // 2 for s in region.spans], SAMPLE_RADIUS, strict=True)]
    return finite(source.read(Box(tuple(spans))), "zero", source.name)[:, 0]


def odd_grey_values(sample: Array, mean: tuple[float, ...], std: tuple[float, ...], name: str) -> str | None:
    """Warning if a channel's mean is more than two deviations away, or its contrast differs more than threefold."""
    for channel, m, s in zip(sample, mean, std, strict=False):
        found, spread = float(channel.mean(dtype=np.float64)), float(channel.std(dtype=np.float64))
        if abs(found - m) > 2 * s or not s / 3 <= spread <= 3 * s:
            return (f"{name} has grey values of {found:.4g} +- {spread:.4g}, the network was trained on "
                    f"{m:.4g} +- {s:.4g}: `normalise=volume` may serve better")
    return None


def odd_voxels(source: Source, wanted: tuple[float | None, float, float] | None) -> str | None:
    """Warning if voxels are `FAR` larger or smaller than in training along some axis."""
    found = nanometres(source.calibration)
    if wanted is None or found is None:
        return None
    factors = [ours / theirs for ours, theirs in zip(found, wanted, strict=True) if ours and theirs]
    if all(1 / FAR <= factor <= FAR for factor in factors):
        return None
    return (f"{source.name} has voxels of {_sized(found)} nm, the network was trained on {_sized(wanted)} nm: "
            "`rescale=auto` resamples to that size and back")


def odd_contrast(sample: Array, wanted: Contrast | None, name: str) -> str | None:
    """Warning if dark lines were learnt and the sample's are bright, or the other way round."""
    found = contrast_of([sample[0]])
    if wanted is None or found in (None, wanted):
        return None
    return (f"{name} looks inverted: its thin structures are {found}, the network was trained on {wanted} ones: "
            "`invert=True` turns them round")


def contrast_of(sections: list[Array]) -> Contrast | None:
    """Whether thin structures are dark or bright in every one of these images ``(y, x)``; None if that is not clear."""
    found = [line_contrast(section) for section in sections]
    if all(value >= CLEAR for value in found):
        return "dark"
    return "bright" if all(value <= -CLEAR for value in found) else None


def line_contrast(image: Array) -> float:
    """From -1 (bright lines alone) to 1 (dark lines alone): ``(b - w) / (b + w)`` of two morphological top-hats.

    ``b``, the mean of the closing less the image, measures dark structures that are narrower than `WIDTH`, and ``w``,
    the mean of the image less its opening, bright ones. Inverting the image changes the sign and nothing else; adding
    to grey values or multiplying them changes nothing.
    """
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(image.astype(np.float64), SMOOTHING)
    dark = float((ndimage.grey_closing(smooth, (WIDTH, WIDTH)) - smooth).mean())
    bright = float((smooth - ndimage.grey_opening(smooth, (WIDTH, WIDTH))).mean())
    # Training slices of ISBI 2012: from 0.115 to 0.147; inverted, from -0.147 to -0.115.
    return (dark - bright) / (dark + bright) if dark + bright else 0.0


def _sized(voxel: tuple[float | None, float, float]) -> str:
    return " x ".join(f"{size:g}" for size in voxel if size is not None)
