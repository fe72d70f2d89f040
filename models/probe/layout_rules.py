"""Rules for operators that only rearrange elements: permutations, views, slices, concatenations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from tiler.models.probe.call import Call, Derived, NotUnderstoodError, joined, plain, regrouped, single_axis
from tiler.models.probe.graph import UNIFORM, Atom, Dims, Evenness, axes_of
from tiler.models.probe.maps import Map, Window
from tiler.models.probe.rules import rule


@rule("permute")
def permute(call: Call) -> list[Derived]:
    number, node = call.source()
    return [Derived(tuple(node.dims[d] for d in call.args["dims"]), [(number, {})])]


@rule("transpose", "t")
def transpose(call: Call) -> list[Derived]:
    number, node = call.source()
    dims = list(node.dims)
    a, b = call.args.get("dim0", 0), call.args.get("dim1", -1)
    if len(dims) > 1:
        dims[a], dims[b] = dims[b], dims[a]
    return [Derived(tuple(dims), [(number, {})])]


@rule("view", "_unsafe_view", "_reshape_alias", "reshape")
def view(call: Call) -> list[Derived]:
    number, node = call.source()
    return [Derived(regrouped(node.dims, call.outputs[0].shape), [(number, {})])]


@rule("unsqueeze", "squeeze")
def squeeze(call: Call) -> list[Derived]:
    """Only dimensions of size 1 are added or removed, so the others keep their order."""
    number, node = call.source()
    wide = [dim for dim in node.dims if _size(dim) != 1]
    dims = tuple(plain(1) if size == 1 else wide.pop(0) for size in call.outputs[0].shape)
    return [Derived(dims, [(number, {})])]


def _size(dim: Sequence[Atom]) -> int:
    return math.prod(atom.size for atom in dim)


@rule("expand", "repeat")
def expand(call: Call) -> list[Derived]:
    number, node = call.source()
    shape = call.outputs[0].shape
    padded: Dims = (plain(1),) * (len(shape) - len(node.dims)) + node.dims
    dims = []
    for dim, size in zip(padded, shape, strict=True):
        if _size(dim) == size:
            dims.append(dim)
        elif _size(dim) == 1:
            dims.append((Atom(UNIFORM, size),))
        elif axes_of([dim]):
            raise NotUnderstoodError("repeats an axis of the image")
        else:
            dims.append(plain(size))
    return [Derived(tuple(dims), [(number, {})])]


@rule("slice")
def slice_(call: Call) -> list[Derived]:
    number, node = call.source()
    at = call.args["dim"] % len(node.dims)
    axis, size = single_axis(node.dims[at]), _size(node.dims[at])
    start, _, step = slice(call.args["start"], call.args["end"], call.args["step"]).indices(size)
    if axis is None:
        return [Derived(_with(node.dims, at, plain(call.outputs[0].shape[at])), [(number, {})])]
    call.strided.append(Evenness(axis, (size - start) % step == 0, (size - start) % step == 0))
    return [_shifted(call, number, at, axis, Window(step, -start), 0)]


@rule("unfold")
def unfold(call: Call) -> list[Derived]:
    """Windows along one dimension; their elements form a new last dimension."""
    number, node = call.source()
    at, size, step = call.args["dimension"] % len(node.dims), call.args["size"], call.args["step"]
    axis, windows = single_axis(node.dims[at]), call.outputs[0].shape[at]
    if axis is None:
        return [Derived((*_with(node.dims, at, plain(windows)), plain(size)), [(number, {})])]
    even = (_size(node.dims[at]) - size) % step == 0
    call.strided.append(Evenness(axis, even, even))
    found = _shifted(call, number, at, axis, Window(step, 0, size - 1), 0)
    return [Derived((*found.dims, plain(size)), found.uses)]


def _with(dims: Dims, at: int, dim: Sequence[Atom]) -> Dims:
    return (*dims[:at], tuple(dim), *dims[at + 1:])


def _shifted(call: Call, number: int, at: int, axis: int, step: Map, output: int) -> Derived:
    """Return an output whose dimension ``at`` is a window of the node's."""
    dim = (Atom(axis, call.outputs[output].shape[at]),)
    return Derived(_with(call.node(number).dims, at, dim), [(number, {axis: step})])


@rule("split", "split_with_sizes", "unbind", "select")
def split(call: Call) -> list[Derived]:
    number, node = call.source()
    at = call.args["dim"] % len(node.dims)
    axis = single_axis(node.dims[at]) if axes_of([node.dims[at]]) else None
    found, start = [], 0
    for output, tensor in enumerate(call.outputs):
        if tensor.ndim < len(node.dims):
            dims = (*node.dims[:at], *node.dims[at + 1:])
            found.append(Derived(dims, [(number, {})], "global", "takes one position of an axis"))
            continue
        if axis is None:
            found.append(Derived(_with(node.dims, at, plain(tensor.shape[at])), [(number, {})]))
        else:
            found.append(_shifted(call, number, at, axis, Window(1, -start), output))
        start += tensor.shape[at]
    return found


@rule("cat")
def cat(call: Call) -> list[Derived]:
    tensors = [t for t in call.args["tensors"] if t.numel()]
    shape = call.outputs[0].shape
    at = call.args["dim"] % len(shape)
    used = [(t, number) for t in tensors if (number := call.node_of(t)) is not None]
    axes = {axis for _, number in used for axis in axes_of([call.node(number).dims[at]])}
    if not axes:
        dims = joined(call, tensors, shape, free=at)
        return [Derived(dims, [(number, {}) for _, number in used])]
    return [_cat_along(call, tensors, at, axes.pop())]


def _cat_along(call: Call, tensors: Sequence[Any], at: int, axis: int) -> Derived:
    """A constant joined to an axis of the image is padding; anything else is not understood."""
    tracked = [place for place, t in enumerate(tensors) if call.node_of(t) is not None]
    if len(tracked) != 1 or not all(call.uniform(t) for p, t in enumerate(tensors) if p not in tracked):
        raise NotUnderstoodError("joins parts along an axis of the image")
    number = call.node_of(tensors[tracked[0]])
    assert number is not None
    call.padded = True
    return _shifted(call, number, at, axis, Window(1, sum(t.shape[at] for t in tensors[:tracked[0]])), 0)


@rule("stack")
def stack(call: Call) -> list[Derived]:
    tensors = call.args["tensors"]
    at = call.args["dim"] % call.outputs[0].ndim
    dims = list(joined(call, tensors, tensors[0].shape))
    dims.insert(at, plain(len(tensors)))
    return [Derived(tuple(dims), [(n, {}) for t in tensors if (n := call.node_of(t)) is not None])]
