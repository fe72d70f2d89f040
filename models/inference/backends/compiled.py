"""Torch with its operations fused and compiled (torch.compile): a minute of compiling, then less traffic."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.models.inference.backends import Runner, Setting
from tiler.models.inference.backends.eager import Eager, place


def version(device: torch.device) -> str:
    return f"compile (torch {torch.__version__})"


def check(device: torch.device, precision: torch.dtype, tf32: bool) -> None:
    """Accept the same devices and precisions as torch."""


def open_runner(setting: Setting) -> Runner:
    """Runs a compiled network; the first call with each shape of input compiles it.

    Raises
    ------
    ModelError
        If the network is TorchScript, which is compiled already; at the first call, if compiling fails.
    """
    module = place(setting)
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError(f"{setting.model.identity['model']} is TorchScript, which torch.compile does not take: "
                         "use `backend=torch` or openvino")
    compiled = Eager(cast(nn.Module, torch.compile(module, dynamic=False)), setting.precision, setting.model.meta)

    def run(x: torch.Tensor) -> torch.Tensor:
        try:
            return compiled(x)
        except torch._dynamo.exc.TorchDynamoException as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"torch.compile fails on {setting.model.identity['model']} ({reason}): "
                             "use `backend=torch`") from error

    return run
