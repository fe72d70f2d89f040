"""Global layers in several passes: reduce their input over all parts of the image, then give them the result.

A global mean or maximum is the sum, or the maximum, over the parts of an image. A first pass over all parts computes
it, and in the next pass the layer takes this result instead of that of its tile::

    tile   [ context [====== core ======] context ]
    cells      .  .   x   x   x   x   x   .  .        of the layer's input; those of the core are reduced
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from tiler.errors import ModelError
from tiler.geometry import Box, Span
from tiler.models.aten.observer import Observer, operator_name
from tiler.ports import Partial

CallSite = tuple[str, int]
"""Name of an operator, and the number of earlier calls of it."""

How = Literal["mean", "sum", "max", "min"]
Answers = Mapping[CallSite, torch.Tensor]
"""Results of global layers, flat, in float64."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a map along one axis of the image.

    Parameters
    ----------
    voxels, cells
        Ratio: this many voxels of the input hold this many cells.
    origin
        Voxel of the input at which cell 0 begins, on the stride grid.
    size, count
        Size of an input in phase, and its number of cells.
    """

    voxels: int
    cells: int
    origin: int
    size: int
    count: int

    def at(self, size: int) -> int:
        """Return the number of cells of an input in phase."""
        return self.count + (size - self.size) * self.cells // self.voxels

    def within(self, span: Span, size: int) -> Span:
        """Return the cells of a part of the input that begins on the stride grid; at its end, all that are left."""
        first = (span.start - self.origin) * self.cells // self.voxels
        last = self.at(size) if span.stop >= size else (span.stop - self.origin) * self.cells // self.voxels
        return Span(first, last)


@dataclass(frozen=True, slots=True)
class Site:
    """One call of a global layer.

    Parameters
    ----------
    call
        The call.
    how
        Type of the reduction.
    over
        Dimensions of the input that are reduced.
    layout
        For each dimension of the input the axes of the image in it (None for anything else) with their sizes;
        outermost first if a view has merged several.
    axes
        Cells of the input along the image's axes.
    values
        Number of results for one image.
    """

    call: CallSite
    how: How
    over: tuple[int, ...]
    layout: tuple[tuple[tuple[int | None, int], ...], ...]
    axes: tuple[Cells, ...]
    values: int

    def core(self, x: torch.Tensor, part: Box, sizes: Sequence[int]) -> torch.Tensor:
        """Return the cells of a part of an image of these sizes."""
        for at, dim in reversed(list(enumerate(self.layout))):
            if all(axis is None for axis, _ in dim):
                continue
            wide = [size if axis is None else self.axes[axis].at(sizes[axis]) for axis, size in dim]
            crop = [slice(None) if axis is None else self.axes[axis].within(part.spans[axis], sizes[axis]).slice
                    for axis, _ in dim]
            x = x.unflatten(at, wide)[(*[slice(None)] * at, *crop)].flatten(at, at + len(dim) - 1)
        return x

    def reduce(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        """Return the reduced ``(values,)`` in float64, and the number of cells in each sum."""
        wide = x.to(torch.float64)
        if self.how in ("mean", "sum"):
            return wide.sum(self.over).flatten(), int(np.prod([x.shape[d] for d in self.over]))
        extreme = wide.amax(self.over) if self.how == "max" else wide.amin(self.over)
        return extreme.flatten(), 0


class Injected(Observer):
    """Context in which a forward pass takes given results of global layers.

    Parameters
    ----------
    answers
        Results of the calls to replace; all others are computed.
    """

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers = answers
        self._calls: Counter[str] = Counter()
        self._told = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = operator_name(func)
        site = name, self._calls[name]
        self._calls[name] += 1
        self.see(site, args)
        own = self.run(func, args, kwargs or {})
        if site not in self.answers:
            return own
        self._told += 1
        values = own if isinstance(own, torch.Tensor) else own[0]
        told = _shaped_like(values, self.answers[site])
        return told if values is own else (told, *own[1:])

    def see(self, site: CallSite, args: Sequence[Any]) -> None:
        """Look at a call before it is made."""

    def check(self) -> None:
        """Check that every given result was used.

        Raises
        ------
        ModelError
            A layer did not run, so the network runs other operators here than when it was probed.
        """
        if self._told != len(self.answers):
            raise ModelError(f"{len(self.answers) - self._told} of the network's {len(self.answers)} global layers "
                             "did not run: it does something else here than when it was probed (`model`)")


def _shaped_like(computed: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the values of one image in the shape of the layer's result for a batch."""
    values = values.to(computed.device, computed.dtype)
    if values.numel() == computed.numel():
        return values.reshape(computed.shape)
    return values.reshape(1, *computed.shape[1:]).expand(computed.shape).contiguous()


