"""Cost of one forward pass: operations and memory, from shapes alone.

One pass on the meta device under a dispatch mode sees every aten operation, of Modules and of ScriptModules
alike, and every storage while it lives. The process takes more than those live tensors: `overhead` says how
much, per backend and type, as measured by ``tests/benchmarks/memory_factor.py``.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from tiler.errors import MemoryBudgetError, ModelError
from tiler.models.aten.observer import Observer
from tiler.models.loading.loaded_model import LoadedModel

Size = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Overhead:
    """Memory of a pass beyond its parameters and live tensors.

    Parameters
    ----------
    factor
        Factor on the bytes of live tensors.
    heap_share, heap
        Memory that the allocator keeps after tensors below its mapping threshold are freed, and the library's own
        copies of the weights: a share of live tensors and parameters, and its upper limit in bytes.
    copies
        Copies of the parameters: the network's own, and those that a runtime makes while opening the network.
    """

    factor: float
    heap_share: float
    heap: int
    copies: float = 1.0

    def peak(self, live: int, parameters: int) -> int:
        """Bytes by which the process grows."""
        heap = min(self.heap, self.heap_share * (live + parameters))
        return int(self.copies * parameters + self.factor * live + heap)


_MIB = 2**20
# On the CPU: oneDNN in torch 2.13, glibc, channels_last, two threads, U-Nets of base 8 to 64 at tiles of 204 to
# 1148: planned over measured was 1.05 to 1.31 for the pass and 1.03 to 1.16 for the whole process. glibc maps
# blocks above 32 MiB one by one and gives them back; smaller ones stay in its heap, so that what it keeps does
# not grow with the tile.
_CPU = Overhead(1.0, 0.75, 128 * _MIB)
# Types without oneDNN kernels: convolutions unfold their input, which `trace` counts; the factor is for the rest.
_CPU_UNFOLDED = Overhead(1.1, 0.75, 128 * _MIB)
# Not measured: the caching allocator rounds up, and the library's workspaces come on top.
_ACCELERATOR = Overhead(1.2, 0.75, 128 * _MIB)
# OpenVINO 2026.4 and ONNX Runtime 1.31, as above, opening and torch's pass beside it included: U-Nets of base 16 to
# 64 at tiles of 412 to 1148, planned over measured 0.99 to 1.25. Both pad channels to 16, so that a network of base 8
# takes up to 1.6 times what is planned.
_EXPORTED = {"openvino": Overhead(1.3, 4.0, 75 * _MIB, 3.4), "onnxruntime": Overhead(3.0, 4.0, 45 * _MIB, 4.0)}


def overhead(device: str, dtype: torch.dtype, backend: str = "torch") -> Overhead:
    """The memory overhead of a backend on a device, for a dtype of activations."""
    if device != "cpu":
        return _ACCELERATOR
    if backend in _EXPORTED:
        return _EXPORTED[backend]
    return _CPU_UNFOLDED if unfolds(dtype) else _CPU


def unfolds(dtype: torch.dtype) -> bool:
    """Whether a convolution on the CPU unfolds its input into a matrix (im2col), because it has no better kernel."""
    if dtype == torch.float16:
        return not torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return dtype == torch.float64


@dataclass(frozen=True, slots=True)
class Trace:
    """Cost of one forward pass.

    Parameters
    ----------
    flops
        Operations; a multiply-add counts as two, operations other than products (pooling, activations) as none.
    live
        Peak bytes of all live tensors, including input and output, without parameters.
    shape
        Shape of the output.
    exact
        Whether the figures were traced at this shape rather than extrapolated.
    ends
        "softmax" or "sigmoid" if that is the last operation of the network, else "".
    """

    flops: float
    live: int
    shape: Size
    exact: bool = True
    ends: str = ""


ENDS = {"_softmax": "softmax", "softmax": "softmax", "sigmoid": "sigmoid", "sigmoid_": "sigmoid"}
"""Operations that return probabilities."""


def trace(
    module: nn.Module, shape: Size, dtype: torch.dtype, unfolded: bool = False, device: str | None = None
) -> Trace:
    """Follow one pass through a module on the meta device, or on any other.

    Parameters
    ----------
    module
        The module, in evaluation mode.
    shape
        Shape of the input, ``(n, c, [z], y, x)``.
    dtype
        Number format of the input and the parameters.
    unfolded
        Whether convolutions unfold their input; see `unfolds`.
    device
        Where the module runs; None means where its parameters are.
    """
    # Not inference mode, in which convolutions stay hidden inside composite operations.
    with torch.no_grad(), _Watch(unfolded) as watch:
        device = device or next((p.device.type for p in module.parameters()), "cpu")
        image = torch.zeros(shape, dtype=dtype, device=device)
        output = module(image)
    return Trace(watch.flops, watch.peak, tuple(output.shape), ends=ENDS.get(watch.last, ""))


def extrapolate(shape: Size, small: Mapping[Size, Trace]) -> Trace:
    """Extrapolate a trace of `shape` from smaller ones, one more than there are spatial axes.

    Operations and bytes of a convolutional network are polynomials in the side of its input; their degree is the
    number of spatial axes. If the peak moves to another layer between the small traces, the polynomial bends the
    wrong way; growth in proportion to the voxels, from the largest trace, is therefore the lower limit.
    """
    sides = [_side(size) for size in small]
    largest, last = list(small.items())[-1]
    share = math.prod(shape) / math.prod(largest)

    def at(name: str) -> float:
        values = [float(getattr(found, name)) for found in small.values()]
        fitted = float(np.polyval(np.polyfit(sides, values, len(sides) - 1), _side(shape)))
        return max(fitted, values[-1] * share) if share > 1 else max(fitted, 0.0)

    grown = (out + size - own for out, size, own in zip(last.shape[2:], shape[2:], largest[2:], strict=True))
    return Trace(at("flops"), int(at("live")), (*last.shape[:2], *grown), exact=False, ends=last.ends)


def _side(shape: Size) -> float:
    """Side of the cube with as many voxels as `shape`."""
    return math.prod(shape[2:]) ** (1 / len(shape[2:]))


class _Watch(Observer):
    """Counts operations and the bytes of live storages."""

    def __init__(self, unfolds: bool) -> None:
        super().__init__()
        self._unfolds = unfolds
        self.flops = 0.0
        self.live = 0
        self.peak = 0
        self.last = ""
        self._known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = self.run(func, args, kwargs or {})
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        if "detach" not in (name := func._overloadpacket.__name__):
            self.last = name
        given = {id(leaf.untyped_storage()) for leaf in _tensors((args, kwargs))}
        for leaf in _tensors(out):
            if id(leaf.untyped_storage()) not in given:
                self._see(leaf.untyped_storage())
        if func is torch.ops.aten.convolution.default and self._unfolds:
            self.peak = max(self.peak, self.live + _unfolded(out, *args))
        return out

    def _see(self, storage: torch.UntypedStorage) -> None:
        key = id(storage)
        if key in self._known:
            return
        self._known.add(key)
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._forget, key, storage.nbytes())

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.live -= size


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor))


def _unfolded(out: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *rest: Any) -> int:
    """Bytes of a convolution's unfolded input matrix: every voxel once per tap of the kernel."""
    transposed = rest[4]
    voxels = (x if transposed else out).shape[2:]
    return out.shape[0] * math.prod(voxels) * weight[0].numel() * x.element_size()


