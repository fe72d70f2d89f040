"""Declaration of options, and the table of options that is read from a `typing.TypedDict`.

::

    class Keywords(TypedDict, total=False):
        kind: Annotated[Kind, Option(group="Result", parse=Choice(Kind), default="probabilities", flag="--as",
                                     help="What to write.")]

Type checkers see the keyword and its type; the command line, the defaults, the checks and the documentation read the
`Option` beside it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final, Literal, Protocol, get_type_hints

from tiler.errors import PlanError


class Auto(Enum):
    """The type of `AUTO`: tiler chooses."""

    AUTO = "auto"

    def __str__(self) -> str:
        return "auto"


AUTO: Final = Auto.AUTO
AutoType = Literal[Auto.AUTO]


class Parser(Protocol):
    """Converts the user's value of an option to its final value; final values stay unchanged."""

    def __call__(self, value: Any, option: str) -> Any:
        """The final value.

        Raises
        ------
        PlanError
            If the value cannot be read; the error names ``option``.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One row of the table.

    Parameters
    ----------
    group
        Heading under which ``--help`` and the documentation show it.
    parse
        Reads and checks a value.
    help
        One or two sentences. Other options are written in backticks, as in `tiler.errors.TilerError`.
    default
        Default value; None leaves the choice to the model, the input or the plan.
    otherwise
        Description of the behaviour if there is no ``default``, for the documentation.
    example
        Example of a value on the command line.
    flag
        Its name on the command line; by default ``--name``.
    short
        One-letter name on the command line.
    metavar
        Placeholder of the value in ``--help``.
    brief
        A few words for ``--help`` of an option for everyday use; the others are shown by ``--help-all`` alone.
    free
        Whether it cannot change a result: a run may be resumed with another value.
    of_model
        Whether it is fixed when the model is opened, so that it cannot be given with an opened model.
    of_storage
        Whether it says how the voxels of an output are stored, so that it can be given only for formats that have it.
    of_output
        Whether it needs a written output or a run of its own, so that it cannot be given for a lazy result.
    of_process
        Whether it is about one of several processes that share a run, so that it is not stored with the result.
    name
        Keyword, which the table fills in.
    """

    group: str
    parse: Parser
    help: str
    default: Any = None
    otherwise: str = ""
    example: str = ""
    flag: str = ""
    short: str = ""
    metavar: str = ""
    brief: str = ""
    free: bool = False
    of_model: bool = False
    of_storage: bool = False
    of_output: bool = False
    of_process: bool = False
    name: str = ""

    @property
    def spelling(self) -> str:
        """Name on the command line."""
        return self.flag or flag_of(self.name)

    def read(self, value: Any) -> Any:
        """The final value; None stays None."""
        return None if value is None else self.parse(value, self.name)


def flag_of(name: str) -> str:
    """``--min-size`` for ``min_size``."""
    return "--" + name.replace("_", "-")


def table_of(keywords: Any) -> dict[str, Option]:
    """The options that a TypedDict declares, by name, in its order."""
    hints = get_type_hints(keywords, include_extras=True)
    return {name: replace(hint.__metadata__[0], name=name) for name, hint in hints.items()}


class UnknownOptionError(PlanError, TypeError):
    """A keyword that is not the name of an option."""


def refuse_unknown(given: Iterable[str], table: Mapping[str, object]) -> None:
    """Refuse a keyword that is not in the table, and suggest similar ones.

    Parameters
    ----------
    given
        Keywords of a call.
    table
        Valid keywords; the values are not used.

    Raises
    ------
    UnknownOptionError
        For the first such keyword.
    """
    for name in given:
        if name not in table:
            flags = [each.name for each in table.values() if isinstance(each, Option) and each.flag.strip("-") == name]
            near = flags or difflib.get_close_matches(name, table, n=3, cutoff=0.6)
            advice = f"did you mean {' or '.join(near)}?" if near else f"the options are {', '.join(table)}"
            raise UnknownOptionError(f"there is no option {name!r}: {advice}")
