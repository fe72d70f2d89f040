"""Torch as it is, operation by operation: the backend that all others are held to."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.models.backends import Runner, Setting


def version() -> str:
    return f"torch {torch.__version__}"


def check(device: torch.device, precision: torch.dtype) -> None:
    """Torch runs everything; what a device cannot do shows when it is tried."""


def open_runner(setting: Setting) -> Runner:
    return Eager(place(setting), setting.precision)


class Eager:
    """Calls a module.

    Parameters
    ----------
    module
        On its device.
    precision
        Of its input.
    """

    def __init__(self, module: nn.Module, precision: torch.dtype) -> None:
        self.module, self.precision = module, precision

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.precision)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        return scores(self.module(x))


def place(setting: Setting) -> nn.Module:
    """A new copy of the network where it will run."""
    module = setting.model.build().to(setting.device, setting.precision)
    # Script modules keep their layout: torch rewrites their parameters only one by one.
    if setting.model.ndim == 2 and not isinstance(module, torch.jit.ScriptModule):
        module = module.to(memory_format=torch.channels_last)
    return module


def scores(result: Any) -> torch.Tensor:
    """What a network returns, if it is one tensor.

    Raises
    ------
    ModelError
        If it is not.
    """
    if not isinstance(result, torch.Tensor):
        raise ModelError(f"the network returns a {type(result).__name__}, one tensor is needed: wrap it in a "
                         "module that returns the scores (--model)")
    return result
