"""The operators of ONNX in torch: ``(attributes, *inputs) -> outputs``.

This module has the operators that work element by element or move elements; `layers` has the others. An input is a
tensor, an array if it is a constant or computed from sizes, or None if it is omitted. Specification:
https://onnx.ai/onnx/operators.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from tiler.errors import ModelError

Value = torch.Tensor | np.ndarray
Attributes = Mapping[str, Any]
Function = Callable[..., Sequence[Value]]

OPERATORS: dict[str, Function] = {}
_FLOATS = (1, 10, 11, 16)  # TensorProto.FLOAT, FLOAT16, DOUBLE, BFLOAT16


def operator(*names: str) -> Callable[[Function], Function]:
    """Register a function for operators of these names."""
    def register(function: Function) -> Function:
        OPERATORS.update(dict.fromkeys(names, function))
        return function
    return register


def not_read(what: str) -> ModelError:
    return ModelError(f"the ONNX file has {what}, which tiler does not read: give the network as TorchScript, or as "
                      "a factory", option="model")


def like(value: Any, x: torch.Tensor) -> torch.Tensor:
    """A constant with the dtype and device of a tensor."""
    return value if isinstance(value, torch.Tensor) else torch.as_tensor(value, dtype=x.dtype, device=x.device)


def integers(value: Any) -> list[int]:
    return [int(each) for each in np.atleast_1d(value)]


def _elementwise(function: Callable[..., torch.Tensor]) -> Function:
    def apply(attributes: Attributes, *values: Value) -> Sequence[Value]:
        tensor = next(value for value in values if isinstance(value, torch.Tensor))
        return [reduce(function, (like(value, tensor) for value in values))]
    return apply


def _plain(function: Callable[..., Any]) -> Function:
    return lambda attributes, x, *_: [function(x)]


PLAIN: dict[str, Callable[..., Any]] = {
    "Relu": F.relu, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Softplus": F.softplus, "Softsign": F.softsign,
    "Erf": torch.erf, "Exp": torch.exp, "Log": torch.log, "Sqrt": torch.sqrt, "Abs": torch.abs, "Neg": torch.neg,
    "Floor": torch.floor, "Reciprocal": torch.reciprocal, "HardSwish": F.hardswish, "Mish": F.mish,
    "Identity": lambda x: x, "Dropout": lambda x: x,
}
ELEMENTWISE: dict[str, Callable[..., Any]] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Pow": torch.pow, "MatMul": torch.matmul,
    "Sum": torch.add, "Max": torch.maximum, "Min": torch.minimum, "PRelu": lambda x, slope: x.clamp(min=0)
    + slope * x.clamp(max=0),
}
OPERATORS |= {name: _plain(function) for name, function in PLAIN.items()}
OPERATORS |= {name: _elementwise(function) for name, function in ELEMENTWISE.items()}


@operator("LeakyRelu")
def _leaky_relu(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    return [F.leaky_relu(x, attributes.get("alpha", 0.01))]


@operator("Elu")
def _elu(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    return [F.elu(x, attributes.get("alpha", 1.0))]


@operator("HardSigmoid")
def _hard_sigmoid(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    return [(x * attributes.get("alpha", 0.2) + attributes.get("beta", 0.5)).clamp(0, 1)]


@operator("Gelu")
def _gelu(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    return [F.gelu(x, approximate=attributes.get("approximate", b"none").decode())]


@operator("Softmax")
def _softmax(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    if attributes["opset"] < 13 and attributes.get("axis", 1) != x.ndim - 1:
        raise not_read("a soft-max of an opset before 13, which flattens its input")
    return [x.softmax(attributes.get("axis", -1))]


@operator("LogSoftmax")
def _log_softmax(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    return [x.softmax(attributes.get("axis", -1)).log()]


@operator("Clip")
def _clip(attributes: Attributes, x: torch.Tensor, low: Value | None = None, high: Value | None = None
          ) -> Sequence[Value]:
    """Bounds were attributes before opset 11."""
    bounds = [attributes.get(name) if value is None else float(np.asarray(value))
              for name, value in (("min", low), ("max", high))]
    return [x if bounds == [None, None] else x.clamp(*bounds)]


@operator("Cast")
def _cast(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    """Cast; ignored between floating-point types, because the user chooses the precision."""
    if x.is_floating_point() and attributes["to"] in _FLOATS:
        return [x]
    raise not_read("a cast of values of the image to an integer")


@operator("Shape")
def _shape(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    return [np.asarray(x.shape[attributes.get("start", 0):attributes.get("end")], np.int64)]


@operator("Concat")
def _concat(attributes: Attributes, *values: torch.Tensor) -> Sequence[Value]:
    return [torch.cat(values, attributes["axis"])]


@operator("Transpose")
def _transpose(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    return [x.permute(attributes.get("perm", list(range(x.ndim))[::-1]))]


@operator("Reshape")
def _reshape(attributes: Attributes, x: torch.Tensor, shape: Value) -> Sequence[Value]:
    copied = not attributes.get("allowzero", 0)
    return [x.reshape([x.shape[at] if size == 0 and copied else size for at, size in enumerate(integers(shape))])]


@operator("Flatten")
def _flatten(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    axis = attributes.get("axis", 1)
    return [x.flatten(axis).flatten(0, axis - 1) if axis else x.reshape(1, -1)]


def _axes(attributes: Attributes, axes: Value | None) -> list[int] | None:
    """The axes: an input from opset 13 on, an attribute before."""
    if axes is not None:
        return integers(axes)
    return list(attributes["axes"]) if "axes" in attributes else None


@operator("Unsqueeze")
def _unsqueeze(attributes: Attributes, x: torch.Tensor, axes: Value | None = None) -> Sequence[Value]:
    for axis in sorted(_axes(attributes, axes) or []):
        x = x.unsqueeze(axis)
    return [x]


@operator("Squeeze")
def _squeeze(attributes: Attributes, x: torch.Tensor, axes: Value | None = None) -> Sequence[Value]:
    chosen = _axes(attributes, axes)
    return [x.squeeze() if chosen is None else x.squeeze(tuple(chosen))]


@operator("Expand")
def _expand(attributes: Attributes, x: torch.Tensor, shape: Value) -> Sequence[Value]:
    return [x.expand(torch.broadcast_shapes(x.shape, tuple(integers(shape))))]


@operator("Slice")
def _slice(attributes: Attributes, x: torch.Tensor, starts: Value | None = None, ends: Value | None = None,
           axes: Value | None = None, steps: Value | None = None) -> Sequence[Value]:
    given = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    parts = {name: integers(attributes[name] if value is None else value) for name, value in given.items()
             if value is not None or name in attributes}
    index = [slice(None)] * x.ndim
    for at, (start, end) in enumerate(zip(parts["starts"], parts["ends"], strict=True)):
        step = parts["steps"][at] if "steps" in parts else 1
        if step < 1:
            raise not_read("a slice that runs backwards")
        index[parts["axes"][at] if "axes" in parts else at] = slice(start, end, step)
    return [x[tuple(index)]]


@operator("Split")
def _split(attributes: Attributes, x: torch.Tensor, sizes: Value | None = None) -> Sequence[Value]:
    axis = attributes.get("axis", 0)
    if sizes is None and "split" not in attributes:
        return x.chunk(attributes["outputs"], axis)
    return x.split(integers(attributes["split"] if sizes is None else sizes), axis)


@operator("Pad")
def _pad(attributes: Attributes, x: torch.Tensor, pads: Value | None = None, value: Value | None = None,
         axes: Value | None = None) -> Sequence[Value]:
    mode = {b"constant": "constant", b"reflect": "reflect", b"edge": "replicate"}.get(
        attributes.get("mode", b"constant"))
    if mode is None or axes is not None:
        raise not_read("padding in a mode of its own")
    both = integers(attributes["pads"] if pads is None else pads)
    flat = [side for low, high in reversed(list(zip(both[: x.ndim], both[x.ndim :], strict=True)))
            for side in (low, high)]
    if mode != "constant":  # torch supports it for the last axes only
        return [F.pad(x, flat[: 2 * (x.ndim - 2)], mode)]
    return [F.pad(x, flat, value=float(np.asarray(attributes.get("value", 0.0) if value is None else value)))]


@operator("DepthToSpace")
def _depth_to_space(attributes: Attributes, x: torch.Tensor) -> Sequence[Value]:
    if attributes.get("mode", b"DCR") != b"CRD":
        raise not_read("DepthToSpace in DCR mode")
    return [F.pixel_shuffle(x, attributes["blocksize"])]
