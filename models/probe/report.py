"""What the probe says about a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from tiler.errors import ModelError, OutputShapeError, UnboundedContextError
from tiler.geometry import Footprint, Reach, Shape
from tiler.models.probe.graph import Offence
from tiler.models.probe.passes import Pass
from tiler.ports import Border

Exactness = Literal["EXACT", "EXACT_2PASS", "BLEND", "WHOLE"]
AXES = ("z", "y", "x")
_ALIKE = 6
"""From how many more on layers with the same reason are counted instead of listed."""


@dataclass(frozen=True, slots=True)
class ProofPart:
    """One of the proof's experiments: what it showed, and whether that is what the footprint says."""

    name: str
    passed: bool
    detail: str

    def __str__(self) -> str:
        return f"{'passed' if self.passed else 'FAILED'}  {self.name}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Context:
    """What a stride-aligned core needs on either side, in voxels (z, y, x), before any rounding."""

    low: Shape
    high: Shape


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """What a network needs to be tiled.

    Parameters
    ----------
    network
        Name of its class.
    ndim
        2 for a network of slices, 3 for one of volumes.
    footprint
        Over (z, y, x), rounded so that its tiles are the sizes at which no pooling floors or ceils; with an
        extent of one slice along z where the network is 2-D. None where none was found.
    context
        The same context unrounded; None where none was found.
    exactness
        How it can be run: EXACT; EXACT_2PASS, where global means or maxima are found in a first pass and injected
        in a second one (in more of them where one such layer depends on another);
        BLEND, where no tiling is exact; WHOLE, where the output has no axis of the image. It is what was
        derived: see ``proved``.
    border
        What the canvas holds beyond the volume, by default.
    in_channels, out_channels
        Of the network.
    offending
        The layers because of which it is not EXACT.
    proof
        The experiments made; empty where the footprint was derived only.
    passes
        What comes before the last pass.
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
    passes: tuple[Pass, ...] = ()

    @property
    def proved(self) -> bool:
        return bool(self.proof) and all(part.passed for part in self.proof)

    def __str__(self) -> str:
        standing = "" if not self.proof else ", proved" if self.proved else ", NOT PROVED"
        lines = [f"{self.network}: {self.exactness}{standing}; "
                 f"{self.in_channels} -> {self.out_channels} channels, border {self.border}"]
        if self.footprint is not None and self.context is not None:
            pairs = zip(self.context.low, self.context.high, strict=True)
            rows = zip(AXES, self.footprint.axes, pairs, strict=True)
            lines += [_axis_line(name, reach, *needed) for name, reach, needed in list(rows)[3 - self.ndim:]]
        lines += [f"  pass {number}: {self._pass_line(each)}" for number, each in enumerate(self.passes, 1)]
        lines += [f"  {line}" for line in _offence_lines(self.offending)]
        lines += [f"  {part}" for part in self.proof]
        return "\n".join(lines)

    def _pass_line(self, each: Pass) -> str:
        low, high = (_by(sides[3 - self.ndim:]) for sides in (each.footprint.low, each.footprint.high))
        layers = f"{len(each.sites)} global layer{'s' if len(each.sites) > 1 else ''}"
        return f"{layers} over the whole input, context {low} before and {high} after"


def _offence_lines(offending: Iterable[Offence]) -> Iterator[str]:
    """One line each; of many that are alike the first, and how many more there are."""
    alike: dict[str, list[Offence]] = {}
    for offence in offending:
        alike.setdefault(offence.reason, []).append(offence)
    for first, *others in alike.values():
        yield str(first)
        if len(others) < _ALIKE:
            yield from map(str, others)
        else:
            yield f"and {len(others)} more like it, the last one {others[-1].layer}"


def _by(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _axis_line(name: str, reach: Reach, low: int, high: int) -> str:
    start = reach.smallest % reach.stride
    sizes = f"{start} + {reach.stride} k" if reach.stride > 1 else "any"
    return (f"  {name}: context {reach.low} before and {reach.high} after (needs {low} and {high}), "
            f"drops {reach.shrink_low} and {reach.shrink_high}, stride {reach.stride}, "
            f"tiles {sizes} from {reach.smallest}")


def require_exact(report: ProbeReport) -> Footprint:
    """The footprint of a network that may be tiled in one exact pass.

    Raises
    ------
    OutputShapeError
        If the output is not a map at the input's resolution.
    UnboundedContextError
        If a layer looks at the whole input, or at the position in it; it is named.
    ModelError
        If the footprint could not be derived, or its proof failed.
    """
    if report.exactness == "EXACT_2PASS":
        raise UnboundedContextError(f"{report.network} has no bounded context: {report.offending[0]}; exact in "
                                    f"{len(report.passes) + 1} passes only")
    return require_tiled(report)


_OTHERWISE = ("--tiling blend averages overlapping windows and measures how far that is off, --tiling whole gives it "
              "every input in one piece")
"""What can be done with a network that no tiling computes exactly."""


def require_tiled(report: ProbeReport) -> Footprint:
    """The footprint of the last pass of a network that may be tiled exactly, in however many passes.

    Raises
    ------
    OutputShapeError, UnboundedContextError, ModelError
        As `require_exact`.
    """
    first = next((o for o in report.offending if o.kind != "reduce"), None)
    if report.exactness == "WHOLE" or (first is not None and first.kind == "output"):
        raise OutputShapeError(f"{report.network} cannot be tiled: "
                               f"{first.reason if first else 'its output has no axis of the image'}; --tiling whole "
                               "gives it every input in one piece")
    if first is not None and first.kind != "unknown":
        raise UnboundedContextError(f"{report.network} has no bounded context: {first}; no tiling of it is exact: "
                                    f"{_OTHERWISE}")
    if first is not None or report.footprint is None:
        raise ModelError(f"the context of {report.network} cannot be derived: {first}; declare its footprint, or "
                         f"{_OTHERWISE}")
    failed = [part for part in report.proof if not part.passed]
    if failed:
        raise ModelError(f"the footprint of {report.network} is not proved: {failed[0].name}: {failed[0].detail}")
    return report.footprint
