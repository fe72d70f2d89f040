"""Translate ONNX files to torch modules, operator by operator, to trace and prove them like any other network.

(Rejected: onnx2torch, which needs torchvision; to run them in ONNX Runtime alone, where no proof by NaN holds.)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import nn

from tiler.errors import ModelError
from tiler.models.loading.files import ModelFile
from tiler.models.loading.foreign import layers  # noqa: F401 - registers its operators
from tiler.models.loading.foreign.operators import OPERATORS, Value, like
from tiler.models.loading.user_code import first_line

INPUT_RANKS = (4, 5)
WEIGHTED = frozenset({"Conv", "ConvTranspose", "BatchNormalization", "InstanceNormalization", "LayerNormalization",
                      "Gemm", "MatMul", "PRelu"})
"""Operators with learnt constants."""
HOST_ONLY = frozenset({"ConstantOfShape", "Range", "Equal", "Where", "Ceil", "Mod", "Greater", "Less", "Not", "And",
                       "Or", "Gather", "GatherND", "ScatterND", "NonZero", "ReduceProd"})
HOST = HOST_ONLY | {"Concat", "Slice", "Cast", "Squeeze", "Unsqueeze", "Reshape", "Add", "Sub", "Mul", "Div", "Min",
                    "Max", "Neg", "Identity", "Split", "Transpose", "Expand", "Floor", "Sqrt", "Pow"}
"""Operators that compute with sizes; if they apply to the image itself, torch runs them."""


@dataclass(frozen=True, slots=True)
class OnnxRecipe:
    """An ONNX file, which holds only data."""

    file: ModelFile

    def build(self) -> nn.Module:
        onnx = onnx_library()
        try:
            model = onnx.load_model_from_string(self.file.read())
            onnx.checker.check_model(model)
            model = with_shapes(model)
        except ModelError:
            raise
        except Exception as error:  # protobuf's and the checker's own, and files of weights that lie elsewhere
            raise ModelError(f"{self.file} is no whole ONNX file: {first_line(error)}", option="model") from error
        return OnnxNetwork(model, str(self.file))

    def meta(self) -> nn.Module:
        return self.build().to("meta")


def onnx_library() -> Any:
    """The package onnx.

    Raises
    ------
    ModelError
        If it is not installed.
    """
    try:
        import_module("onnx.reference")
        return import_module("onnx")
    except ModuleNotFoundError as error:
        raise ModelError("ONNX files need the package onnx: pip install 'em-tiler[onnx]'", option="model") from error


class OnnxNetwork(nn.Module):
    """The graph of an ONNX model, in torch.

    Parameters
    ----------
    model
        Model with inferred shapes, one input ``(n, c, [z], y, x)`` and one output.
    name
        Name of the model, for messages.

    Notes
    -----
    onnx's reference implementation computes sizes in numpy; torch computes the rest. A graph exported for one size
    runs at others too, unless it holds constants that depend on the size; interpolation to a fixed size becomes
    interpolation by the corresponding factor.
    """

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        graph = model.graph
        shapes = _shapes(graph)
        constants = _constants(graph)
        inputs = [each.name for each in graph.input if each.name not in constants]
        if len(inputs) != 1 or len(graph.output) != 1:
            raise ModelError(f"{name} has {len(inputs)} inputs and {len(graph.output)} outputs, one of each is "
                             "needed", option="model")
        self.image, self.result = inputs[0], graph.output[0].name
        shape = shapes.get(self.image, ())
        if len(shape) not in INPUT_RANKS or not isinstance(shape[1], int):
            raise ModelError(f"{name} takes an input of shape {list(shape)}, (n, channels, [z], y, x) with a known "
                             "number of channels is needed", option="model")
        self.in_channels, self.ndim = shape[1], len(shape) - 2
        self.constants = constants
        opset = next(each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
        nodes = [node for node in graph.node if not set(node.output) & constants.keys()]
        self.operators = nn.ModuleList(Operator(node, opset, constants, shapes, name) for node in nodes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: dict[str, Value] = {**self.constants, self.image: x}
        operators: Iterable[Any] = self.operators
        for operator in operators:
            results = operator([values[name] if name else None for name in operator.inputs])
            values.update(zip(operator.outputs, results, strict=False))
        result = values[self.result]
        return result if isinstance(result, torch.Tensor) else torch.as_tensor(result)


class Operator(nn.Module):
    """One node of the graph with its weights.

    Parameters
    ----------
    node
        Node of the graph.
    opset
        Opset version of the model.
    constants
        Constants by name; the node's weights become its parameters.
    shapes
        Known shapes by name.
    name
        Name of the model, for messages.
    """

    def __init__(
        self, node: Any, opset: int, constants: Mapping[str, np.ndarray], shapes: Mapping[str, Sequence[Any]], name: str
    ) -> None:
        super().__init__()
        if node.op_type not in OPERATORS and node.op_type not in HOST_ONLY:
            raise ModelError(f"{name} has the operator {node.op_type}, which tiler does not read: give the network "
                             "as TorchScript or as a factory", option="model")
        onnx = import_module("onnx")
        self.original_name = node.op_type  # from which the probe reads the type of a layer
        self.inputs, self.outputs = list(node.input), list(node.output)
        self.attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        self.attributes |= {"opset": opset, "outputs": len(self.outputs), "growth": _growth(node, shapes)}
        self.host = Host(node, opset) if node.op_type in HOST else None
        self.weights = dict[int, str]()
        for at, each in enumerate(node.input):
            if at and node.op_type in WEIGHTED and each in constants and constants[each].dtype.kind == "f":
                self.weights[at] = ("weight", "bias", "mean", "var")[min(at, 4) - 1]
                value = torch.from_numpy(constants[each].astype(np.float32))
                self.register_parameter(self.weights[at], nn.Parameter(value, requires_grad=False))

    def forward(self, values: list[Value | None]) -> Sequence[Value]:
        given = [getattr(self, self.weights[at]) if at in self.weights else value for at, value in enumerate(values)]
        if self.host is not None and not any(isinstance(value, torch.Tensor) for value in given):
            return self.host({name: value for name, value in zip(self.inputs, given, strict=True) if name})
        if self.original_name not in OPERATORS:
            raise ModelError(f"{self.original_name} of values of the image is not understood: give the network as "
                             "TorchScript or as a factory", option="model")
        if self.original_name in WEIGHTED:  # weights that the graph computes
            image = next(value for value in given if isinstance(value, torch.Tensor))
            given = [value if value is None else like(value, image) for value in given]
        return OPERATORS[self.original_name](self.attributes, *given)


def with_shapes(model: Any) -> Any:
    """The same model with inferred shapes, as far as they follow from the input's shape."""
    return onnx_library().shape_inference.infer_shapes(model, data_prop=True)


