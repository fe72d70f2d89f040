"""The probe: what a network needs to be tiled exactly, derived from what it computes, then proved.

`probe` reports, and never refuses; `require_exact` refuses, naming the layer. `derive` and `prove` are its two
halves; `prove` also tests a footprint that the user declares.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from tiler.geometry import Footprint, Reach
from tiler.models.probe.derive import Derivation, derive
from tiler.models.probe.graph import Offence
from tiler.models.probe.prove import prove
from tiler.models.probe.report import Context, Exactness, ProbeReport, ProofPart, require_exact

__all__ = ["Context", "Derivation", "Exactness", "Offence", "ProbeReport", "ProofPart", "derive", "probe", "prove",
           "require_exact"]

_ONE_SLICE = Reach(0, 0, 0, 0, 1)
_prove = prove


def probe(module: nn.Module, in_channels: int, ndim: int = 2, *, prove: bool = True) -> ProbeReport:
    """Find out how a network can be tiled.

    Parameters
    ----------
    module
        ``(n, in_channels, *size) -> (n, classes, *size')``; a Module or ScriptModule. It is not changed.
    in_channels
        Channels of its input.
    ndim
        2 for a network of slices (y, x), 3 for one of volumes (z, y, x).
    prove
        Whether to test the footprint on the network too; it takes seconds.

    Raises
    ------
    ModelError
        If the network runs at no size that was tried, or returns no tensor.
    """
    found = derive(module, in_channels, ndim)
    report = ProbeReport(
        network=getattr(module, "original_name", type(module).__name__), ndim=ndim,
        footprint=found.footprint and _over_volume(found.footprint),
        context=found.context and Context(*((0,) * (3 - ndim) + side for side in (found.context.low,
                                                                                  found.context.high))),
        exactness=found.exactness, border=found.border, in_channels=in_channels,
        out_channels=found.out_channels, offending=found.offending)
    if not prove or found.footprint is None or found.exactness != "EXACT":
        return report
    proof = _prove(module, found.footprint, in_channels, found.context, swallows=found.swallows)
    return replace(report, proof=proof)


def _over_volume(footprint: Footprint) -> Footprint:
    """The footprint over (z, y, x): a 2-D network is a network whose tile is one slice thick."""
    axes = footprint.axes
    return Footprint.of([*[_ONE_SLICE] * (3 - len(axes)), *axes])
