"""Before the networks for endoscopy: whether a frame is fit to be judged, and where in it the picture lies.

The pipeline around CA-U-Net and GAIN-ResNet-50 leaves out frames that are dark, bright, full of foam or of blood, and
cuts a region out of the others by a threshold. What it measures, and at which numbers it decides, was not to be had:
only a review describes it. So the measures below are chosen, each a formula that can be checked by hand, and every
number of the filter is the caller's: nothing has a default that could pass for the source's. `Limits.of` takes the
limits from frames that somebody has accepted.

What these measures cannot: foam and the glare of the lamp are both pale, and only shape tells them apart (bubbles are
found as rings by Q. Wang et al., Optics and Laser Technology 110 (2019) 152-157); mucosa is red too, so that the level
of blood depends on camera and organ. Blur is not looked at, since the pipeline does not name it.

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
    """From where on a pixel counts, all within [0, 1].

    Parameters
    ----------
    pale_value, pale_saturation
        A pixel is pale whose HSV value ``max(r, g, b)`` is at least the one, and whose HSV saturation
        ``1 - min(r, g, b) / max(r, g, b)`` is at most the other.
    red
        A pixel is red whose share of red, ``r / (r + g + b)``, is at least this. It does not depend on the light;
        bleeding is sought in such normalised colours in doi:10.1155/2018/9423062.
    """

    pale_value: float
    pale_saturation: float
    red: float

    def __post_init__(self) -> None:
        for name, level in zip(self.__slots__, astuple(self), strict=True):
            if not 0 <= level <= 1:
                raise PlanError(f"the level {name} of pixels lies within 0 and 1, got {level}")


class Appearance(NamedTuple):
    """What a frame looks like.

    Parameters
    ----------
    brightness
        Mean HSV value, which is one of the features by which uninformative frames are told in
        doi:10.1007/978-3-319-29965-5_15 (there by a trained classifier).
    pale, red
        Shares of its pixels, see `Levels`.
    """

    brightness: float
    pale: float
    red: float


@dataclass(frozen=True, slots=True)
class Limits:
    """The appearances that are accepted: brightness between two limits, and shares that are at most so large."""

    darkest: float
    brightest: float
    pale: float
    red: float

    @classmethod
    def of(cls, accepted: Sequence[Appearance], tail: float) -> Limits:
        """Of frames that somebody has accepted: the limits beyond which the share ``tail`` of them lies.

        Raises
        ------
        PlanError
            If there are no frames, or ``tail`` is not within [0, 0.5).
        """
        if not accepted or not 0 <= tail < 0.5:
            raise PlanError("limits need accepted frames and a tail from 0 to below 0.5, got "
                            f"{len(accepted)} frames and a tail of {tail}")
        brightness, pale, red = np.array(accepted).T
        return cls(float(np.quantile(brightness, tail)),
                   *(float(np.quantile(values, 1 - tail)) for values in (brightness, pale, red)))


class Field(NamedTuple):
    """Where the picture lies in a frame.

    Parameters
    ----------
    region
        Rows and columns of the smallest box that holds it.
    inside
        ``(y, x)`` bool: the picture itself, without holes.
    threshold
        HSV value above which pixels were taken for it.
    """

    region: tuple[slice, slice]
    inside: npt.NDArray[np.bool_]
    threshold: float


def appearance(frame: Array, levels: Levels, inside: Array | None = None) -> Appearance:
    """Measure a frame.

    Parameters
    ----------
    frame
        ``(3, y, x)`` red, green and blue: unsigned integers of their full range, or floats within [0, 1].
    levels
        From where on a pixel counts as pale, and as red.
    inside
        ``(y, x)`` bool: the pixels that are looked at, such as those of `field_of_view`; all by default.

    Raises
    ------
    PlanError
        If the frame is no such array, ``inside`` is not bool or has another size, or no pixel is to be looked at.
    """
    pixels = _unit_range(frame)
    if inside is not None and (inside.dtype != bool or inside.shape != frame.shape[1:]):
        raise PlanError(f"the pixels that are looked at are told by bool of the frame's {frame.shape[1:]} (y, x), got "
                        f"{inside.dtype} of {inside.shape}")  # numbers would be taken for places
    pixels = pixels.reshape(3, -1) if inside is None else pixels[:, inside]
    if not pixels.size:
        raise PlanError("no pixel of the frame is inside: there is nothing to measure")
    value, least, total = pixels.max(0), pixels.min(0), pixels.sum(0)
    pale = (value >= levels.pale_value) & (value - least <= levels.pale_saturation * value)
    red = (total > 0) & (pixels[0] >= levels.red * total)
    return Appearance(float(value.mean()), float(pale.mean()), float(red.mean()))


def faults(seen: Appearance, limits: Limits) -> tuple[str, ...]:
    """What speaks against a frame, of "dark", "bright", "foam" and "blood"; nothing where it is within its limits."""
    found = {"dark": seen.brightness < limits.darkest, "bright": seen.brightness > limits.brightest,
             "foam": seen.pale > limits.pale, "blood": seen.red > limits.red}
    return tuple(name for name, against in found.items() if against)


def field_of_view(frame: Array, threshold: float | None = None) -> Field:
    """Find the bright disc that an endoscope shows on black: the largest connected part above a threshold.

    Parameters
    ----------
    frame
        As in `appearance`.
    threshold
        HSV value within [0, 1]; by default that of Otsu's method on this frame.

    Raises
    ------
    PlanError
        If the frame is no such array, or nothing in it is brighter than the threshold.

    Notes
    -----
    Parts are joined by edges, not by corners. Holes, as the dark of a lumen makes them, belong to the picture.
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
    """The threshold with the largest variance between what lies above and what does not.

    Parameters
    ----------
    values
        Floats within [0, 1], of any shape; they are counted in 256 steps.

    Raises
    ------
    PlanError
        If all values are in the same step.

    References
    ----------
    N. Otsu: A Threshold Selection Method from Gray-Level Histograms. IEEE Trans. Systems, Man, and Cybernetics 9
    (1979). doi:10.1109/TSMC.1979.4310076
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
    """A frame in floats from 0 to 1."""
    if frame.ndim != 3 or len(frame) != 3:
        raise PlanError(f"a frame has the shape (3, y, x), red, green and blue first, got {frame.shape}")
    whole = np.issubdtype(frame.dtype, np.unsignedinteger)
    unit = frame / np.iinfo(frame.dtype).max if whole else np.asarray(frame, np.float64)
    if not (unit.size and np.isfinite(unit).all() and unit.min() >= 0 and unit.max() <= 1):
        raise PlanError(f"a frame holds unsigned integers, or floats from 0 to 1: this one is {frame.dtype}, of other "
                        "values or of none")
    return unit
