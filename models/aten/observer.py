"""Observers of a network's operations, which leave the network unchanged.

Under a dispatch mode, and for tensors without values, torch runs many operators in Python and first imports its
compiler, which takes longer than all other work of opening a network. The operators of a U-Net avoid that here.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

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
        shaped = _SHAPED.get(func)
        if shaped is not None and not kwargs and args[0].is_meta:
            return shaped(*args)
        if func in _ELEMENTWISE and not kwargs and len(args) == 2 and _same_kind(*args):
            return args[0].new_empty(torch.broadcast_shapes(*(tensor.shape for tensor in args)))
        return func(*args, **kwargs)


class Shapes(Observer):
    """An observer that sees nothing: passes on the meta device without the compiler."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = shapes_alone((args, kwargs or {}))
        if func is aten.cat.default:
            _check_joined(*args, **kwargs)
        return self.run(func, args, kwargs)


def shapes_alone(call: Any) -> Any:
    """The arguments of a call, with tensors that the network made on the CPU moved to the meta device."""
    if not any(isinstance(leaf, torch.Tensor) and leaf.is_meta for leaf in tree_leaves(call)):
        return call
    return tree_map(lambda leaf: leaf.to("meta") if isinstance(leaf, torch.Tensor) and leaf.ndim and not leaf.is_meta
                    else leaf, call)


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


def _check_joined(tensors: Sequence[torch.Tensor], dim: int = 0) -> None:
    """Refuse tensors that differ in more than the axis along which they are joined, as torch does."""
    shapes = {(*tensor.shape[: dim % tensor.ndim], *tensor.shape[dim % tensor.ndim + 1 :]) for tensor in tensors
              if tensor.shape != (0,)}
    if len(shapes) > 1:
        raise RuntimeError(f"it joins tensors of {' and '.join(str(tuple(tensor.shape)) for tensor in tensors)}")


def _batch_norm(
    x: torch.Tensor, weight: Any, bias: Any, mean: Any, variance: Any, training: bool, *_: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Batch norm on the meta device; batch statistics exist in training only."""
    channels = x.shape[1] if training else 0
    return torch.empty_like(x), x.new_empty(channels), x.new_empty(channels)


def _layer_norm(x: torch.Tensor, shape: Sequence[int], *_: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Layer norm on the meta device."""
    kept = (*x.shape[: x.ndim - len(shape)], *(1 for _ in shape))
    return torch.empty_like(x), x.new_empty(kept), x.new_empty(kept)


def _resized(x: torch.Tensor, size: Sequence[int] | None, *others: Any) -> torch.Tensor:
    """A resize on the meta device, to a size or by the factors that come last."""
    if size is None:
        size = [math.floor(side * factor) for side, factor in zip(x.shape[2:], others[-1], strict=True)]
    return x.new_empty((*x.shape[:2], *size))


def _alike_one(x: torch.Tensor, *_: Any) -> torch.Tensor:
    """A result of the same shape and type, on the meta device."""
    return torch.empty_like(x)


def _scaled(x: torch.Tensor, number: float, *_: Any) -> torch.Tensor:
    """A floating-point tensor and a number, on the meta device."""
    return torch.empty_like(x) if x.is_floating_point() else x * number  # the type may change


def _same_kind(one: Any, other: Any) -> bool:
    """Whether both are tensors of one type on the meta device."""
    return (isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor) and one.is_meta and other.is_meta
            and one.dtype == other.dtype)


_RESIZES = [getattr(aten, f"upsample_{name}") for name in
            ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d", "trilinear3d", "bicubic2d")]
_SHAPED: dict[Any, Callable[..., Any]] = {
    aten.native_batch_norm.default: _batch_norm, aten.native_layer_norm.default: _layer_norm,
    **dict.fromkeys((aten.add.Scalar, aten.sub.Scalar, aten.mul.Scalar, aten.div.Scalar), _scaled),
    **dict.fromkeys((aten._softmax.default, aten._safe_softmax.default, aten.gelu.default), _alike_one),
    **{overload: _resized for resize in _RESIZES for overload in (resize.default, resize.vec)}}
"""Operators whose results follow from their shapes, on the meta device."""
_ELEMENTWISE = frozenset({aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor})