def _growth(node: Any, shapes: Mapping[str, Sequence[Any]]) -> list[float] | None:
    """Growth factor of a node's result over its input, axis by axis; None if sizes are free."""
    before, after = (shapes.get(names[0] if names else "", ())[2:] for names in (node.input, node.output))
    if not before or len(before) != len(after) or not all(isinstance(size, int) for size in (*before, *after)):
        return None
    return [out / size for out, size in zip(after, before, strict=True)]


class Host:
    """A node that computes sizes with onnx's reference implementation; it has no state, so copies share it."""

    def __init__(self, node: Any, opset: int) -> None:
        self.evaluator = import_module("onnx.reference").ReferenceEvaluator(node, opsets={"": opset})

    def __deepcopy__(self, memo: dict[int, Any]) -> Host:
        return self

    def __call__(self, feeds: Mapping[str, Any]) -> Sequence[Value]:
        results: Sequence[Value] = self.evaluator.run(None, dict(feeds))
        return results


def _shapes(graph: Any) -> dict[str, tuple[Any, ...]]:
    """Shapes by name: sizes as numbers if known, else as symbolic names, or nothing."""
    found = {}
    for each in (*graph.input, *graph.value_info, *graph.output):
        sizes = each.type.tensor_type.shape.dim
        found[each.name] = tuple(size.dim_value or size.dim_param or None for size in sizes)
    return found


def _constants(graph: Any) -> dict[str, np.ndarray]:
    helper = import_module("onnx.numpy_helper")
    found = {each.name: np.array(helper.to_array(each)) for each in graph.initializer}  # theirs are read-only
    for node in graph.node:
        if node.op_type == "Constant":
            found[node.output[0]] = _constant(node.attribute[0], helper)
        if node.op_type == "Identity" and node.input[0] in found:  # weights of equal values are kept once
            found[node.output[0]] = found[node.input[0]]
    return found


def _constant(attribute: Any, helper: Any) -> np.ndarray:
    value = import_module("onnx").helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return np.array(helper.to_array(value))
    return np.asarray(value, np.float32 if attribute.name.startswith("value_float") else np.int64)
