"""What follows the operations of a network without being part of it.

Where it is looked at, and where tensors have no values, torch works out much in Python, for which it first imports its
compiler: that takes longer than all else when a network is opened. What a U-Net needs goes without it.
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
    """A dispatch mode that calls operations by `run`, and is hidden from torch's compiler once that is there."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch annotates no dispatch mode
        if "torch._dynamo" in sys.modules:  # else no network is compiled
            hidden = torch.compiler.disable(type(self).__torch_dispatch__)
            self.__torch_dispatch__ = MethodType(hidden, self)  # type: ignore[method-assign]

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: torch would import its compiler to hide the mode from it."""
        return False

    @staticmethod
    def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """What an aten operation gives."""
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
    """Whether they are all without values, of one type and of as many axes."""
    return all(tensor.is_meta for tensor in tensors) and len({(tensor.ndim, tensor.dtype) for tensor in tensors}) == 1


def _cat(tensors: Sequence[torch.Tensor], dim: int = 0) -> torch.Tensor:
    shape = list(tensors[0].shape)
    shape[dim] = sum(tensor.shape[dim] for tensor in tensors)
    return tensors[0].new_empty(shape)


def _batch_norm(
    x: torch.Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *_: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Only in training are there statistics of the batch."""
    channels = x.shape[1] if training else 0
    return torch.empty_like(x), x.new_empty(channels), x.new_empty(channels)
