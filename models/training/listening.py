"""Who hears of a training run."""

from __future__ import annotations

from typing import Protocol


class TrainingListener(Protocol):
    """Hears of a training run. Called in the caller's thread."""

    def started(self, total: int, done: int) -> None:
        """``done`` of ``total`` steps were done before."""

    def stepped(self, step: int, loss: float) -> None: ...
    def validated(self, step: int, scores: dict[str, float], best: bool) -> None: ...
    def note(self, message: str) -> None:
        """Something good to know."""

    def warn(self, message: str) -> None: ...


class SilentTraining:
    """A listener that does nothing."""

    def started(self, total: int, done: int) -> None: ...
    def stepped(self, step: int, loss: float) -> None: ...
    def validated(self, step: int, scores: dict[str, float], best: bool) -> None: ...
    def note(self, message: str) -> None: ...
    def warn(self, message: str) -> None: ...
