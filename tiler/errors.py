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
        VoxelError
      SinkError(OSError)
        DamagedError
      StoreError(OSError)
      JournalError
        PlanChangedError
      BlockFailed
        BlocksFailed
      Interrupted

Every message is one line and says what was wrong, what was given, what would be right and which option to change.
Options are named by their keyword, and each interface spells them in its own way: ``kind="labels"`` in Python,
``--as labels`` on the command line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

MARKED = re.compile(r"`([a-z_]+)(?:=([^`]*))?`")
"""An option in a message: its keyword in backticks, with or without a value."""


class TilerError(Exception):
    """Base of every error that tiler raises on purpose.

    Parameters
    ----------
    message
        One line. It names an option by its keyword in backticks: ``"leave out `min_size`"``,
        ``"say `kind=instances`"``.
    option
        Keyword of the option to change, which the message ends with.
    """

    option: str | None = None

    def __init__(self, *message: object, option: str | None = None) -> None:
        super().__init__(*message)
        if option is not None:
            self.option = option

    @property
    def marked(self) -> str:
        """The message with its options in backticks, for an interface to spell or for a message around it."""
        text = super().__str__()
        return f"{text} (`{self.option}`)" if self.option else text

    def spelled(self, spell: Callable[[str, str | None], str]) -> str:
        """The message, its options written by ``spell(keyword, value)``; the value is None where none is named."""
        return MARKED.sub(lambda match: spell(match[1], match[2]), self.marked)

    def __str__(self) -> str:
        return self.spelled(python_spelling)


def marked_line(error: BaseException) -> str:
    """The message of any error as one line, options still in backticks: for the message of another error."""
    text = error.marked if isinstance(error, TilerError) else str(error)
    return " ".join(text.split()) or type(error).__name__


def spelled_for_python(text: str) -> str:
    """A warning with its options as they stand in a call."""
    return MARKED.sub(lambda match: python_spelling(match[1], match[2]), text)


def python_spelling(keyword: str, value: str | None) -> str:
    """``kind=`` or ``kind="labels"``: an option as it stands in a call."""
    plain = value is None or value in ("True", "False", "None") or value.replace(".", "", 1).isdecimal()
    return f"{keyword}={value or ''}" if plain else f'{keyword}="{value}"'


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


class VoxelError(SourceError):
    """Voxels that were read but cannot be segmented; reading them again gives the same."""


class SinkError(TilerError, OSError):
    """An output that cannot be written."""


class DamagedError(SinkError):
    """An output whose voxels cannot be read any more."""


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
                         "(give the same again, or `overwrite=True` to start anew)")

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


class BlocksFailed(BlockFailed):
    """Several blocks could not be computed; ``index`` and ``box`` are those of the first.

    Parameters
    ----------
    index, box, reason
        As for `BlockFailed`, of the first of them.
    others
        The other blocks, each with its reason, as text.
    """

    def __init__(self, index: int, box: str, reason: str, others: tuple[str, ...]) -> None:
        super().__init__(index, box, reason)
        self.others = others
        self.args = (f"{len(others) + 1} blocks failed: block {index} at {box}: {reason}; {'; '.join(others)}",)

    def __reduce__(self) -> tuple[type, tuple[int, str, str, tuple[str, ...]]]:  # type: ignore[override]
        return type(self), (self.index, self.box, self.reason, self.others)


class Interrupted(TilerError):
    """The run stopped between two blocks, as requested; it can be resumed."""
