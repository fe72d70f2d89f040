"""Multi-scale structural similarity.

References
----------
Z. Wang, E. P. Simoncelli, A. C. Bovik, Multiscale structural similarity for image quality assessment (2003),
10.1109/ACSSC.2003.1292216.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from tiler.errors import ModelError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the five scales, fine to coarse (section 4 of the paper)."""
WINDOW, SIGMA = 11, 1.5
LEAST = WINDOW * 2 ** (len(WEIGHTS) - 1)
"""Smallest side of an image in pixels, 11 * 2^4 = 176: a whole window still fits at the coarsest scale."""
_C1, _C2 = 0.01**2, 0.03**2
_FLOOR = 1e-6


def ms_ssim(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Compute the similarity of images in [0, 1], mean over the channels.

    It is the product over the scales j of ``cs_j^w_j``; at the coarsest scale ``ssim`` replaces ``cs``, so luminance
    enters once. (The code of UNet 3+ multiplies luminance in at every scale.)

    Parameters
    ----------
    a, b
        ``(n, k, y, x)`` float.

    Returns
    -------
    similarity
        ``(n,)``: 1 for equal images.

    Raises
    ------
    ModelError
        A side is shorter than 176 pixels, so that no whole window fits at the coarsest scale.

    Notes
    -----
    Windows lie inside the image; nothing is padded. The contrast-structure term can be negative, and a negative
    number has no fractional power: it is clamped to 1e-6, which also keeps the gradient finite.
    """
    if min(a.shape[2:]) < LEAST:
        raise ModelError(f"MS-SSIM of {len(WEIGHTS)} scales needs images of at least {LEAST} x {LEAST}, got "
                         f"{' x '.join(map(str, a.shape[2:]))}: train on larger tiles (`tile`)")
    similarity = a.new_ones(a.shape[:2])
    for scale, weight in enumerate(WEIGHTS):
        luminance, contrast = _parts(a, b)
        last = scale == len(WEIGHTS) - 1
        part = (luminance * contrast if last else contrast).mean((2, 3))
        similarity = similarity * part.clamp(min=_FLOOR) ** weight
        if not last:
            a, b = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2)
    return similarity.mean(1)


def ms_ssim_loss(scores: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Compute 1 - `ms_ssim` of sigmoid probabilities and target, mean over the images; a scalar."""
    return 1 - ms_ssim(scores.sigmoid(), target).mean()


def _parts(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Luminance, and contrast times structure, for every window."""
    mean_a, mean_b = _blurred(a), _blurred(b)
    variance_a, variance_b = _blurred(a * a) - mean_a**2, _blurred(b * b) - mean_b**2
    covariance = _blurred(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a**2 + mean_b**2 + _C1)
    return luminance, (2 * covariance + _C2) / (variance_a + variance_b + _C2)


def _blurred(x: torch.Tensor) -> torch.Tensor:
    """Gaussian mean over every window, one axis after the other."""
    at = torch.arange(WINDOW, dtype=x.dtype, device=x.device) - WINDOW // 2
    tap = torch.exp(-(at**2) / (2 * SIGMA**2))
    tap = (tap / tap.sum()).expand(x.shape[1], 1, 1, -1)
    down = F.conv2d(x, tap.transpose(2, 3), groups=x.shape[1])
    return F.conv2d(down, tap, groups=x.shape[1])
