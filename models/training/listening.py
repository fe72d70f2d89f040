"""Listeners, which receive the progress of a training run."""

from __future__ import annotations

from typing import Protocol


class TrainingListener(Protocol):
    """Receives the progress of a training run, in the caller's thread."""

    def started(self, total: int, done: int) -> None:
        """Called first; ``done`` of ``total`` steps were done before the run was resumed."""

    def stepped(self, step: int, loss: float) -> None: ...
    def validated(self, step: int, scores: dict[str, float], best: bool) -> None: ...
    def note(self, message: str) -> None:
        """Receives a message that is not a warning."""

    def warn(self, message: str) -> None: ...


class SilentTraining:
    """A listener that does nothing."""

    def started(self, total: int, done: int) -> None: ...
    def stepped(self, step: int, loss: float) -> None: ...
    def validated(self, step: int, scores: dict[str, float], best: bool) -> None: ...
    def note(self, message: str) -> None: ...
    def warn(self, message: str) -> None: ...
