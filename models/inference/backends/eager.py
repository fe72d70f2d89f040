"""Plain torch, operation by operation: the reference for all other backends."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.geometry import Box
from tiler.models.aten.staged import StagedPlan
from tiler.models.aten.staged_network import After, StagedNetwork, unchanged
from tiler.models.cropping import Cropper
from tiler.models.inference.backends import Setting
from tiler.models.loading.returned import outputs_of

KEPT_STAGES = 2
"""Number of plans whose constants are kept: those of one shape and its quarter turn."""


def version(device: torch.device) -> str:
    return f"torch {torch.__version__}"


def check(device: torch.device, precision: torch.dtype, tf32: bool) -> None:
    """Accept everything; torch raises at run time if a device lacks an operation."""


def open_runner(setting: Setting) -> Eager:
    return Eager(place(setting), setting.precision, lambda: setting.model.meta().to(setting.precision))


class Eager:
    """Calls a module.

    Parameters
    ----------
    module
        The module, on its device.
    precision
        Number format of its input.
    meta
        Function that returns the same module without its values, for crops.
    """

    def __init__(self, module: nn.Module, precision: torch.dtype, meta: Callable[[], nn.Module]) -> None:
        self.module, self.precision, self._meta = module, precision, meta

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return scores(self.module(self._laid_out(x)))

    def cropped(self, x: torch.Tensor, crop: Box) -> torch.Tensor:
        """The scores in a box of the output, for networks that `tiler.models.cropping` supports."""
        return self._cropper(self._laid_out(x), crop)

    def staged(self, x: torch.Tensor, plan: StagedPlan, crop: Box | None, after: After = unchanged) -> torch.Tensor:
        """The scores of one input, or a box of them, computed in stages; see `tiler.models.aten.staged_network`."""
        return self.stages(plan)(self.staged_input(x), None if crop is None else plan.box(crop), after)

    def staged_input(self, x: torch.Tensor) -> torch.Tensor:
        """An input, or a part of one, as stages read it."""
        return x.to(self.precision).contiguous()

    @lru_cache(maxsize=KEPT_STAGES)  # noqa: B019  a runner lives as long as its process
    def stages(self, plan: StagedPlan) -> StagedNetwork:
        """The network in stages."""
        with torch.inference_mode(False):
            return StagedNetwork(plan, self.module)

    @cached_property
    def _cropper(self) -> Cropper:
        with torch.inference_mode(False):  # recording does not work in inference mode
            return Cropper(self.module, self._meta())

    def _laid_out(self, x: torch.Tensor) -> torch.Tensor:
        x = x.to(self.precision)
        return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def place(setting: Setting) -> nn.Module:
    """A new copy of the network on its device."""
    module = setting.model.build().to(setting.device, setting.precision)
    # Script modules keep their layout: torch rewrites their parameters only one by one.
    if setting.model.ndim == 2 and not isinstance(module, torch.jit.ScriptModule):
        # Torch's type stubs accept this argument only beside a tensor.
        module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module


def scores(result: Any) -> torch.Tensor:
    """Check that a network returns one tensor, and return it.

    Raises
    ------
    ModelError
        If the network returns anything else.
    """
    if not isinstance(result, torch.Tensor):
        raise ModelError(f"the network returns {outputs_of(result)}, one tensor is needed: name the output that holds "
                         "the scores", option="returns")
    return result
