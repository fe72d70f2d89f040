"""Find sizes at which a network is in phase, from the shapes that pass through it and not from its errors."""

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
    """Makes a trace at the given sizes; it may stop as soon as the unfinished trace is ``unwanted``."""

    def __call__(self, sizes: tuple[int, ...], unwanted: Callable[[Trace], bool] = ...) -> Trace: ...


def trace_in_phase(module: nn.Module, in_channels: int, ndim: int) -> tuple[Trace, Tracer]:
    """Trace a network at a size in phase, without data if possible, else on small inputs.

    Returns
    -------
    trace, trace_of
        The trace, and a function that makes traces at other sizes.

    Raises
    ------
    ModelError
        The network runs at none of the sizes that were tried.
    OutputShapeError
        The network returns anything but a single tensor.
    """
    errors = []
    for carrier, device, starts in _carriers(module, ndim):
        trace_of = partial(trace_forward, carrier, in_channels, device=device)
        for start in starts:
            trace = in_phase(trace_of, ndim, start)
            if trace.error is None:
                return trace, trace_of
            errors.append(f"at {start}: {trace.error}")
    raise ModelError(f"{type(module).__name__} runs at no size that was tried with {in_channels} input channels "
                     f"and {ndim} axes; {errors[-1]}")


def _carriers(module: nn.Module, ndim: int) -> Iterator[tuple[nn.Module, str, Sequence[int]]]:
    """Yield copies of the module in evaluation mode, each with its device and the sizes from which to search."""
    # A module that holds data outside its parameters and buffers, or decides by values, needs real data.
    light = None
    with suppress(Exception):
        light = on_meta(module)
    if light is not None:
        yield light, "meta", _META_STARTS
    with quiet():
        twin = copy.deepcopy(module).cpu().eval()
    yield twin, "cpu", _CPU_STARTS[ndim]


def in_phase(trace_of: Tracer, ndim: int, start: int) -> Trace:
    """Trace a network at sizes from ``start`` upwards at which no pooling floors or ceils.

    Each axis is searched on its own, since a network may refuse a size because of another axis, and its operators up
    to that point tell enough. Sizes at which nothing is dropped come first, then sizes that are merely halved (a 3x3
    convolution of stride 2 and padding 1 halves an even size and uses only half of its last window), then those at
    which least is dropped; all tiles have congruent sizes, so any class will do. A pass stops as soon as it cannot
    qualify any more, mostly at its first poolings.
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
    """Return how much longer the output is than the input, summed over the axes."""
    return sum(out - size for out, size in zip(trace.shape[2:], trace.sizes, strict=False))


def _usable(trace: Trace) -> bool:
    """Whether the network ran and its output is not larger than its input."""
    return trace.error is None and all(
        out <= size for out, size in zip(trace.shape[2:], trace.sizes, strict=False))
