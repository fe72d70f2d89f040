"""The kinds of results, each a class: what it writes, which stages make it, and how it is checked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tiler.ports import KINDS, Array, Kind
from tiler.running.output_spec import network_spec
from tiler.running.run_spec import Result, RunSpec
from tiler.running.stage import Stage
from tiler.running.stages import NetworkStage, NumberingStage, rows_of


@dataclass(frozen=True, slots=True)
class Probabilities:
    """The output of the network as it is."""

    kind: Kind = KINDS["probabilities"]

    def stages(self, run: RunSpec) -> list[Stage]:
        return [NetworkStage(run, run.output.sink(network_spec(run, self.kind.name)))]

    def difference(self, stored: Array, computed: Array, min_size: int) -> float:
        """Largest difference of two values."""
        return float(np.abs(stored.astype(np.float64) - computed.astype(np.float64)).max())


@dataclass(frozen=True, slots=True)
class Labels:
    """The number of the most likely class."""

    kind: Kind = KINDS["labels"]

    def stages(self, run: RunSpec) -> list[Stage]:
        return [NetworkStage(run, run.output.sink(network_spec(run, self.kind.name)))]

    def difference(self, stored: Array, computed: Array, min_size: int) -> float:
        """How much less likely than the best a stored class is, at worst; 0 where it is the best."""
        label, margin = _best(computed)
        return _worst(margin, stored[0] != label)


@dataclass(frozen=True, slots=True)
class Instances:
    """The connected components of the foreground, numbered; its labels wait beside the output for their numbers."""

    kind: Kind = KINDS["instances"]

    def stages(self, run: RunSpec) -> list[Stage]:
        wanted = network_spec(run, "labels")
        labels = NetworkStage(run, run.output.stage(wanted))
        block, chunk = (1, rows_of(run), wanted.shape[3]), (1, *run.plan.chunk[1:])
        assert run.dtype is not None
        numbered = replace(wanted, dtype=run.dtype, kind=self.kind.name, block=block, chunk=chunk, shard=None)
        return [labels, NumberingStage(run, labels.output, run.output.sink(numbered))]

    def difference(self, stored: Array, computed: Array, min_size: int) -> float:
        """The same for background and foreground.

        Small instances were dropped, so that background shows nothing where there is a smallest size.
        """
        label, margin = _best(computed)
        wrong = (stored[0] > 0) != (label > 0)
        return _worst(margin, wrong & (stored[0] > 0) if min_size > 1 else wrong)


RESULTS: dict[str, Result] = {each.kind.name: each for each in (Probabilities(), Labels(), Instances())}
"""Every kind of result by its name."""


def _best(probabilities: Array) -> tuple[Array, Array]:
    """The most likely class, (z, y, x), and how much more likely it is than the second."""
    scores = np.concatenate([1 - probabilities, probabilities]) if len(probabilities) == 1 else probabilities
    second, best = np.sort(scores, axis=0)[-2:]
    return np.argmax(scores, axis=0), best - second


def _worst(margin: Array, wrong: Array) -> float:
    return float(np.max(np.where(wrong, margin, 0.0), initial=0.0))
