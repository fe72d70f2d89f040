"""Preparation of endoscopic frames: whether a frame can be assessed, and where in it the picture lies.

The pipeline around CA-U-Net and GAIN-ResNet-50 drops frames that are dark, bright, or full of foam or blood, and crops
the others by a threshold. Only a review describes it, without measures and limits. The measures here are therefore
chosen, each a formula that can be checked by hand, and the caller sets every limit: no default could be mistaken for
that of the source. `Limits.of` derives limits from accepted frames.

Limitations: foam and glare of the lamp are both pale, and only shape distinguishes them (Q. Wang et al., Optics and
Laser Technology 110 (2019) 152-157, detect bubbles as rings). Mucosa is red, too, so the level of blood depends on
camera and organ. Blur is not measured, since the pipeline does not mention it.

    field = field_of_view(frame)
    if not faults(appearance(frame, levels, field.inside), limits):
        ...  # frame[:, *field.region] is fit for the network
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from tiler.errors import PlanError
from tiler.ports import Array

_BINS = 256


@dataclass(frozen=True, slots=True)
class Levels:
    """Levels from which pixels count as pale or red, all within [0, 1].

    Parameters
    ----------
    pale_value, pale_saturation
        A pixel is pale if its HSV value ``max(r, g, b)`` is at least ``pale_value`` and its HSV saturation
        ``1 - min(r, g, b) / max(r, g, b)`` is at most ``pale_saturation``.
    red
        A pixel is red if its share of red, ``r / (r + g + b)``, is at least this. The share does not depend on the
        light; 10.1155/2018/9423062 detects bleeding in such normalised colours.
    """

    pale_value: float
    pale_saturation: float
    red: float

    def __post_init__(self) -> None:
        for name, level in zip(self.__slots__, astuple(self), strict=True):
            if not 0 <= level <= 1:
                raise PlanError(f"the level {name} of pixels lies within 0 and 1, got {level}")


class Appearance(NamedTuple):
    """Measures of a frame, all from 0 to 1.

    Parameters
    ----------
    brightness
        Mean HSV value, one of the features by which 10.1007/978-3-319-29965-5_15 classifies uninformative frames.
    pale, red
        Shares of pale and of red pixels, see `Levels`.
    """

    brightness: float
    pale: float
    red: float


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of accepted frames: an interval of brightness, and the largest shares of pale and red pixels."""

    darkest: float
    brightest: float
    pale: float
    red: float

    @classmethod
    def of(cls, accepted: Sequence[Appearance], tail: float) -> Limits:
        """Derive limits from accepted frames, so that the share ``tail`` of them lies beyond each limit.

        Raises
        ------
        PlanError
            There are no frames, or ``tail`` is not within [0, 0.5).
        """
        if not accepted or not 0 <= tail < 0.5:
            raise PlanError("limits need accepted frames and a tail from 0 to below 0.5, got "
                            f"{len(accepted)} frames and a tail of {tail}")
        brightness, pale, red = np.array(accepted).T
        return cls(float(np.quantile(brightness, tail)),
                   *(float(np.quantile(values, 1 - tail)) for values in (brightness, pale, red)))


class Field(NamedTuple):
    """Place of the picture in a frame.

    Parameters
    ----------
    region
        Rows and columns of the bounding box.
    inside
        ``(y, x)`` bool: pixels of the picture, without holes.
    threshold
        HSV value above which pixels belong to the picture.
    """

    region: tuple[slice, slice]
    inside: npt.NDArray[np.bool_]
    threshold: float


