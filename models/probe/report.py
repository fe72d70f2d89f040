"""The report of the probe about a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tiler.errors import ModelError, OutputShapeError, UnboundedContextError
from tiler.geometry import Footprint, Reach, Shape
from tiler.models.aten.selfcheck import Staging
from tiler.models.probe.graph import Offence
from tiler.ports import Border

Exactness = Literal["EXACT", "STAGES", "WHOLE"]
AXES = ("z", "y", "x")
_STANDING = {"EXACT": "exact in tiles with context", "STAGES": "looks at its whole input: not exact in tiles",
             "WHOLE": "one answer for its whole input"}
_ALIKE = 6
"""Further layers with the same reason are counted instead of listed from this number on."""


@dataclass(frozen=True, slots=True)
class ProofPart:
    """One experiment of the proof: its name, whether it agrees with the footprint, and its result."""

    name: str
    passed: bool
    detail: str

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'}  {self.name}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Context:
    """Context that a stride-aligned core needs on either side, in voxels (z, y, x), before any rounding."""

    low: Shape
    high: Shape


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """How a network can be tiled.

    Parameters
    ----------
    network
        Name of the network's class.
    ndim
        2 for a network of slices, 3 for one of volumes.
    footprint
        Footprint over (z, y, x), rounded so that at legal sizes no pooling floors or ceils; for a 2-D network tiles
        are one slice thick. None if none was found.
    context
        The same context unrounded; None if none was found.
    exactness
        EXACT: in tiles with context; STAGES: a layer looks at its whole input, so that only stages can be exact;
        WHOLE: the output has no axis of the image. This is the derived class; see ``proved`` and ``staging``.
    border
        Default contents of the canvas beyond the volume.
    in_channels, out_channels
        Channels of input and output.
    offending
        Layers because of which the network is not EXACT.
    proof
        Results of the experiments; empty if the footprint was only derived.
    staging
        Properties of its stages, if it is not EXACT but runs exactly in stages; None if it does not, or if the probe
        did not check.
    """

    network: str
    ndim: int
    footprint: Footprint | None
    context: Context | None
    exactness: Exactness
    border: Border
    in_channels: int
    out_channels: int
    offending: tuple[Offence, ...] = ()
    proof: tuple[ProofPart, ...] = ()
    staging: Staging | None = None

    @property
    def proved(self) -> bool:
        return bool(self.proof) and all(part.passed for part in self.proof)

    @property
    def standing(self) -> str:
        """The needs of the network, in plain words."""
        if self.staging is not None:
            return str(self.staging)
        return _STANDING[self.exactness] + ("" if not self.proof else ", proved" if self.proved else ", NOT PROVED")

    def __str__(self) -> str:
        channels = f"{self.in_channels} -> {self.out_channels} channels"
        border = self.border if self.staging is None else "zero"
        lines = [f"{self.network}: {self.standing}; {channels}, border {border}"]
        if self.footprint is not None and self.context is not None:
            pairs = zip(self.context.low, self.context.high, strict=True)
            rows = zip(AXES, self.footprint.axes, pairs, strict=True)
            lines += [_axis_line(name, reach, *needed) for name, reach, needed in list(rows)[3 - self.ndim:]]
        lines += [f"  {line}" for line in _offence_lines(self.offending)]
        lines += [f"  {part}" for part in self.proof]
        return "\n".join(lines)


def _offence_lines(offending: Iterable[Offence]) -> Iterator[str]:
    """Yield a line for each offence; many with the same reason are shortened to the first and a count."""
    alike: dict[str, list[Offence]] = {}
    for offence in offending:
        alike.setdefault(offence.reason, []).append(offence)
    for first, *others in alike.values():
        yield str(first)
        if len(others) < _ALIKE:
            yield from map(str, others)
        else:
            yield f"and {len(others)} more like it, the last one {others[-1].layer}"


def _axis_line(name: str, reach: Reach, low: int, high: int) -> str:
    start = reach.smallest % reach.stride
    sizes = f"{start} + {reach.stride} k" if reach.stride > 1 else "any"
    return (f"  {name}: context {reach.low} before and {reach.high} after (needs {low} and {high}), "
            f"drops {reach.shrink_low} and {reach.shrink_high}, stride {reach.stride}, "
            f"tiles {sizes} from {reach.smallest}")


_OTHERWISE = ("`tiling=blend` averages overlapping windows and measures how far that is off, `tiling=whole` gives it "
              "every input in one piece")
"""Advice for a network that no tiling computes exactly."""


def require_tiled(report: ProbeReport, unstaged: str = "") -> Footprint:
    """Return the footprint of a network that can be tiled exactly.

    ``unstaged`` says why it does not run in stages either, if that was tried.

    Raises
    ------
    OutputShapeError
        The output is not a map at the input's resolution.
    UnboundedContextError
        A layer, named in the message, depends on the whole input or on the position in it.
    ModelError
        The footprint could not be derived, or its proof failed.
    """
    first = next(iter(report.offending), None)
    if report.exactness == "WHOLE" or (first is not None and first.kind == "output"):
        raise OutputShapeError(f"{report.network} cannot be tiled: "
                               f"{first.reason if first else 'its output has no axis of the image'}; `tiling=whole` "
                               "gives it every input in one piece")
    if first is not None and first.kind != "unknown":
        stages = f"in stages, {unstaged}" if unstaged else "`execution=stages` gives the values of the whole"
        raise UnboundedContextError(f"{report.network} has no bounded context: {first}; no tiling of it is exact; "
                                    f"{stages}; {_OTHERWISE}")
    if first is not None or report.footprint is None:
        raise ModelError(f"the context of {report.network} cannot be derived: {first}; declare its footprint, or "
                         f"{_OTHERWISE}")
    failed = [part for part in report.proof if not part.passed]
    if failed:
        raise ModelError(f"the footprint of {report.network} is not proved: {failed[0].name}: {failed[0].detail}")
    return report.footprint
