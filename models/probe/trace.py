"""Trace a forward pass operator by operator, for modules and TorchScript alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from tiler.errors import OutputShapeError
from tiler.models.aten.modules import LayerNames, quiet
from tiler.models.aten.observer import Observer, operator_name
from tiler.models.probe import layout_rules, spatial_rules  # noqa: F401 - they register their rules
from tiler.models.probe.call import Call, Derived, NotUnderstoodError, elements, plain
from tiler.models.probe.graph import Atom, Kind, Node, Offence, Trace, axes_of
from tiler.models.probe.maps import WHOLE
from tiler.models.probe.rules import RULES, SWALLOWS

_UNIFORM_FACTORIES = frozenset({
    "zeros", "ones", "full", "scalar_tensor", "zeros_like", "ones_like", "full_like",
    "new_zeros", "new_ones", "new_full", "fill", "zero",
})
_EMPTY_FACTORIES = frozenset({"empty", "empty_strided", "empty_like", "new_empty", "new_empty_strided"})
_SILENT = frozenset({"sym_size", "sym_stride", "sym_numel", "is_same_size", "set_", "resize_"})


class EnoughError(Exception):
    """Ends a pass early, because its first operators already show that its size is unwanted."""


class _Recorder(Observer):
    """Turns every aten call into nodes of a trace."""

    def __init__(
        self, trace: Trace, image: torch.Tensor, names: LayerNames, unwanted: Callable[[Trace], bool]
    ) -> None:
        super().__init__()
        self.trace, self.names, self.unwanted = trace, names, unwanted
        self.numbers: dict[int, int] = {id(image): 0}
        self.uniform: set[int] = set()
        self.alive: list[torch.Tensor] = [image]  # an id stands for its tensor only while that lives
        dims = (plain(image.shape[0]), plain(image.shape[1]),
                *((Atom(axis, size),) for axis, size in enumerate(image.shape[2:])))
        trace.nodes.append(Node("input", "the input", dims, (), (Fraction(1),) * trace.ndim, (1,) * trace.ndim))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = self.run(func, args, kwargs)
        outputs = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor)]
        given = _by_name(func, args, kwargs)
        inputs = [leaf for leaf in tree_leaves(given) if isinstance(leaf, torch.Tensor)]
        self.alive += outputs
        op = operator_name(func)
        if op in _UNIFORM_FACTORIES or op in _EMPTY_FACTORIES:
            self._forget(outputs, op in _UNIFORM_FACTORIES)
        elif any(id(t) in self.numbers for t in inputs):
            self._record(op, given, inputs, outputs)
            if func._schema.name.endswith("_") and inputs[0]._base is not None and len(inputs) > 1:
                self._overwrite_base(op, inputs)
        elif inputs and all(id(t) in self.uniform or t.ndim == 0 for t in inputs):
            self.uniform |= {id(t) for t in outputs}
        return result

    def _forget(self, outputs: Sequence[torch.Tensor], uniform: bool) -> None:
        for tensor in outputs:
            self.numbers.pop(id(tensor), None)
            self.uniform.discard(id(tensor))
            if uniform:
                self.uniform.add(id(tensor))

    def _record(
        self, op: str, given: dict[str, Any], inputs: list[torch.Tensor], outputs: list[torch.Tensor]
    ) -> None:
        layer = self.names.current(inputs)
        call = Call(op, given, outputs, lambda t: self.numbers.get(id(t)), self.trace.nodes.__getitem__,
                    lambda t: id(t) in self.uniform)
        if op in _SILENT:
            return
        try:
            rule = RULES.get(op)
            if rule is None:
                raise NotUnderstoodError(f"the operator {op} is not known to the probe")
            found = list(rule(call))
        except NotUnderstoodError as reason:
            call.offend("unknown", f"{op}: {reason}" if op not in str(reason) else str(reason))
            found = self._unknown(inputs, outputs)
        self._keep(call, layer, found)
        self._note_swallow(call, layer, inputs)

    def _unknown(self, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor]) -> list[Derived]:
        """Assume that every output depends on every input; axes are kept if the shape is."""
        parents = [self.numbers[id(t)] for t in inputs if id(t) in self.numbers]
        found = []
        for tensor in outputs:
            alike = [p for p in parents if elements(self.trace.nodes[p].dims) == tensor.numel()
                     and len(self.trace.nodes[p].dims) == tensor.ndim]
            dims = self.trace.nodes[alike[0]].dims if alike else tuple(plain(size) for size in tensor.shape)
            found.append(Derived(dims, [(p, {}) for p in alike[:1]] + [
                (p, dict.fromkeys(range(self.trace.ndim), WHOLE)) for p in parents], "unknown", ""))
        return found

    def _keep(self, call: Call, layer: str, found: list[Derived]) -> None:
        trace = self.trace
        for tensor, derived in zip(call.outputs, found, strict=False):
            self.numbers[id(tensor)] = len(trace.nodes)
            node = trace.add(call.op, layer, derived.dims, derived.uses)
            if node.is_global and derived.why:
                self._offend(layer, derived.kind, derived.why)
        for tensor in call.outputs[len(found):]:
            # Indices and the like. Saved statistics have another shape, and nothing reads them in evaluation.
            if tensor.shape == call.outputs[0].shape:
                self.numbers[id(tensor)] = self.numbers[id(call.outputs[0])]
        for kind, reason in call.problems:
            self._offend(layer, kind, reason)
        trace.strided += call.strided
        trace.padded |= call.padded
        if (call.strided or trace.unequal) and self.unwanted(trace):
            raise EnoughError(f"no pass of {trace.sizes} is wanted")

    def _offend(self, layer: str, kind: Kind, reason: str) -> None:
        offence = Offence(layer, kind, reason)
        if offence not in self.trace.offences:
            self.trace.offences.append(offence)

    def _note_swallow(self, call: Call, layer: str, inputs: Sequence[torch.Tensor]) -> None:
        numbers = [self.numbers[id(t)] for t in inputs if id(t) in self.numbers]
        local = any(axes_of(self.trace.nodes[n].dims) for n in numbers)
        rounds = call.outputs and not (call.outputs[0].is_floating_point() or call.outputs[0].is_complex())
        if local and (call.op in SWALLOWS or rounds):
            swallow = Offence(layer, "unknown", f"{call.op} may swallow NaN")
            if swallow not in self.trace.swallows:
                self.trace.swallows.append(swallow)

    def _overwrite_base(self, op: str, inputs: Sequence[torch.Tensor]) -> None:
        """Record that writing into a view changes the whole tensor; the part is not tracked."""
        base = inputs[0]._base
        assert base is not None
        layer = self.names.current(inputs)
        self._offend(layer, "unknown", f"{op}_ writes into a part of a tensor")
        (derived,) = self._unknown([*inputs, base], [base])
        self.numbers[id(base)] = len(self.trace.nodes)
        self.alive.append(base)
        self.trace.add(op, layer, derived.dims, derived.uses)


def _by_name(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of an operator by name, defaults included."""
    schema = func._schema.arguments
    named = {a.name: a.default_value for a in schema if a.has_default_value()}
    return {**named, **{a.name: value for a, value in zip(schema, args, strict=False)}, **kwargs}


