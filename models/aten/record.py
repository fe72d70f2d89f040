"""One forward pass, written down as a `Graph`.

The network runs on the meta device at the size of the true canvas, where tensors have shapes only: 1024 cubed costs
nothing. Every in-place write becomes an out-of-place operator; from then on the tensor, and every view of the same
elements, refers to the new node. If a view writes only a part of a tensor, the recorder makes the whole tensor anew;
it refuses to read that tensor through a third view.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

from tiler.models.aten.aliases import geometry, is_all, overlap, storage
from tiler.models.aten.graph import Graph, Node, NotStagedError, Ref, Size
from tiler.models.aten.modules import LayerNames, quiet
from tiler.models.aten.observer import Observer, operator_name, shapes_alone

aten = torch.ops.aten

_UNIFORM = {"zeros": 0.0, "zeros_like": 0.0, "new_zeros": 0.0, "zero": 0.0, "ones": 1.0, "ones_like": 1.0,
            "new_ones": 1.0, "empty": 0.0, "empty_like": 0.0, "new_empty": 0.0, "empty_strided": 0.0,
            "new_empty_strided": 0.0}
"""Operators that fill a tensor with one number; networks write to an empty tensor before they read it."""
_FILLED = {"full": "fill_value", "full_like": "fill_value", "new_full": "fill_value", "fill": "value"}
_SILENT = frozenset({"sym_size", "sym_stride", "sym_numel", "is_same_size"})
_RANDOM = frozenset({"rand", "randn", "rand_like", "randn_like", "randint", "randperm", "bernoulli", "normal",
                     "uniform", "native_dropout", "multinomial", "poisson"})
_VIEWS = frozenset({"view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "_reshape_alias", "flatten"})


def record(module: nn.Module, shape: Size) -> Graph:
    """The operators of one pass.

    Parameters
    ----------
    module
        The network on the meta device, in evaluation mode.
    shape
        Shape of the input, ``(1, c, [z], y, x)``.

    Raises
    ------
    NotStagedError
        If the network does not run without data, or does something that a graph cannot represent.
    """
    like = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), None)
    if like is not None and like.device.type != "meta":
        raise NotStagedError("the network does not live on the meta device")
    names = LayerNames(module)
    recorder = None
    try:
        # In inference mode composite operators hide their parts, and so do operators that TorchScript fuses.
        fused = torch.jit.optimized_execution(False)  # type: ignore[attr-defined]  # torch exports it by name alone
        with quiet(), torch.inference_mode(False), torch.no_grad(), fused:
            image = torch.zeros(shape, dtype=torch.float32 if like is None else like.dtype, device="meta")
            recorder = _Recorder(module, image, names)
            with recorder:
                output = module(image)
            return recorder.finished(output)
    except NotStagedError:
        raise
    except Exception as error:  # a network may raise anything where it has no data
        if recorder is not None and recorder.refused:
            raise NotStagedError(recorder.refused) from error
        reason = " ".join(str(error).split())[:200]
        raise NotStagedError(f"{names.current([])}: it does not run without data: {reason}") from error
    finally:
        names.remove()


class _Recorder(Observer):
    """Writes down every call.

    Parameters
    ----------
    module
        The network.
    image
        Its input.
    names
        Names of its layers.
    """

    def __init__(self, module: nn.Module, image: torch.Tensor, names: LayerNames) -> None:
        super().__init__()
        self.names, self.refused = names, ""
        self.nodes = [Node("input", None, {}, tuple(image.shape), image.dtype)]
        self.values: dict[int, torch.Tensor] = {}
        self.numbers: dict[int, int] = {id(image): 0}
        self.stale: dict[int, str] = {}
        self.named = {id(tensor): (name, tensor) for name, tensor in
                      (*module.named_parameters(), *module.named_buffers())}
        self.sharing: dict[int, list[torch.Tensor]] = defaultdict(list)
        self._keep(image)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = _by_name(func, args, kwargs or {})
        result = self.run(func, *shapes_alone((args, kwargs or {})))
        op = operator_name(func)
        if op not in _SILENT:
            self._note(op, func, given, result)
        return result

    def finished(self, output: Any) -> Graph:
        if not isinstance(output, torch.Tensor):
            raise NotStagedError(f"the network returns a {type(output).__name__} where one tensor is needed")
        if id(output) not in self.numbers:
            raise NotStagedError("the output is not made of the input")
        return Graph(tuple(self.nodes), self._number(output), self.values)

    def _note(self, op: str, func: Any, given: dict[str, Any], result: Any) -> None:
        written = [argument.name for argument in func._schema.arguments
                   if argument.alias_info is not None and argument.alias_info.is_write]
        tensors = [leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)]
        layer = self.names.current(tensors)
        if op in _RANDOM:
            self._refuse(f"{layer}: {op} draws random numbers")
        if written and (written != ["self"] or not hasattr(aten, op)):
            self._refuse(f"{layer}: {func} writes into {', '.join(written)}")
        if op in _UNIFORM or op in _FILLED:
            value = _UNIFORM[op] if op in _UNIFORM else given[_FILLED[op]]
            first = result if isinstance(result, torch.Tensor) else tensors[0]
            made = [self._uniform(value, first, layer)]
        else:
            made = self._lowered(op, func, given, result, layer, bool(written))
        if written:
            self._overwrite(given["self"], made[0], layer)
            return
        outputs = result if isinstance(result, (tuple, list)) else [result]
        for tensor, number in zip(outputs, made, strict=False):
            if isinstance(tensor, torch.Tensor):
                self.numbers[id(tensor)] = number
                self.stale.pop(id(tensor), None)
                self._keep(tensor)

    def _lowered(self, op: str, func: Any, given: dict[str, Any], result: Any, layer: str, writes: bool) -> list[int]:
        """Numbers of the nodes of one call's results."""
        if op in ("split", "split_with_sizes", "unsafe_split", "unbind", "unsafe_chunk", "tensor_split"):
            return self._parted(op, given, result, layer)
        if op == "cat":
            self._check_joint(given, layer)
        if op == "stack":
            return [self._stacked(given, result, layer)]
        source = given.get("self")
        if op in _VIEWS and isinstance(source, torch.Tensor):
            return [self._view(self._number(source), tuple(result.shape), layer)]
        if not writes and isinstance(result, torch.Tensor) and isinstance(source, torch.Tensor) and (
                geometry(source) == geometry(result) and source.dtype == result.dtype):
            return [self._number(source)]  # an unchanged view of the whole tensor
        if writes:
            func = getattr(getattr(aten, op), func._overloadname)
            declared = {argument.name for argument in func._schema.arguments}
            given = {name: value for name, value in given.items() if name in declared}
        args = tree_map(self._stand_in, given)
        outputs = result if isinstance(result, (tuple, list)) else [result]
        return [self._add(op, func, args, tensor, layer, place if len(outputs) > 1 or outputs is result else None)
                for place, tensor in enumerate(outputs) if isinstance(tensor, torch.Tensor)]

    def _add(self, op: str, func: Any, args: Mapping[str, Any], like: torch.Tensor, layer: str,
             result: int | None = None, shape: Size | None = None) -> int:
        node = Node(op, func, args, tuple(like.shape) if shape is None else shape, like.dtype, (), layer, result)
        sizes = tuple(self.nodes[ref].shape for ref in node.reads)
        self.nodes.append(Node(op, func, args, node.shape, node.dtype, sizes, layer, result))
        return len(self.nodes) - 1

    def _uniform(self, value: Any, like: torch.Tensor, layer: str) -> int:
        if isinstance(value, torch.Tensor) and not value.is_meta:
            value = value.item()
        if isinstance(value, torch.Tensor):
            self._refuse(f"{layer}: it fills a tensor with a number that it computes")
        return self._add("full", aten.full.default, {"size": list(like.shape), "fill_value": value,
                                                     "dtype": like.dtype}, like, layer)

    def _view(self, number: int, shape: Size, layer: str) -> int:
        node = self.nodes[number]
        if node.shape == shape:
            return number
        like = torch.empty(0, dtype=node.dtype, device="meta")
        return self._add("view", aten.reshape.default, {"self": Ref(number), "shape": list(shape)}, like, layer,
                         shape=shape)

    def _parted(self, op: str, given: dict[str, Any], result: Sequence[torch.Tensor], layer: str) -> list[int]:
        """Record a split as one slice per part."""
        source = given["self"]
        number, dim, start, found = self._number(source), given.get("dim", 0) % source.ndim, 0, []
        for part in result:
            length = 1 if op == "unbind" else part.shape[dim]
            shape = (*source.shape[:dim], length, *source.shape[dim + 1 :])
            args = {"self": Ref(number), "dim": dim, "start": start, "end": start + length, "step": 1}
            piece = self._add("slice", aten.slice.Tensor, args, part, layer, shape=shape)
            found.append(self._view(piece, tuple(part.shape), layer))
            start += length
        return found

    def _check_joint(self, given: dict[str, Any], layer: str) -> None:
        """Refuse shapes that torch would refuse; the observer does not check them."""
        shapes = [tuple(tensor.shape) for tensor in given["tensors"] if tensor.numel()]
        if shapes:
            dim = given.get("dim", 0) % len(shapes[0])
            if len({(*shape[:dim], *shape[dim + 1 :]) for shape in shapes}) > 1:
                self._refuse(f"{layer}: it joins tensors of {' and '.join(map(str, dict.fromkeys(shapes)))}")

    def _stacked(self, given: dict[str, Any], result: torch.Tensor, layer: str) -> int:
        dim = given.get("dim", 0) % result.ndim
        refs = []
        for tensor in given["tensors"]:
            shape = (*tensor.shape[:dim], 1, *tensor.shape[dim:])
            refs.append(Ref(self._view(self._number(tensor), shape, layer)))
        return self._add("cat", aten.cat.default, {"tensors": refs, "dim": dim}, result, layer)

    def _overwrite(self, target: torch.Tensor, number: int, layer: str) -> None:
        """Point a written tensor, and every other view of its elements, to the new node."""
        for other in self.sharing[storage(target)]:
            if geometry(other) == geometry(target):
                self.numbers[id(other)] = number
                self.stale.pop(id(other), None)
            elif is_all(other) and is_all(target):
                self.numbers[id(other)] = self._view(number, tuple(other.shape), layer)
                self.stale.pop(id(other), None)
            elif overlap(other, target):
                self._overlap(other, target, number, layer)

    def _overlap(self, other: torch.Tensor, target: torch.Tensor, number: int, layer: str) -> None:
        """Update another view of a storage after some of its elements have been written."""
        if not is_all(other) or id(other) in self.stale or id(other) not in self.numbers:
            self.stale[id(other)] = f"{layer}: a part of a tensor is written through a view, and read through another"
            return
        args = {"self": Ref(self.numbers[id(other)]), "src": Ref(number), "size": list(target.shape),
                "stride": list(target.stride()), "offset": target.storage_offset()}
        self.numbers[id(other)] = self._add("written through a view", _scattered, args, other, layer)

    def _stand_in(self, leaf: Any) -> Any:
        return Ref(self._number(leaf)) if isinstance(leaf, torch.Tensor) else leaf

    def _number(self, tensor: torch.Tensor) -> int:
        if id(tensor) in self.stale:
            self._refuse(self.stale[id(tensor)])
        if id(tensor) not in self.numbers:
            self.numbers[id(tensor)] = self._given(tensor)
            self._keep(tensor)
        return self.numbers[id(tensor)]

    def _given(self, tensor: torch.Tensor) -> int:
        """Record a tensor that no recorded operator has made."""
        if id(tensor) in self.named:
            return self._add("weight", None, {"name": self.named[id(tensor)][0]}, tensor, "")
        if tensor.is_meta:
            self._refuse(f"{self.names.current([])}: it reads a tensor that is neither parameter nor buffer")
        self.values[len(self.nodes)] = tensor.clone()
        return self._add("value", None, {}, tensor, "")

    def _keep(self, tensor: torch.Tensor) -> None:
        """Keep a tensor alive, because its id identifies it only as long as it lives."""
        self.sharing[storage(tensor)].append(tensor)

    def _refuse(self, why: str) -> None:
        self.refused = why  # TorchScript wraps what is raised inside it
        raise NotStagedError(why)


def _by_name(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call by name, with the operator's defaults for omitted ones."""
    schema = func._schema.arguments
    return {**dict(zip((argument.name for argument in schema), args, strict=False)), **kwargs}


def _scattered(
    *, self: torch.Tensor, src: torch.Tensor, size: list[int], stride: list[int], offset: int
) -> torch.Tensor:
    """A tensor with some elements replaced, addressed by their flat index."""
    made = self.clone(memory_format=torch.contiguous_format)
    made.as_strided(size, stride, offset).copy_(src)
    return made
