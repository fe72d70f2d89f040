"""Operators that move elements without changing them: views, permutations, slices, concatenation, padding by copies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from tiler.models.aten.graph import Node
from tiler.models.aten.maps import Along, Axes, Fixed, Ranges, Reshape, Table, Window, flat, lengths
from tiler.models.aten.rule import Part, Rule, cut, fitted, need, numbers, operator


@operator("view")
def view(node: Node) -> Rule:
    return Rule((Reshape(node.sizes[0], node.shape),), _viewed)


def _viewed(part: Part) -> torch.Tensor:
    """The consecutive elements of each group, reshaped to the output's axes."""
    source, own = part.rule.reshape, part.reads[0]
    assert source is not None
    assert own is not None
    have: list[tuple[int, int]] = []
    want: list[tuple[int, int]] = []
    for inner, outer in source.groups:
        have.append(flat([own[axis] for axis in inner], [source.shape[axis] for axis in inner]))
        want.append(flat([part.made[axis] for axis in outer], [source.out[axis] for axis in outer]))
    return cut(part.first.reshape(lengths(tuple(have))), tuple(have), tuple(want)).reshape(part.shape)


@operator("permute transpose t")
def permute(node: Node) -> Rule:
    order = list(range(len(node.shape)))
    if node.op == "permute":
        order = [dim % len(order) for dim in node.args["dims"]]
    elif len(order) > 1:
        first, second = (node.args["dim0"], node.args["dim1"]) if node.op == "transpose" else (0, 1)
        order[first], order[second] = order[second], order[first]
    axes = tuple(Along(order.index(axis)) for axis in range(len(order)))
    return Rule((Axes(axes, node.sizes[0]),), lambda part: part.first.permute(order))


def _gathered(node: Node, tables: Mapping[int, np.ndarray]) -> Rule:
    """The rule of an operator that copies, from tables of each output index's input index along the changed axes."""
    tables = {axis: np.asarray(index, np.int64) for axis, index in tables.items()}
    axes = tuple(Along(axis, Table.of(tables[axis])) if axis in tables else Along(axis)
                 for axis in range(len(node.shape)))
    return Rule((Axes(axes, node.sizes[0]),), lambda part: _gather(part, tables))


def _gather(part: Part, tables: Mapping[int, np.ndarray]) -> torch.Tensor:
    x, read = part.first, part.reads[0]
    assert read is not None
    for axis, index in tables.items():
        low, high = part.made[axis]
        local = index[low:high] - read[axis][0]
        if len(local) == x.shape[axis] and (local == np.arange(len(local))).all():
            continue
        x = x.index_select(axis, torch.from_numpy(local).to(x.device))
    return x


@operator("slice")
def slice_(node: Node) -> Rule:
    axis, step = node.args.get("dim", 0) % len(node.shape), node.args.get("step", 1)
    start, size = node.args.get("start") or 0, node.sizes[0][axis]
    start = min(max(0, start + size if start < 0 else start), size)
    if step != 1:
        return _gathered(node, {axis: start + step * np.arange(node.shape[axis])})
    axes = tuple(Along(at, Window(before=-start)) if at == axis else Along(at) for at in range(len(node.shape)))
    return Rule((Axes(axes, node.sizes[0]),), lambda part: part.first)


@operator("select")
def select(node: Node) -> Rule:
    axis = node.args["dim"] % len(node.sizes[0])
    place = node.args["index"] % node.sizes[0][axis]
    kept = [Along(at) for at in range(len(node.shape))]
    axes: tuple[Along | Fixed, ...] = (*kept[:axis], Fixed(place, place + 1), *kept[axis:])
    return Rule((Axes(axes, node.sizes[0]),), lambda part: part.first.squeeze(axis))


@operator("cat")
def cat(node: Node) -> Rule:
    axis = node.args.get("dim", 0) % len(node.shape)
    maps, offset = [], 0
    for size in node.sizes:
        need(len(size) == len(node.shape), "it joins a tensor without axes")
        own = tuple(Along(at, Window(before=offset)) if at == axis else Along(at) for at in range(len(size)))
        maps.append(Axes(own, size, optional=True))
        offset += size[axis]
    return Rule(tuple(maps), lambda part: _joined(part, axis))


def _joined(part: Part, axis: int) -> torch.Tensor:
    present = [tensor for tensor in part.tensors if tensor is not None]
    return present[0] if len(present) == 1 else torch.cat(present, axis)


@operator("repeat")
def repeat(node: Node) -> Rule:
    own = node.sizes[0]
    lead = len(node.shape) - len(own)
    tables = {axis: np.arange(node.shape[axis + lead]) % size for axis, size in enumerate(own)}
    axes = tuple(Along(axis + lead, Table.of(tables[axis])) for axis in range(len(own)))
    return Rule((Axes(axes, own),), lambda part: _repeated(part, tables, lead))