def trace_forward(
    module: nn.Module, in_channels: int, sizes: Sequence[int], unwanted: Callable[[Trace], bool] = lambda _: False,
    device: str | None = None,
) -> Trace:
    """Watch one forward pass of ``(1, in_channels, *sizes)`` on a device, by default that of the module's weights.

    An error that the network raises is kept in the trace, together with all that was seen before it; so is an
    `EnoughError` where the pass was ended because what was seen of it is ``unwanted``.

    Raises
    ------
    OutputShapeError
        If the network returns anything but one tensor.
    """
    like = next((t for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()), torch.empty(0))
    trace = Trace(tuple(sizes))
    names = LayerNames(module)
    try:
        # Without optimisation TorchScript would fuse operators from its second run on, and hide them.
        with quiet(), torch.no_grad(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            image = torch.zeros(1, in_channels, *sizes, dtype=like.dtype, device=device or like.device)
            recorder = _Recorder(trace, image, names, unwanted)
            with recorder:
                output = module(image)
    except Exception as error:  # a network may raise anything at a size that it does not like
        trace.error = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        return trace
    finally:
        names.remove()
    if not isinstance(output, torch.Tensor):
        raise OutputShapeError(f"{type(module).__name__} returns a {type(output).__name__} where one tensor "
                               "(n, classes, *size) is needed: name the output that holds the scores (`returns`)")
    trace.output, trace.shape = recorder.numbers.get(id(output)), tuple(output.shape)
    return trace
