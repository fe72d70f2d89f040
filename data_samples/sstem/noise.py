"""Random numbers and smooth random fields."""

import numpy as np
from scipy.interpolate import BSpline


def generator(seed: int, *purpose: int) -> np.random.Generator:
    """Give an independent stream for each purpose, so that one section can be drawn without the others."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, *purpose])))


def uniform(rng: np.random.Generator, low: float, high: float, size=None):
    """Draw from [low, high) with the one primitive whose stream is the least likely to change."""
    return low + (high - low) * rng.random(size)


def log_uniform(rng: np.random.Generator, low: float, high: float, size=None):
    """Draw numbers of which every octave between low and high is equally likely."""
    return np.exp(uniform(rng, np.log(low), np.log(high), size))


def _basis(positions: np.ndarray, spacing: float, first: float, nodes: int) -> np.ndarray:
    """(positions, nodes) values of the cubic B-splines which are centred `spacing` apart."""
    knots = first + spacing * (np.arange(nodes + 4) - 2.0)
    return BSpline.design_matrix(positions, knots, 3).toarray()


class SmoothField:
    """A Gaussian random field of zero mean and unit variance over (section, y, x).

    Parameters
    ----------
    rng : source of the coefficients
    shape : sections, rows and columns which the field covers
    scale : distance in the plane, in pixels, over which it changes
    depth : the same along the stack, in sections
    """

    def __init__(self, rng: np.random.Generator, shape: tuple[int, int, int], scale: float, depth: float):
        self._spacings = (depth, scale, scale)
        self._nodes = tuple(int(np.ceil((n + 2) / s)) + 4 for n, s in zip(shape, self._spacings, strict=True))
        self._coefficients = rng.standard_normal(self._nodes)
        # The squares of a cubic B-spline's weights sum to 151/315 on average.
        self._coefficients /= (151 / 315) ** 1.5
        self._rows, self._columns = (self._weights(axis, np.arange(shape[axis], dtype=float)) for axis in (1, 2))

    def _weights(self, axis: int, positions: np.ndarray) -> np.ndarray:
        spacing = self._spacings[axis]
        return _basis(positions, spacing, -1.0 - spacing, self._nodes[axis])

    def plane(self, z: float) -> np.ndarray:
        """(y, x) float64: the field at height z, which may lie up to one section outside."""
        layer = np.tensordot(self._weights(0, np.array([z]))[0], self._coefficients, axes=1)
        return self._rows @ layer @ self._columns.T


def filtered_noise(rng: np.random.Generator, shape: tuple[int, int], frequency, amplitude) -> np.ndarray:
    """(y, x) float64: noise whose amplitude spectrum passes through the given points.

    `frequency` is in cycles per pixel (0 to 0.5); `amplitude` is relative to white noise of unit variance.
    """
    radius = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])[None, :])
    gain = np.exp(np.interp(radius, frequency, np.log(amplitude)))
    return np.fft.irfft2(np.fft.rfft2(rng.standard_normal(shape)) * gain, s=shape)
