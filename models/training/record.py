"""The files of a run, and its learning curves and scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tiler.models.training.validation import CHOSEN_BY


@dataclass(frozen=True, slots=True)
class Files:
    """The paths of a run's files.

    Parameters
    ----------
    weights
        The result, written when the run ends.
    """

    weights: Path

    @property
    def folder(self) -> Path:
        """Folder of the checkpoint and of the best weights so far."""
        return self.weights.with_name(f"{self.weights.stem}.training")

    @property
    def checkpoint(self) -> Path:
        return self.folder / "checkpoint.safetensors"

    @property
    def best(self) -> Path:
        return self.folder / "best.safetensors"

    def candidate(self, step: int) -> Path:
        """Weights to validate. Every step has its own file name, because opened networks are cached by path."""
        return self.folder / f"step-{step}.safetensors"

    @property
    def csv(self) -> Path:
        return self.weights.with_suffix(".csv")

    @property
    def svg(self) -> Path:
        return self.weights.with_suffix(".svg")


@dataclass
class Record:
    """Learning curves and scores of a run.

    Parameters
    ----------
    rows
        Rows of the learning curves.
    losses
        Losses of the steps since the last row.
    seconds
        Time spent, including that before the run was resumed.
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
