"""Exceptions that tiler raises on purpose.

::

    TilerError
      PlanError(ValueError)
        GeometryError
        MemoryBudgetError
        AlignmentError
      ModelError
        UnboundedContextError
        OutputShapeError
        WeightsError
      SourceError(OSError)
      SinkError(OSError)
      StoreError(OSError)
      JournalError
        PlanChangedError
      BlockFailed
      Interrupted

Every message is one line and says what was wrong, what was given, what would be right and which option to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TilerError(Exception):
    """Base of every error that tiler raises on purpose."""


class PlanError(TilerError, ValueError):
    """The requested run is not possible."""


class GeometryError(PlanError):
    """Sizes, boxes or tiles that do not fit together."""


class MemoryBudgetError(PlanError):
    """Even the smallest tile exceeds the memory budget."""


class AlignmentError(PlanError):
    """Blocks that do not lie on the sink's write units."""


class ModelError(TilerError):
    """A network that cannot be used as it is."""


class UnboundedContextError(ModelError):
    """A network whose output depends on its whole input, so that no context is large enough."""


class OutputShapeError(ModelError):
    """A network whose output does not have the shape that its footprint predicts."""


class WeightsError(ModelError):
    """Weights that are missing, unsafe to load, or made for another architecture."""


class SourceError(TilerError, OSError):
    """An input that cannot be read."""


class SinkError(TilerError, OSError):
    """An output that cannot be written."""


class StoreError(TilerError, OSError):
    """An object store that does not answer or denies access."""


class JournalError(TilerError):
    """A journal that is missing, locked or damaged."""


class PlanChangedError(JournalError):
    """A run cannot be resumed because it was planned differently.

    Parameters
    ----------
    changed
        Names of the fields that differ, each with its ``(stored, given)`` values.
    """

    def __init__(self, changed: Mapping[str, tuple[Any, Any]]) -> None:
        self.changed = dict(changed)
        differences = "; ".join(f"{name} was {old}, is now {new}" for name, (old, new) in changed.items())
        super().__init__(f"the run was planned differently: {differences} "
                         "(give the same again, or --overwrite to start anew)")

    def __reduce__(self) -> tuple[type, tuple[dict[str, tuple[Any, Any]]]]:
        return type(self), (self.changed,)


class BlockFailed(TilerError):
    """One block could not be computed; ``__cause__`` holds the original error.

    Parameters
    ----------
    index
        Number of the block in the plan's grid.
    box
        The block in volume coordinates, as text.
    reason
        The original error in one line.
    """

    def __init__(self, index: int, box: str, reason: str) -> None:
        self.index, self.box, self.reason = index, box, reason
        super().__init__(f"block {index} at {box} failed: {reason}")

    def __reduce__(self) -> tuple[type, tuple[int, str, str]]:
        return type(self), (self.index, self.box, self.reason)


class Interrupted(TilerError):
    """The run stopped between two blocks, as requested; it can be resumed."""
