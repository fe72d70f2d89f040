"""The table of options as text: docstrings for `help`, one line for ``--help``, a table for the documentation."""

from __future__ import annotations

import textwrap
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from tiler.errors import MARKED, python_spelling
from tiler.options.declaring import Option, flag_of
from tiler.options.parsers import Among, Choice, ChoiceOrExecutor
from tiler.options.table import TABLE

Function = TypeVar("Function", bound=Any)

FLAGS = {"output": "-o", "arguments": "--model-arg", "changes": "--set", "folds": "--cross-validate"}
"""Command-line names of parameters outside the table, if they are not ``--name``."""


def cli_spelling(keyword: str, value: str | None) -> str:
    """``--as`` or ``--as labels``: an option as it is written on the command line."""
    flag = TABLE[keyword].spelling if keyword in TABLE else FLAGS.get(keyword, flag_of(keyword))
    if value == "False":
        return flag.replace("--", "--no-", 1)
    return flag if value in (None, "True") else f"{flag} {value}"


def words_of(option: Option) -> tuple[str, ...]:
    """The words that an option is chosen from; empty for all others."""
    parse = option.parse.names if isinstance(option.parse, ChoiceOrExecutor) else option.parse
    if isinstance(parse, Among):
        return tuple(map(str, parse.numbers))
    return parse.words if isinstance(parse, Choice) else ()


def default_of(option: Option) -> str:
    """Text for the default: the behaviour when the option is not given."""
    return option.otherwise or str(option.default)


def cli_help(option: Option) -> str:
    """One line for ``--help``."""
    text = MARKED.sub(lambda match: cli_spelling(match[1], match[2]), option.help)
    example = f" For example {option.example}." if option.example else ""
    return f"{text}{example} [default: {default_of(option)}]"


def parameters(names: Collection[str] = tuple(TABLE), table: Mapping[str, Option] = TABLE) -> str:
    """The options as a section of a numpydoc docstring, without its heading."""
    return "\n".join(_parameter(table[name]) for name in names)


def _parameter(option: Option) -> str:
    words = ", ".join(f'"{word}"' for word in words_of(option))
    text = MARKED.sub(lambda match: python_spelling(match[1], match[2]), option.help)
    parts = [text, f"One of {words}." if words else f"For example ``{option.example!r}``." if option.example else "",
             f"Default: {default_of(option)}."]
    body = textwrap.fill(" ".join(part for part in parts if part), 110, break_on_hyphens=False)
    return f"{option.name}\n{textwrap.indent(body, '    ')}"


def documented(function: Function) -> Function:
    """Write the documentation of the options into a docstring, where it says ``{options}``."""
    places = {"    {options}": tuple(TABLE), "    {options of models}": tuple(n for n in TABLE if TABLE[n].of_model)}
    for place, names in places.items():
        function.__doc__ = (function.__doc__ or "").replace(place, textwrap.indent(parameters(names), "    "))
    return function


def markdown() -> str:
    """The table of options in the documentation (`docs/pages/command-line.md`)."""
    rows = ["| option | in Python | meaning | default |", "|---|---|---|---|"]
    for option in TABLE.values():
        given = "\\|".join(words_of(option)) or option.metavar.replace("|", "\\|")
        meaning = MARKED.sub(lambda match: f"`{cli_spelling(match[1], match[2])}`", option.help)
        flag = "--tune`, `--no-tune" if option.default is True else f"{option.spelling} {given}".strip()
        rows.append(f"| `{flag}` | `{option.name}` | {meaning} | {default_of(option)} |")
    return "\n".join(rows)