class _Enough(Exception):
    """Ends a pass that has seen all calls it waited for."""


class _Reducing(Injected):
    """Reduces the inputs of some calls over a part of the image, then ends the pass."""

    def __init__(self, sites: Sequence[Site], part: Box, sizes: Sequence[int], answers: Answers) -> None:
        super().__init__(answers)
        self._sites = {site.call: site for site in sites}
        self._part, self._sizes = part, sizes
        self.found: dict[CallSite, tuple[torch.Tensor, int]] = {}

    def see(self, site: CallSite, args: Sequence[Any]) -> None:
        wanted = self._sites.get(site)
        if wanted is None:
            return
        self.found[site] = wanted.reduce(wanted.core(args[0], self._part, self._sizes))
        if self.ended:
            raise _Enough

    @property
    def ended(self) -> bool:
        return len(self.found) == len(self._sites)


class Until(Injected):
    """A pass that ends after the last of some calls."""

    def __init__(self, sites: Sequence[Site]) -> None:
        super().__init__({})
        self._left = {site.call for site in sites}

    def see(self, site: CallSite, args: Sequence[Any]) -> None:
        self._left.discard(site)
        if self.ended:
            raise _Enough

    @property
    def ended(self) -> bool:
        return not self._left


def run_until(mode: _Reducing | Until, forward: Callable[[], Any]) -> None:
    """Run a pass until a mode ends it.

    Raises
    ------
    ModelError
        The pass ended without the calls that the mode waited for.
    """
    try:
        with mode:
            forward()
    except Exception:  # TorchScript wraps what is raised inside it
        if not mode.ended:
            raise
        return
    raise ModelError("a global layer did not run: the network does something else here than when it was probed "
                     "(`model`)")


def reduced(
    forward: Callable[[], Any], sites: Sequence[Site], part: Box, sizes: Sequence[int], answers: Answers
) -> Partial:
    """Reduce the inputs of global layers over a part of an image.

    Parameters
    ----------
    forward
        Runs one pass over one image.
    sites
        The global layers.
    part
        Part in voxels of the image, on the image's axes; begins on the stride grid.
    sizes
        Size of the image.
    answers
        Results of earlier global layers.
    """
    mode = _Reducing(sites, part, sizes, answers)
    run_until(mode, forward)
    sums: list[np.ndarray] = [np.zeros(0)]
    maxima: list[np.ndarray] = [np.zeros(0)]
    for site in sites:
        values, cells = mode.found[site.call]
        flat = values.cpu().numpy()
        if site.how in ("mean", "sum"):
            sums += [flat, np.array([float(cells)])]
        else:
            maxima.append(flat if site.how == "max" else -flat)
    return Partial(np.concatenate(sums), np.concatenate(maxima))


def answers_of(sites: Sequence[Site], total: Partial) -> dict[CallSite, torch.Tensor]:
    """Compute the results of the layers from the sums and maxima over all parts."""
    answers: dict[CallSite, torch.Tensor] = {}
    sums, maxima = total.sums, total.maxima
    for site in sites:
        if site.how in ("mean", "sum"):
            values, cells, sums = sums[:site.values], sums[site.values], sums[site.values + 1:]
            values = values / cells if site.how == "mean" else values
        else:
            values, maxima = maxima[:site.values], maxima[site.values:]
            values = values if site.how == "max" else -values
        answers[site.call] = torch.from_numpy(np.array(values))
    return answers
