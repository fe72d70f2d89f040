"""Losses for classifiers whose attention is guided.

References
----------
K. Li et al., Tell Me Where to Look: Guided Attention Inference Network (2018), 10.48550/arXiv.1802.10171.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def guided_attention_loss(
    scores: torch.Tensor, classes: torch.Tensor, attention: torch.Tensor, mask: torch.Tensor, share: float = 0.1
) -> torch.Tensor:
    """Compute ``(1 - share) * cross-entropy + share * mean squared error of the attention map``, a scalar.

    Parameters
    ----------
    scores
        ``(n, k)`` float: a score for each class.
    classes
        ``(n,)`` int64: the true classes.
    attention
        ``(n, 1, y', x')`` in [0, 1]; interpolated to the size of the mask [choice].
    mask
        ``(n, 1, y, x)`` in {0, 1}; all 0 for an image without a lesion.
    share
        Weight of the attention map, between 0 and 1.
    """
    spread = F.interpolate(attention, size=mask.shape[2:], mode="bilinear", align_corners=False)
    return (1 - share) * F.cross_entropy(scores, classes) + share * F.mse_loss(spread, mask)


def soft_mask(attention: torch.Tensor, sigma: float = 0.5, omega: float = 10.0) -> torch.Tensor:
    """Compute ``1 / (1 + exp(-omega (A - sigma)))``, a threshold at sigma that has a gradient."""
    return torch.sigmoid(omega * (attention - sigma))


def without_attended(
    image: torch.Tensor, attention: torch.Tensor, sigma: float = 0.5, omega: float = 10.0
) -> torch.Tensor:
    """Erase from an image ``(n, c, y, x)`` the places that the network attends to."""
    spread = F.interpolate(attention, size=image.shape[2:], mode="bilinear", align_corners=False)
    return image * (1 - soft_mask(spread, sigma, omega))


def attention_mining_loss(scores_without: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    """Compute the mean probability of the true class on images `without_attended`, a scalar; 0 is best.

    The paper minimises the raw score, which has no lower bound; implementations take the probability, as here.

    Parameters
    ----------
    scores_without
        ``(n, k)`` float: scores of the erased images.
    classes
        ``(n,)`` int64: the true classes.
    """
    return scores_without.softmax(1).gather(1, classes[:, None]).mean()
