"""The probe: derive the footprint of a network from the operators that it runs, then prove it.

`probe` reports and never refuses; `require_tiled` refuses and names the layer. `derive` and `prove`
are the two halves of the probe; `prove` also tests a footprint that the user declares.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from torch import nn

from tiler.models.aten.graph import NotStagedError
from tiler.models.aten.selfcheck import check_stages
from tiler.models.probe.derivation import Derivation, derive
from tiler.models.probe.graph import Offence
from tiler.models.probe.proof import prove
from tiler.models.probe.report import Context, Exactness, ProbeReport, ProofPart, require_tiled

__all__ = ["Context", "Derivation", "Exactness", "Offence", "ProbeReport", "ProofPart", "derive", "probe", "prove",
           "require_tiled"]

_prove = prove


def probe(
    module: nn.Module, in_channels: int, ndim: int = 2, *, prove: bool = True, stages: bool = False
) -> ProbeReport:
    """Find out how a network can be tiled.

    Parameters
    ----------
    module
        ``(n, in_channels, *size) -> (n, classes, *size')``; a Module or ScriptModule. It is not changed.
    in_channels
        Channels of the input.
    ndim
        2 for a network of slices (y, x), 3 for one of volumes (z, y, x).
    prove
        Whether to prove the footprint on the network as well, which takes seconds.
    stages
        Whether to check if a network that is not EXACT runs exactly in stages, which also takes seconds.

    Raises
    ------
    ModelError
        The network runs at none of the sizes tried.
    OutputShapeError
        The network returns anything but a single tensor.
    """
    found = derive(module, in_channels, ndim)
    report = ProbeReport(
        network=getattr(module, "original_name", type(module).__name__), ndim=ndim, footprint=found.footprint,
        context=found.context, exactness=found.exactness, border=found.border, in_channels=in_channels,
        out_channels=found.out_channels, offending=found.offending)
    if stages and found.exactness != "EXACT":
        with suppress(NotStagedError):
            report = replace(report, staging=check_stages(module, in_channels, ndim))
    if not prove or found.footprint is None or found.exactness != "EXACT":
        return report
    proof = _prove(module, found.footprint, in_channels, ndim, found.context, swallows=found.swallows)
    return replace(report, proof=proof)
