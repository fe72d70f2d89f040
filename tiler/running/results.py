"""The kinds of results, one class each: its output, its stages and its check."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tiler.geometry import Box, Grid
from tiler.objects.rules import Rules
from tiler.ports import KINDS, Array, Kind
from tiler.running.object_stages import ObjectStages
from tiler.running.output_spec import network_spec
from tiler.running.run_spec import Result, RunSpec
from tiler.running.stage import Stage
from tiler.running.table_stages import outline_stages, table_stages
from tiler.running.tensor_stages import network_stages


@dataclass(frozen=True, slots=True)
class Probabilities:
    """The output of the network as it is."""

    kind: Kind = KINDS["probabilities"]

    def stages(self, run: RunSpec) -> list[Stage]:
        return network_stages(run, run.output.sink(network_spec(run, self.kind.name)))

    def difference(self, stored: Array, computed: Array, rules: Rules | None) -> float:
        """Largest difference of two values."""
        return float(np.abs(stored.astype(np.float64) - computed.astype(np.float64)).max())


@dataclass(frozen=True, slots=True)
class Labels:
    """The number of the most likely class."""

    kind: Kind = KINDS["labels"]

    def stages(self, run: RunSpec) -> list[Stage]:
        return network_stages(run, run.output.sink(network_spec(run, self.kind.name)))

    def difference(self, stored: Array, computed: Array, rules: Rules | None) -> float:
        """Largest difference between the probabilities of the best class and of the stored one; 0 if they agree."""
        label, margin = _best(computed)
        return _worst(margin, stored[0] != label)


@dataclass(frozen=True, slots=True)
class Mask(Labels):
    """255 where one class is, and 0 elsewhere.

    Parameters
    ----------
    threshold
        Lowest probability of the class; None for the more likely of two classes.
    """

    kind: Kind = KINDS["mask"]
    threshold: float | None = None

    def difference(self, stored: Array, computed: Array, rules: Rules | None) -> float:
        label, margin = _cut(computed, self.threshold)
        return _worst(margin, (stored[0] > 0) != (label > 0))


@dataclass(frozen=True, slots=True)
class Instances:
    """Numbered objects made from labels; the labels are stored beside the output until the objects are numbered."""

    kind: Kind = KINDS["instances"]

    def stages(self, run: RunSpec) -> list[Stage]:
        rules = run.rules
        assert run.dtype is not None
        assert rules is not None
        wanted = network_spec(run, "labels" if rules.threshold is None else "probabilities")
        stored = run.output.stage(wanted)
        numbered = replace(wanted, dtype=run.dtype, kind=self.kind.name)
        grid = Grid(Box.of_shape(run.plan.region.shape), run.plan.block)
        stages = ObjectStages(rules, grid, run.output, numbered, run.part, run.plan.region.start)
        output = run.output.sink(numbered)
        probability = None if rules.threshold is None else stored
        table = [] if run.table is None else table_stages(run.table, grid, run.output, numbered, output, probability)
        outlines = [] if run.outlines is None else outline_stages(run.outlines, grid, run.output, output)
        return [*network_stages(run, stored), *stages.of(stored, output), *table, *outlines]

    def difference(self, stored: Array, computed: Array, rules: Rules | None) -> float:
        """Largest difference between the probabilities of the best choice and of the stored background or foreground.

        Background is not compared if small instances were dropped, foreground not if instances were grown or holes
        filled.
        """
        assert rules is not None
        label, margin = _cut(computed, rules.threshold)
        found = stored[0] > 0
        wrong = found != (label > 0)
        if rules.min_size > 1:
            wrong &= found
        if rules.grow or rules.fill_holes:
            wrong &= ~found
        return _worst(margin, wrong)


RESULTS: dict[str, Result] = {each.kind.name: each for each in (Probabilities(), Labels(), Mask(), Instances())}
"""Every kind of result by its name."""


def result_of(kind: str, threshold: float | None) -> Result:
    """A kind of result; only masks need to know their threshold."""
    return Mask(threshold=threshold) if kind == "mask" else RESULTS[kind]


def _cut(computed: Array, threshold: float | None) -> tuple[Array, Array]:
    """Foreground (z, y, x) and how clear it is: above a threshold, or by the most likely class."""
    if threshold is None:
        return _best(computed)
    return computed[0] > threshold, np.abs(computed[0] - threshold)


def _best(probabilities: Array) -> tuple[Array, Array]:
    """The most likely class, (z, y, x), and how much more likely it is than the second."""
    scores = np.concatenate([1 - probabilities, probabilities]) if len(probabilities) == 1 else probabilities
    second, best = np.sort(scores, axis=0)[-2:]
    return np.argmax(scores, axis=0), best - second


def _worst(margin: Array, wrong: Array) -> float:
    return float(np.max(np.where(wrong, margin, 0.0), initial=0.0))