def _repeated(part: Part, tables: Mapping[int, np.ndarray], lead: int) -> torch.Tensor:
    x, read = part.first, part.reads[0]
    assert read is not None
    for axis, index in tables.items():
        low, high = part.made[axis + lead]
        x = x.index_select(axis, torch.from_numpy(index[low:high] - read[axis][0]).to(x.device))
    return x.expand(part.shape)


@operator("flip")
def flip(node: Node) -> Rule:
    rank = len(node.shape)
    return _gathered(node, {dim % rank: np.arange(node.shape[dim])[::-1] for dim in node.args["dims"]})


@operator("roll")
def roll(node: Node) -> Rule:
    dims = list(node.args.get("dims") or [])
    need(bool(dims), "it rolls the elements of all axes as one")
    shifts = numbers(node.args["shifts"], len(dims))
    tables: dict[int, np.ndarray] = {}
    for dim, shift in zip(dims, shifts, strict=True):
        size = node.shape[dim]
        tables[dim % len(node.shape)] = (np.arange(size) - shift) % size
    return _gathered(node, tables)


@operator("reflection_pad1d reflection_pad2d reflection_pad3d replication_pad1d replication_pad2d replication_pad3d")
def pad_by_copies(node: Node) -> Rule:
    pads, tables = list(node.args["padding"]), {}
    for place in range(len(pads) // 2):
        axis = len(node.shape) - 1 - place
        size, before = node.sizes[0][axis], pads[2 * place]
        at = np.arange(node.shape[axis]) - before
        if node.op.startswith("reflection"):
            at = np.abs(at)
            tables[axis] = np.where(at >= size, 2 * (size - 1) - at, at)
        else:
            tables[axis] = at.clip(0, size - 1)
    return _gathered(node, tables)


@operator("constant_pad_nd")
def pad_by_value(node: Node) -> Rule:
    pads, rank = list(node.args["pad"]), len(node.shape)
    before = {rank - 1 - place: pads[2 * place] for place in range(len(pads) // 2)}
    axes = tuple(Along(axis, Window(before=before.get(axis, 0))) for axis in range(rank))
    value = float(node.args.get("value") or 0)
    return Rule((Axes(axes, node.sizes[0]),), lambda part: _padded(part, value))


def _padded(part: Part, value: float) -> torch.Tensor:
    read = part.reads[0]
    assert read is not None
    return fitted(part.first, read, part.wanted(), value)


@operator("pixel_shuffle")
def pixel_shuffle(node: Node) -> Rule:
    factor, rank = int(node.args["upscale_factor"]), len(node.shape)
    axes = [Along(axis) for axis in range(rank)]
    axes[rank - 3] = Along(rank - 3, Window(factor**2, 0, factor**2 - 1))
    for axis in (rank - 2, rank - 1):
        axes[axis] = Along(axis, Table.of(np.arange(node.shape[axis]) // factor))
    return Rule((Axes(tuple(axes), node.sizes[0]),), lambda part: _cut_from(part, _scaled(part, rank, factor)))


def _scaled(part: Part, rank: int, factor: int) -> Ranges:
    read = part.reads[0]
    assert read is not None
    moved = [(low * factor, high * factor) for low, high in read[rank - 2 :]]
    return (*read[: rank - 3], part.made[rank - 3], *moved)


def _cut_from(part: Part, have: Ranges) -> torch.Tensor:
    return cut(part.call(), have, part.made)


@operator("pixel_unshuffle")
def pixel_unshuffle(node: Node) -> Rule:
    factor, rank = int(node.args["downscale_factor"]), len(node.shape)
    axes = [Along(axis) for axis in range(rank)]
    axes[rank - 3] = Along(rank - 3, Table.of(np.arange(node.shape[rank - 3]) // factor**2))
    for axis in (rank - 2, rank - 1):
        axes[axis] = Along(axis, Window(factor, 0, factor - 1))
    return Rule((Axes(tuple(axes), node.sizes[0]),), lambda part: _cut_from(part, _unshuffled(part, rank, factor)))


def _unshuffled(part: Part, rank: int, factor: int) -> Ranges:
    read = part.reads[0]
    assert read is not None
    low, high = read[rank - 3]
    return (*part.made[: rank - 3], (low * factor**2, high * factor**2), *part.made[rank - 2 :])


@operator("unfold")
def unfold(node: Node) -> Rule:
    """Windows along one axis; their elements become the last axis."""
    rank = len(node.sizes[0])
    axis, size, step = node.args["dimension"] % rank, node.args["size"], node.args["step"]
    axes = tuple(Along(at, Window(step, 0, size - 1)) if at == axis else Along(at) for at in range(rank))
    return Rule((Axes(axes, node.sizes[0]),), lambda part: part.first.unfold(axis, size, step),
                whole=frozenset({rank}))


@operator("channel_shuffle")
def channel_shuffle(node: Node) -> Rule:
    channels, groups = node.shape[1], int(node.args["groups"])
    at = np.arange(channels)
    return _gathered(node, {1: (at % groups) * (channels // groups) + at // groups})
