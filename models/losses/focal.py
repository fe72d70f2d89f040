"""Cross-entropy in which what is already right counts little."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def focal_loss(scores: torch.Tensor, target: torch.Tensor, gamma: float = 2.0, alpha: float = 0.25) -> torch.Tensor:
    """Scalar: mean over all pixels of ``-a (1 - p)^gamma log p``, with p the probability of the true class.

    Parameters
    ----------
    scores, target
        ``(n, k, y, x)``; every channel is a decision by itself.
    gamma
        0 is cross-entropy.
    alpha
        Weight of foreground; that of background is ``1 - alpha``.

    Notes
    -----
    The published UNet 3+ names this loss without its constants; these are those of T.-Y. Lin et al.: Focal Loss
    for Dense Object Detection, doi:10.48550/arXiv.1708.02002 [choice].
    """
    signed = torch.where(target > 0.5, scores, -scores)
    weight = torch.where(target > 0.5, alpha, 1 - alpha)
    # 1 - sigmoid(z) as sigmoid(-z): the difference would lose everything where z is large.
    return -(weight * (-signed).sigmoid() ** gamma * F.logsigmoid(signed)).mean()