def appearance(frame: Array, levels: Levels, inside: Array | None = None) -> Appearance:
    """Measure a frame.

    Parameters
    ----------
    frame
        ``(3, y, x)`` red, green and blue: unsigned integers that use their full range, or floats within [0, 1].
    levels
        Levels from which pixels count as pale or red.
    inside
        ``(y, x)`` bool: pixels to measure, such as those of `field_of_view`; all by default.

    Raises
    ------
    PlanError
        The frame is not such an array, ``inside`` is not bool or has another size, or no pixel is left to measure.
    """
    pixels = _unit_range(frame)
    if inside is not None and (inside.dtype != bool or inside.shape != frame.shape[1:]):
        raise PlanError(f"the pixels to measure are given as bool of the frame's shape {frame.shape[1:]} (y, x), got "
                        f"{inside.dtype} of {inside.shape}")  # numpy would take integers for indices
    pixels = pixels.reshape(3, -1) if inside is None else pixels[:, inside]
    if not pixels.size:
        raise PlanError("no pixel of the frame is inside: there is nothing to measure")
    value, least, total = pixels.max(0), pixels.min(0), pixels.sum(0)
    pale = (value >= levels.pale_value) & (value - least <= levels.pale_saturation * value)
    red = (total > 0) & (pixels[0] >= levels.red * total)
    return Appearance(float(value.mean()), float(pale.mean()), float(red.mean()))


def faults(seen: Appearance, limits: Limits) -> tuple[str, ...]:
    """Return the reasons to drop a frame, of "dark", "bright", "foam" and "blood"; empty if it is within its limits."""
    found = {"dark": seen.brightness < limits.darkest, "bright": seen.brightness > limits.brightest,
             "foam": seen.pale > limits.pale, "blood": seen.red > limits.red}
    return tuple(name for name, against in found.items() if against)


def field_of_view(frame: Array, threshold: float | None = None) -> Field:
    """Find the bright disc of an endoscope's frame: the largest connected part above a threshold.

    Parameters
    ----------
    frame
        Frame, as for `appearance`.
    threshold
        HSV value within [0, 1]; by default that of Otsu's method on this frame.

    Raises
    ------
    PlanError
        The frame is not such an array, or nothing in it is brighter than the threshold.

    Notes
    -----
    Pixels are connected by edges, not by corners. Holes, such as a dark lumen, belong to the picture.
    """
    value = _unit_range(frame).max(0)
    threshold = otsu_threshold(value) if threshold is None else threshold
    parts, count = ndimage.label(value > threshold)
    if not count:
        raise PlanError(f"nothing in the frame is brighter than {threshold:.3g}, its brightest pixel has "
                        f"{value.max():.3g}: give a lower threshold")
    largest = 1 + int(np.bincount(parts.ravel())[1:].argmax())
    inside = ndimage.binary_fill_holes(parts == largest)
    rows, columns = ndimage.find_objects(inside.astype(np.uint8))[0]
    return Field((rows, columns), inside, threshold)


def otsu_threshold(values: Array) -> float:
    """Return the threshold with the largest variance between the values above and below it.

    Parameters
    ----------
    values
        Floats within [0, 1], of any shape; they are counted in 256 bins.

    Raises
    ------
    PlanError
        All values are in the same bin.

    References
    ----------
    N. Otsu, A Threshold Selection Method from Gray-Level Histograms (1979), equation 18, 10.1109/TSMC.1979.4310076.
    """
    counts = np.bincount(np.rint(values * (_BINS - 1)).astype(np.intp).ravel(), minlength=_BINS)
    below, sums = np.cumsum(counts)[:-1], np.cumsum(counts * np.arange(_BINS))
    above = values.size - below
    divided = (below > 0) & (above > 0)
    if not divided.any():
        raise PlanError("the frame is equally bright everywhere: no threshold divides it")
    apart = sums[:-1] / np.maximum(below, 1) - (sums[-1] - sums[:-1]) / np.maximum(above, 1)
    best = int(np.argmax(np.where(divided, below * above * apart**2, -1.0)))
    return (best + 0.5) / (_BINS - 1)


def _unit_range(frame: Array) -> npt.NDArray[np.float64]:
    """Convert a frame to floats from 0 to 1."""
    if frame.ndim != 3 or len(frame) != 3:
        raise PlanError(f"a frame has the shape (3, y, x), red, green and blue first, got {frame.shape}")
    whole = np.issubdtype(frame.dtype, np.unsignedinteger)
    unit = frame / np.iinfo(frame.dtype).max if whole else np.asarray(frame, np.float64)
    if not (unit.size and np.isfinite(unit).all() and unit.min() >= 0 and unit.max() <= 1):
        raise PlanError(f"a frame holds unsigned integers, or floats from 0 to 1: this one is {frame.dtype} with other "
                        "values, or empty")
    return unit
