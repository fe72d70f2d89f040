"""Optimisers and the moving average of the weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tiler.models.training.recipes import Recipe


def make_optimiser(module: nn.Module, recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """The recipe's optimiser of all trainable parameters. Call `set_rate` before each step."""
    fused = device.type in ("cpu", "cuda")
    groups = _groups(module, recipe.bias_rate)
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, recipe.learning_rate, recipe.momentum,
                               weight_decay=recipe.weight_decay, fused=fused)
    return torch.optim.AdamW(groups, recipe.learning_rate, (recipe.momentum, 0.999),
                             weight_decay=recipe.weight_decay, fused=fused)


def _groups(module: nn.Module, bias_rate: float) -> list[dict[str, Any]]:
    """All parameters in one group, or weights and biases apart if biases have their own learning rate."""
    trained = [(name, value) for name, value in module.named_parameters() if value.requires_grad]
    if bias_rate == 1:
        return [{"params": [value for _, value in trained], "share": 1.0}]
    biases = [value for name, value in trained if name.endswith("bias")]
    weights = [value for name, value in trained if not name.endswith("bias")]
    return [{"params": weights, "share": 1.0}, {"params": biases, "share": bias_rate}]


def set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give each group of parameters its share of the learning rate."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["share"]


class MovingAverage:
    """Exponential moving average of a network's parameters and buffers.

    Parameters
    ----------
    module
        Network whose values are averaged; its initial values start the average.
    decay
        Share of the average that each step keeps; with 0 the average is the weights themselves. The first steps keep
        less, ``(1 + n) / (10 + n)`` after n steps, so that the initial weights are forgotten.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Add the weights after a step to the average; the first step is 0."""
        keep = min(self.decay, (1 + step) / (10 + step))
        current = module.state_dict()
        floating = [name for name, value in current.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.state[name] for name in floating], [current[name] for name in floating], 1 - keep)
        for name in current.keys() - set(floating):
            self.state[name].copy_(current[name])


def freeze_norm(module: nn.Module) -> None:
    """Make batch norm use its running statistics and stop updating them."""
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.eval()