class Tracer:
    """Traces of one network, each computed once per size; pickling drops them.

    Parameters
    ----------
    model
        The network.
    dtype
        Number format of parameters and activations.
    unfolded
        Whether convolutions unfold their input; see `unfolds`.
    small
        Legal input shapes ``(1, c, [z], y, x)``, one more than there are spatial axes, the smallest first, to
        measure if the network does not run on the meta device.
    """

    def __init__(self, model: LoadedModel, dtype: torch.dtype, unfolded: bool, small: tuple[Size, ...]) -> None:
        self._model, self._dtype, self._unfolded, self._small = model, dtype, unfolded, small
        self._traces: dict[Size, Trace] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._model, self._dtype, self._unfolded, self._small)

    def at(self, shape: Size) -> Trace:
        """Trace one pass over an input of that shape."""
        if shape not in self._traces:
            if self._solid is None:
                found = self._trace(self._meta, shape)
            else:
                found = extrapolate(shape, {size: self._trace(self._solid, size) for size in self._small})
            self._traces[shape] = found
        return self._traces[shape]

    def _trace(self, module: nn.Module, shape: Size) -> Trace:
        try:
            # A network without parameters does not show where it is.
            device = "meta" if module is self._meta else None
            return trace(module, shape, self._dtype, self._unfolded, device)
        except (RuntimeError, ValueError) as error:
            size = "x".join(map(str, shape[2:]))
            if "overflow" in str(error):  # the bytes of a map exceed torch's integers
                raise MemoryBudgetError(f"an input of {size} needs more memory than any machine has: lower `tile`"
                                        ) from None
            raise ModelError(f"the network does not take an input of {size}: {str(error).splitlines()[0]}") from error

    @cached_property
    def parameters(self) -> int:
        """Bytes of all parameters and buffers."""
        state = self._meta.state_dict().values()
        return sum(value.numel() * self._itemsize(value) for value in state)

    def _itemsize(self, value: torch.Tensor) -> int:
        return self._dtype.itemsize if value.is_floating_point() else value.dtype.itemsize

    @cached_property
    def _meta(self) -> nn.Module:
        return self._model.meta().to(self._dtype)

    @cached_property
    def _solid(self) -> nn.Module | None:
        """The network with values, for networks whose pass fails without them."""
        try:
            self._trace(self._meta, self._small[0])
        except Exception:
            return self._model.build().to(self._dtype)
        return None
