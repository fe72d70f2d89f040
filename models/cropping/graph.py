"""A forward pass as a list of operators, recorded from shapes without data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from tiler.models.aten.modules import quiet
from tiler.models.aten.observer import Observer, operator_name

Size = tuple[int, ...]


class NotCroppableError(Exception):
    """A network with an operator that cannot be computed in parts; it runs as a whole and is then cropped."""


@dataclass(frozen=True, slots=True)
class Ref:
    """Result of another node."""

    node: int


@dataclass(frozen=True, slots=True)
class Weight:
    """A parameter or buffer of the network."""

    name: str
    shape: Size


@dataclass(frozen=True, slots=True)
class Node:
    """One call of an aten operator.

    Parameters
    ----------
    op
        Name of the operator without namespace, overload and the underscore of its in-place form.
    func
        Overload that was called.
    args
        Arguments by name; `Ref` and `Weight` stand for tensors.
    shape
        ``(n, c, *size)``: shape of the first result.
    """

    op: str
    func: Any
    args: Mapping[str, Any]
    shape: Size

    @property
    def size(self) -> Size:
        return self.shape[2:]

    @property
    def refs(self) -> list[int]:
        return [leaf.node for leaf in _leaves(self.args) if isinstance(leaf, Ref)]


@dataclass(frozen=True, slots=True)
class Graph:
    """All recorded nodes, including those that do not lead to the output; node 0 is the input."""

    nodes: Sequence[Node]
    output: int

    @property
    def live(self) -> list[int]:
        """Numbers of the nodes that lead to the output, in order, without the input."""
        needed = {self.output}
        for number in range(self.output, 0, -1):
            if number in needed:
                needed.update(self.nodes[number].refs)
        return sorted(needed - {0})


def _leaves(tree: Any) -> list[Any]:
    return tree_leaves(tree, is_leaf=lambda leaf: isinstance(leaf, (Ref, Weight)))


class _Recorder(Observer):
    """Records every call that depends on the input."""

    def __init__(self, module: nn.Module, image: torch.Tensor) -> None:
        super().__init__()
        named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
        self.nodes = [Node("input", None, {}, tuple(image.shape))]
        self.known: dict[int, Ref | Weight] = {
            id(tensor): Weight(name, tuple(tensor.shape)) for name, tensor in named.items()}
        self.known[id(image)] = Ref(0)
        self.shared: set[int] = set()
        self.alive: list[Any] = [image, *named.values()]  # an id identifies a tensor only as long as it lives

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _by_name(func, args, kwargs or {})
        storages = {id(leaf.untyped_storage()) for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)}
        result = self.run(func, args, kwargs or {})
        first = result[0] if isinstance(result, (tuple, list)) else result
        if isinstance(first, torch.Tensor):
            self.alive += [first, first.untyped_storage()]
            self._note(func, given, first, storages)
        return result

    def _note(self, func: Any, given: dict[str, Any], first: torch.Tensor, storages: set[int]) -> None:
        args = tree_map(lambda leaf: self.known.get(id(leaf), leaf) if isinstance(leaf, torch.Tensor) else leaf, given)
        storage = id(first.untyped_storage())
        op = operator_name(func)
        if func._schema.is_mutable and (storage in self.shared or first._base is not None):
            op = f"{op} in place of a tensor that has views"
        elif storage in storages and not func._schema.is_mutable:
            self.shared.add(storage)
        if not any(isinstance(leaf, Ref) for leaf in _leaves(args)):
            return  # computed from weights and numbers only; calls that read its result have no rule
        if any(isinstance(leaf, torch.Tensor) for leaf in _leaves(args)):
            op = f"{op} of what is computed on the way"
        self.known[id(first)] = Ref(len(self.nodes))
        self.nodes.append(Node(op, func, args, tuple(first.shape)))


def _by_name(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    schema = func._schema.arguments
    return {**dict(zip((argument.name for argument in schema), args, strict=False)), **kwargs}


def record(module: nn.Module, shape: Size) -> Graph:
    """Record the operators of one pass.

    Parameters
    ----------
    module
        Network on the meta device, in evaluation mode.
    shape
        ``(1, c, [z], y, x)``: shape of the input.

    Raises
    ------
    NotCroppableError
        The network does not run without data, or returns anything but a map of its input.
    """
    like = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), None)
    if like is None or like.device.type != "meta":
        raise NotCroppableError("the network does not live on the meta device")
    try:
        # In inference mode composite operators hide their parts, and so do operators that TorchScript fuses.
        with quiet(), torch.inference_mode(False), torch.no_grad(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            image = torch.zeros(shape, dtype=like.dtype, device="meta")
            recorder = _Recorder(module, image)
            with recorder:
                output = module(image)
    except Exception as error:  # a network may raise any error without data
        raise NotCroppableError(f"the network does not run without data: {error}") from error
    place = recorder.known.get(id(output))
    if not isinstance(output, torch.Tensor) or not isinstance(place, Ref) or output.ndim != len(shape):
        raise NotCroppableError("the network returns something else than a map of its input")
    return Graph(tuple(recorder.nodes), place.node)
