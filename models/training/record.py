"""What a run writes, and what it has found so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiler.models.training.validation import CHOSEN_BY


@dataclass(frozen=True, slots=True)
class Files:
    """Where a run writes.

    Parameters
    ----------
    weights
        The result, written when the run ends.
    """

    weights: Path

    @property
    def folder(self) -> Path:
        """Of the run that is not finished."""
        return self.weights.with_name(f"{self.weights.stem}.training")

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def best(self) -> Path:
        return self.folder / "best.safetensors"

    def candidate(self, step: int) -> Path:
        """What is being validated. A name of its own each time, because an opened network is kept by its path."""
        return self.folder / f"step-{step}.safetensors"

    @property
    def csv(self) -> Path:
        return self.weights.with_suffix(".csv")

    @property
    def svg(self) -> Path:
        return self.weights.with_suffix(".svg")


@dataclass
class Record:
    """What a run has found so far.

    Parameters
    ----------
    rows
        Of the learning curves.
    losses
        Since the last row.
    seconds
        Spent, before this process too.
    best
        Scores of the best weights so far, and their step.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    seconds: float = 0.0
    best: dict[str, float] | None = None

    def improves(self, scores: dict[str, float]) -> bool:
        return self.best is None or scores[CHOSEN_BY] > self.best[CHOSEN_BY]

    def to_json(self) -> dict[str, Any]:
        return {"rows": self.rows, "losses": self.losses, "seconds": self.seconds, "best": self.best}
