"""Global layers in several passes: reduce what they look at over a part of the image, then give them the result.

A global mean or maximum is the sum, or the largest, of what the parts of an image give. So a pass over all parts
finds it, and in the pass behind it the layer is told the result instead of computing one from the tile it sees::

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
"""An operator's name, and how many calls of it came before this one."""

How = Literal["mean", "sum", "max", "min"]
Answers = Mapping[CallSite, torch.Tensor]
"""What global layers are told: their results, flat, in float64."""


@dataclass(frozen=True, slots=True)
class Cells:
    """The cells of a map along one axis of the image.

    Parameters
    ----------
    voxels, cells
        So many voxels of the input hold so many cells.
    origin
        Where in the input cell 0 begins, laid on the stride grid.
    size, count
        Of an input in phase, and its cells.
    """

    voxels: int
    cells: int
    origin: int
    size: int
    count: int

    def at(self, size: int) -> int:
        """How many there are for an input in phase."""
        return self.count + (size - self.size) * self.cells // self.voxels

    def within(self, span: Span, size: int) -> Span:
        """Those of a part of the input that begins on the stride grid; all that are left at the input's end."""
        first = (span.start - self.origin) * self.cells // self.voxels
        last = self.at(size) if span.stop >= size else (span.stop - self.origin) * self.cells // self.voxels
        return Span(first, last)


@dataclass(frozen=True, slots=True)
class Site:
    """One call of a global layer.

    Parameters
    ----------
    call
        Which.
    how
        What it does.
    over
        The dimensions of its input that it does it over.
    layout
        The input's dimensions: for each the axes of the image in it, None for anything else, with the size of that;
        outermost first where a view has merged several.
    axes
        The cells of its input, on the image's axes.
    values
        How many it gives for one image.
    """

    call: CallSite
    how: How
    over: tuple[int, ...]
    layout: tuple[tuple[tuple[int | None, int], ...], ...]
    axes: tuple[Cells, ...]
    values: int

    def core(self, x: torch.Tensor, part: Box, sizes: Sequence[int]) -> torch.Tensor:
        """The cells of a part of an image of those sizes."""
        for at, dim in reversed(list(enumerate(self.layout))):
            if all(axis is None for axis, _ in dim):
                continue
            wide = [size if axis is None else self.axes[axis].at(sizes[axis]) for axis, size in dim]
            crop = [slice(None) if axis is None else self.axes[axis].within(part.spans[axis], sizes[axis]).slice
                    for axis, _ in dim]
            x = x.unflatten(at, wide)[(*[slice(None)] * at, *crop)].flatten(at, at + len(dim) - 1)
        return x

    def reduce(self, x: torch.Tensor) -> tuple[torch.Tensor, int]:
        """``(values,)`` float64 and the number of cells behind each."""
        wide = x.to(torch.float64)
        if self.how in ("mean", "sum"):
            return wide.sum(self.over).flatten(), int(np.prod([x.shape[d] for d in self.over]))
        extreme = wide.amax(self.over) if self.how == "max" else wide.amin(self.over)
        return extreme.flatten(), 0


class Injected(Observer):
    """Within this context one forward pass is told the results of global layers.

    Parameters
    ----------
    answers
        For the calls to be answered; all others are computed.
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
        """Raise if a layer that should have been told its result never asked.

        Raises
        ------
        ModelError
            Then the network runs other operators here than where it was probed.
        """
        if self._told != len(self.answers):
            raise ModelError(f"{len(self.answers) - self._told} of the network's {len(self.answers)} global layers "
                             "did not run: it does something else here than when it was probed (--model)")


def _shaped_like(computed: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Values of one image in the form in which the layer gives them for a batch."""
    values = values.to(computed.device, computed.dtype)
    if values.numel() == computed.numel():
        return values.reshape(computed.shape)
    return values.reshape(1, *computed.shape[1:]).expand(computed.shape).contiguous()


class _Enough(Exception):
    """All that was looked for has been seen."""


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
    """A pass that ends behind the last of some calls."""

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
    """Run a pass as far as a mode lets it.

    Raises
    ------
    ModelError
        If it came to its end without what the mode was waiting for.
    """
    try:
        with mode:
            forward()
    except Exception:  # TorchScript wraps what is raised inside it
        if not mode.ended:
            raise
        return
    raise ModelError("a global layer did not run: the network does something else here than when it was probed "
                     "(--model)")


def reduced(
    forward: Callable[[], Any], sites: Sequence[Site], part: Box, sizes: Sequence[int], answers: Answers
) -> Partial:
    """What the inputs of global layers add up to over a part of an image.

    Parameters
    ----------
    forward
        One pass of one image.
    sites
        The layers.
    part
        In voxels of the image, on its own axes; begins on the stride grid.
    sizes
        Of the image.
    answers
        For global layers in front of them.
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
    """What the layers are to be told, from what all parts add up to."""
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
