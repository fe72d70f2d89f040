"""The interface between the trace and its rules: a call of an operator, and a rule's answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from tiler.models.probe.graph import UNIFORM, Atom, Dim, Dims, Evenness, Kind, Node, axes_of
from tiler.models.probe.maps import Map


class NotUnderstoodError(Exception):
    """A rule cannot handle a call."""


@dataclass(slots=True)
class Derived:
    """A rule's answer for one output of a call.

    Parameters
    ----------
    dims
        Places of the image's axes in the dimensions of the output.
    uses
        Numbers of the nodes that the call reads, each with the maps of those axes that do not stay unchanged.
    kind, why
        How to report the layer if it needs a whole axis.
    """

    dims: Dims
    uses: Sequence[tuple[int, Mapping[int, Map]]]
    kind: Kind = "global"
    why: str = "depends on the whole input"


@dataclass(slots=True)
class Call:
    """An aten operator with its arguments by name.

    Parameters
    ----------
    node_of
        Returns the number of a tensor's node, or None if the tensor does not depend on the network's input.
    node
        Returns a node by its number.
    uniform
        Tells whether a tensor that does not depend on the input has the same value everywhere.
    """

    op: str
    args: Mapping[str, Any]
    outputs: Sequence[torch.Tensor]
    node_of: Callable[[Any], int | None]
    node: Callable[[int], Node]
    uniform: Callable[[torch.Tensor], bool]
    problems: list[tuple[Kind, str]] = field(default_factory=list)
    strided: list[Evenness] = field(default_factory=list)
    padded: bool = False

    def offend(self, kind: Kind, reason: str) -> None:
        """Record that this call prevents exact tiling, whatever its maps are."""
        self.problems.append((kind, reason))

    def source(self, name: str = "self") -> tuple[int, Node]:
        """Return the node of an argument that must depend on the input."""
        number = self.node_of(self.args[name])
        if number is None:
            raise NotUnderstoodError(f"its {name} does not come from the input")
        return number, self.node(number)

    def tensors(self) -> list[torch.Tensor]:
        """Return all tensors among the arguments."""
        return [leaf for leaf in torch.utils._pytree.tree_leaves(self.args) if isinstance(leaf, torch.Tensor)]


def single_axis(dim: Dim) -> int | None:
    """Return the axis of the image that a dimension holds, or None."""
    axes = axes_of([dim])
    if len(axes) > 1 or (axes and len([a for a in dim if a.size > 1]) > 1):
        raise NotUnderstoodError("several axes merged into one dimension")
    return axes[0] if axes else None


def resized(dim: Dim, size: int) -> Dim:
    """Return the same dimension with another size."""
    axis = single_axis(dim)
    if axis is None and all(atom.axis == UNIFORM or atom.size == 1 for atom in dim):
        axis = UNIFORM
    return (Atom(axis, size),)


def plain(size: int) -> Dim:
    """Return a dimension without any axis of the image."""
    return (Atom(None, size),)


def joined(call: Call, tensors: Sequence[torch.Tensor], shape: Sequence[int], free: int | None = None) -> Dims:
    """Return the dimensions of tensors that are broadcast together; ``free`` may differ, as in a concatenation."""
    dims = []
    for at, size in enumerate(shape):
        parts = [part for tensor in tensors if (part := _aligned(call, tensor, at, len(shape))) is not None]
        dims.append(plain(size) if at == free else _joined_dim(call, parts, size))
    return tuple(dims)


def _aligned(call: Call, tensor: torch.Tensor, at: int, rank: int) -> Dim | None:
    """Return a tensor's dimension at position ``at`` of the result, aligned at the last; None if it has none."""
    own = at - (rank - tensor.ndim)
    if own < 0:
        return None
    number = call.node_of(tensor)
    if number is not None:
        return call.node(number).dims[own]
    constant = tensor.shape[own] == 1 or tensor.stride(own) == 0 or call.uniform(tensor)
    return (Atom(UNIFORM if constant else None, tensor.shape[own]),)


def _joined_dim(call: Call, parts: Sequence[Dim], size: int) -> Dim:
    labelled = [part for part in parts if axes_of([part])]
    if not labelled:
        varying = any(atom.axis is None and atom.size > 1 for part in parts for atom in part)
        return (Atom(None if varying else UNIFORM, size),)
    if len({tuple(axes_of([part])) for part in labelled}) > 1:
        raise NotUnderstoodError("different axes of the image meet in one dimension")
    if any(atom.axis is None and atom.size > 1 for part in parts if part not in labelled for atom in part):
        call.offend("position", "adds or multiplies values that depend on the position in its input")
    return labelled[0]


def regrouped(dims: Dims, shape: Sequence[int]) -> Dims:
    """Return the dimensions after a view; atoms merge freely, but an axis of the image is never split."""
    atoms = [atom for dim in dims for atom in dim if atom.size != 1]
    result = []
    for size in shape:
        group: list[Atom] = []
        left = int(size)
        while left > 1:
            atom = atoms.pop(0)
            if left % atom.size:
                if atom.size % left or axes_of([(atom,)]):
                    raise NotUnderstoodError("a view that splits an axis of the image")
                atoms.insert(0, Atom(atom.axis, atom.size // left))
                atom = Atom(atom.axis, left)
            group.append(atom)
            left //= atom.size
        result.append(tuple(group) or plain(1))
    return tuple(result)


def numbers(value: Any, count: int) -> list[int]:
    """Return ``count`` integers from an argument that may hold a single one for all."""
    values = [int(v) for v in (value if isinstance(value, Sequence) else [value])]
    return values * count if len(values) == 1 else values


def elements(dims: Dims) -> int:
    """Return the number of elements of a tensor."""
    return math.prod(atom.size for dim in dims for atom in dim)
