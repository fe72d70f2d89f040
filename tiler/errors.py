"""The exceptions of tiler.

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

A message is one line: what was wrong, what was given, what would be right, which option to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class TilerError(Exception):
    """Base of every error that tiler raises on purpose."""


class PlanError(TilerError, ValueError):
    """The run that was asked for is not possible."""


class GeometryError(PlanError):
    """Sizes, boxes or tiles that do not fit together."""


class MemoryBudgetError(PlanError):
    """No tile fits into the memory budget."""


class AlignmentError(PlanError):
    """Blocks that do not lie on the sink's write units."""


class ModelError(TilerError):
    """A network that cannot be used as it is."""


class UnboundedContextError(ModelError):
    """A network whose output depends on the whole input: no context is enough."""


class OutputShapeError(ModelError):
    """A network whose output has another shape than its footprint says."""


class WeightsError(ModelError):
    """Weights that are missing, unsafe or of another architecture."""


class SourceError(TilerError, OSError):
    """An input that cannot be read."""


class SinkError(TilerError, OSError):
    """An output that cannot be written."""


class StoreError(TilerError, OSError):
    """An object store that does not answer, or refuses."""


class JournalError(TilerError):
    """A journal that is missing, locked or damaged."""


class PlanChangedError(JournalError):
    """A run to resume was planned differently.

    Parameters
    ----------
    changed
        Field name to ``(stored, given)``.
    """

    def __init__(self, changed: Mapping[str, tuple[Any, Any]]) -> None:
        self.changed = dict(changed)
        differences = "; ".join(f"{name} was {old}, is now {new}" for name, (old, new) in changed.items())
        super().__init__(f"the run was planned differently: {differences} "
                         "(give the same again, or --overwrite to start anew)")

    def __reduce__(self) -> tuple[type, tuple[dict[str, tuple[Any, Any]]]]:
        return type(self), (self.changed,)


class BlockFailed(TilerError):
    """One block could not be computed; ``__cause__`` is the real error.

    Parameters
    ----------
    index
        Number of the block in the plan's grid.
    box
        Where it lies, in volume coordinates, as text.
    reason
        The real error in one line.
    """

    def __init__(self, index: int, box: str, reason: str) -> None:
        self.index, self.box, self.reason = index, box, reason
        super().__init__(f"block {index} at {box} failed: {reason}")

    def __reduce__(self) -> tuple[type, tuple[int, str, str]]:
        return type(self), (self.index, self.box, self.reason)


class Interrupted(TilerError):
    """The run was asked to stop and did, between two blocks; it can be resumed."""
