"""Loss, optimisers and the moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn import functional as F

from tiler.models.training.recipes import Recipe


def weighted_cross_entropy(scores: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Scalar: mean over all pixels of ``-w log p_c``, with p the soft-max of the scores.

    Parameters
    ----------
    scores
        ``(n, k, y, x)``.
    classes
        ``(n, y, x)`` int64.
    weights
        ``(n, y, x)``.

    Notes
    -----
    The paper prints the sum without its sign. The mean makes the learning rate independent of the tile; it is not
    divided by the sum of the weights, so that a tile with many narrow gaps counts for more.
    """
    return (weights * F.cross_entropy(scores.float(), classes, reduction="none")).mean()


def make_optimiser(parameters: Iterable[nn.Parameter], recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """The recipe's optimiser; its learning rate is set anew in every step."""
    fused = device.type in ("cpu", "cuda")
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(parameters, recipe.learning_rate, recipe.momentum,
                               weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.AdamW(parameters, recipe.learning_rate, (recipe.momentum, 0.999),
                             weight_decay=recipe.weight_decay, fused=fused)


class MovingAverage:
    """Exponential moving average of a network's parameters and buffers.

    Parameters
    ----------
    module
        Whose values are averaged; the average begins with them.
    decay
        How much of the average each step keeps; with 0 it is the weights themselves. In the first steps it keeps
        less, ``(1 + n) / (10 + n)`` after n steps, so that the initial weights are forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Take in the weights after a step, the first of which is 0."""
        keep = min(self.decay, (1 + step) / (10 + step))
        current = module.state_dict()
        floating = [name for name, value in current.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.state[name] for name in floating], [current[name] for name in floating], 1 - keep)
        for name in current.keys() - set(floating):
            self.state[name].copy_(current[name])


def freeze_norm(module: nn.Module) -> None:
    """Let batch norm use its running statistics, and no longer change them."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
