"""At which sizes a network is in phase: found from the shapes that pass through it, not from its errors."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import product
from typing import Protocol

from torch import nn

from tiler.errors import ModelError
from tiler.models.aten.modules import on_meta, quiet
from tiler.models.probe.graph import Trace
from tiler.models.probe.trace import trace_forward

_META_STARTS = (1024, 512, 2048, 256)
_CPU_STARTS = {2: (64, 128, 256, 512), 3: (32, 64, 128)}
_LONGEST_PERIOD = 256


class Tracer(Protocol):
    """Makes a trace at these sizes, which may end as soon as what was seen of it is ``unwanted``."""

    def __call__(self, sizes: tuple[int, ...], unwanted: Callable[[Trace], bool] = ...) -> Trace: ...


def trace_in_phase(module: nn.Module, in_channels: int, ndim: int) -> tuple[Trace, Tracer]:
    """A trace in phase, and what makes more of them: without data where possible, else on small inputs.

    Raises
    ------
    ModelError
        If the network runs at no size that was tried.
    OutputShapeError
        If it returns anything but one tensor.
    """
    errors = []
    for carrier, starts in _carriers(module, ndim):
        trace_of = partial(trace_forward, carrier, in_channels)
        for start in starts:
            trace = in_phase(trace_of, ndim, start)
            if trace.error is None:
                return trace, trace_of
            errors.append(f"at {start}: {trace.error}")
    raise ModelError(f"{type(module).__name__} runs at no size that was tried with {in_channels} input channels "
                     f"and {ndim} axes; {errors[-1]}")


def _carriers(module: nn.Module, ndim: int) -> Iterator[tuple[nn.Module, Sequence[int]]]:
    """Copies of the module in evaluation mode, and the sizes from which to try them."""
    # A module may hold data outside of its parameters and buffers, or decide by values: then only data help.
    light = None
    with suppress(Exception):
        light = on_meta(module)
    if light is not None:
        yield light, _META_STARTS
    with quiet():
        twin = copy.deepcopy(module).cpu().eval()
    yield twin, _CPU_STARTS[ndim]


def in_phase(trace_of: Tracer, ndim: int, start: int) -> Trace:
    """A trace at sizes from ``start`` up at which no pooling floors or ceils.

    Every axis is searched for itself, since a network may refuse a size because of another axis, and what it
    did until then tells enough. Sizes that lose nothing at all are preferred to those that are merely halved
    (a 3x3 convolution of stride 2 and padding 1 halves an even size, and leaves its last window half used); and
    where there are neither, the sizes at which least is dropped. All tiles being of one class, any will do.
    A pass ends where it has lost all that is looked for, mostly at its first poolings.
    """
    first = trace_of((start,) * ndim)
    period = min(max((max(node.down) for node in first.nodes), default=1), _LONGEST_PERIOD)
    even: dict[bool, dict[int, int]] = {True: {}, False: {}}

    def unwanted(trace: Trace) -> bool:
        return not any(trace.even(axis, axis in even[False]) for axis in range(ndim))

    for size in range(start, start + period):
        trace = first if size == start else trace_of((size,) * ndim, unwanted)
        for strict, axis in product((True, False), range(ndim)):
            if trace.even(axis, strict):
                even[strict].setdefault(axis, size)
        if _usable(trace) and all(trace.even(axis, True) for axis in range(ndim)):
            return trace
    for choice in product((True, False), repeat=ndim):
        if all(axis in even[strict] for axis, strict in enumerate(choice)):
            trace = trace_of(tuple(even[strict][axis] for axis, strict in enumerate(choice)))
            if _usable(trace) and all(trace.even(axis, strict) for axis, strict in enumerate(choice)):
                return trace
    runs = [trace for size in range(start, start + period) if (trace := trace_of((size,) * ndim)).error is None]
    return max(runs, key=lambda trace: (_usable(trace), -len(trace.unequal), _kept(trace)), default=first)


def _kept(trace: Trace) -> int:
    """How much longer the output is than the input, summed over the axes."""
    return sum(out - size for out, size in zip(trace.shape[2:], trace.sizes, strict=False))


def _usable(trace: Trace) -> bool:
    """Whether the network ran, and its output is not larger than its input."""
    return trace.error is None and all(
        out <= size for out, size in zip(trace.shape[2:], trace.sizes, strict=False))
