"""Observers of a network's operations, which leave the network unchanged.

Under a dispatch mode, and for tensors without values, torch runs many operators in Python and first imports its
compiler, which takes longer than all other work of opening a network. The operators of a U-Net avoid that here.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten


class Observer(TorchDispatchMode):
    """A dispatch mode that calls operations through `run`, and hides from torch's compiler once that is imported."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch annotates no dispatch mode
        if "torch._dynamo" in sys.modules:  # else no network is compiled
            hidden = torch.compiler.disable(type(self).__torch_dispatch__)
            self.__torch_dispatch__ = MethodType(hidden, self)  # type: ignore[method-assign]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: torch would import its compiler in order to hide the mode from it."""
        return False

    @staticmethod
    def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Call an aten operation and return its result."""
        if func is aten.cat.default and _alike(args[0]):
            return _cat(*args, **kwargs)
        if func is aten.native_batch_norm.default and args[0].is_meta:
            return _batch_norm(*args)
        return func(*args, **kwargs)


def operator_name(func: Any) -> str:
    """Name of an aten operator without namespace, overload and the underscore of its in-place form."""
    name: str = func._schema.name.partition("::")[2]
    return name[:-1] if name.endswith("_") and not name.endswith("__") else name


def _alike(tensors: Sequence[torch.Tensor]) -> bool:
    """Whether all tensors are on the meta device, with the same dtype and number of axes."""
    return all(tensor.is_meta for tensor in tensors) and len({(tensor.ndim, tensor.dtype) for tensor in tensors}) == 1


def _cat(tensors: Sequence[torch.Tensor], dim: int = 0) -> torch.Tensor:
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return tensors[0].new_empty(shape)


def _batch_norm(
    x: torch.Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *_: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Batch norm on the meta device; batch statistics exist in training only."""
    channels = x.shape[1] if training else 0
    return torch.empty_like(x), x.new_empty(channels), x.new_empty(channels)
