"""Findings of the probe and the self-check about a network's architecture, kept in the user's cache folder.

Weights do not matter: both draw random ones. What is remembered belongs to versions and sources of both, too.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tiler.errors import TilerError
from tiler.geometry import Footprint
from tiler.machine import cache_folder
from tiler.models.aten.graph import NotStagedError, Size
from tiler.models.aten.selfcheck import Staging, check_stages
from tiler.models.aten.sizes import sizes_kept
from tiler.models.aten.tiles import check_tiles
from tiler.models.loading.loaded_model import LoadedModel
from tiler.models.probe import Context, Offence, ProbeReport, ProofPart, probe, prove
from tiler.stores.durable import replace_durably
from tiler.version import __version__

VALUES = ("weights", "values", "ensemble")
"""Entries of a network's identity that its architecture does not depend on."""
SOURCES = ("aten", "probe")

log = logging.getLogger(__name__)

_latest: dict[str, dict[str, Any]] = {}
"""Findings of this process, for folders that cannot be written."""


@dataclass(frozen=True)
class Survey:
    """Findings about one network; each is made when it is first asked for, and then remembered."""

    loaded: LoadedModel

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.loaded,)

    @cached_property
    def derived(self) -> ProbeReport:
        """The probe's report, without a proof."""
        found = self._remembered("derived", lambda: asdict(
            probe(self._module, self.loaded.in_channels, self.loaded.ndim, prove=False)))
        return _report(found)

    @cached_property
    def proved(self) -> ProbeReport:
        """The same with a proof of its footprint, if it has exact tiles."""
        report = self.derived
        if report.exactness != "EXACT" or report.footprint is None:
            return report
        found = self._remembered("proof", lambda: [asdict(part) for part in self._proof(report)])
        return replace(report, proof=tuple(ProofPart(**part) for part in found))

    def _proof(self, report: ProbeReport) -> tuple[ProofPart, ...]:
        """On graphs and by the check of stages if both are possible, else by experiments on whole tiles."""
        footprint, channels, ndim = report.footprint, self.loaded.in_channels, self.loaded.ndim
        assert footprint is not None, "only exact tiles are proved"
        if footprint.keeps_size:
            with suppress(NotStagedError):
                check_tiles(self.loaded.recipe.meta(), footprint, channels, ndim)
                return (ProofPart("steps", True, "a core is made by the same steps from the same voxels in any tile"),
                        ProofPart("values", True, "blocks of stages differ from one pass by "
                                                  f"{self.staging().error:.1e} of the range"))
        return prove(self._module, footprint, channels, ndim, report.context)

    def staging(self) -> Staging:
        """The result of the check of its stages.

        Raises
        ------
        NotStagedError
            If the network cannot be run in stages, or gives a different result.
        """
        found = self._remembered("staging", self._checked)
        if "refused" in found:
            raise NotStagedError(found["refused"])
        return Staging(**{**found, "periods": tuple(found["periods"])})

    @property
    def sizes(self) -> Size | None:
        """``([z], y, x)`` whose multiples the network takes and keeps; None if it keeps none that was tried."""
        found = self._remembered("sizes", lambda: sizes_kept(
            self.loaded.meta(), self.loaded.in_channels, self.loaded.ndim))
        return None if found is None else tuple(found)

    def _checked(self) -> dict[str, Any]:
        try:
            return asdict(check_stages(self._module, self.loaded.in_channels, self.loaded.ndim))
        except NotStagedError as reason:
            return {"refused": str(reason)}

    @cached_property
    def _module(self) -> nn.Module:
        return self.loaded.bare()

    @cached_property
    def _key(self) -> str:
        """Hash of the architecture, of versions and of the sources of probe and self-check."""
        parts = {name: value for name, value in self.loaded.identity.items() if name not in VALUES}
        shapes = {name: list(value.shape) for name, value in self.loaded.recipe.meta().state_dict().items()}
        content = [__version__, torch.__version__, _sources(), parts, shapes, self.loaded.in_channels,
                   self.loaded.ndim]
        return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]

    def _remembered(self, name: str, make: Callable[[], Any]) -> Any:
        path = cache_folder("networks") / f"{self._key}.json"
        known = _latest.get(self._key) or _read(path)
        if name not in known:
            known = {**known, name: make()}
            _write(path, known)
        _latest.clear()
        _latest[self._key] = known
        return known[name]


def surveyed(loaded: LoadedModel) -> ProbeReport:
    """All that is to be known about a network: its exact tiles with a proof, else its stages."""
    survey = Survey(loaded)
    report = survey.proved
    if report.exactness == "EXACT":
        return report
    with suppress(NotStagedError):
        report = replace(report, staging=survey.staging())
    return report


@cache
def _sources() -> str:
    """Hash of the code that makes the findings, which changes more often than tiler's version."""
    digest = hashlib.sha256()
    for folder in SOURCES:
        for path in sorted((Path(__file__).parents[1] / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, Any]:
    """The findings that are kept; none if the file is damaged."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, known: Mapping[str, Any]) -> None:
    """Remember; if the folder cannot be written, the next process finds out again."""
    with suppress(OSError, TilerError):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_durably(path, json.dumps(known).encode(), shared=True)


def _report(found: Mapping[str, Any]) -> ProbeReport:
    """A report from its JSON."""
    footprint, context = (found[name] and {key: tuple(axis) for key, axis in found[name].items()}
                          for name in ("footprint", "context"))
    return ProbeReport(**{
        **found,
        "footprint": footprint and Footprint(**footprint),
        "context": context and Context(**context),
        "offending": tuple(Offence(**each) for each in found["offending"]),
        "proof": (),
    })
