"""Focal loss: cross-entropy in which pixels that are already right count little."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def focal_loss(scores: torch.Tensor, target: torch.Tensor, gamma: float = 2.0, alpha: float = 0.25) -> torch.Tensor:
    """Compute the mean over all pixels of ``-a (1 - p)^gamma log p``, where p is the probability of the true class.

    Parameters
    ----------
    scores, target
        ``(n, k, y, x)``; every channel is a decision of its own.
    gamma
        How little right pixels count; 0 is cross-entropy.
    alpha
        Weight of foreground; background weighs ``1 - alpha``.

    Notes
    -----
    At the defaults a foreground pixel with p = 0.9 costs ``0.25 * 0.1^2 * 0.105 = 0.00026``, one with p = 0.1 costs
    0.466. The UNet 3+ paper names this loss without its constants; the defaults are those of Lin et al. [choice].

    References
    ----------
    T.-Y. Lin et al., Focal Loss for Dense Object Detection (2017), equation 5, 10.48550/arXiv.1708.02002.
    """
    signed = torch.where(target > 0.5, scores, -scores)
    weight = torch.where(target > 0.5, alpha, 1 - alpha)
    # sigmoid(-z) instead of 1 - sigmoid(z): at z = 20 the difference is 0 in float32, sigmoid(-20) is 2.1e-9.
    return -(weight * (-signed).sigmoid() ** gamma * F.logsigmoid(signed)).mean()
