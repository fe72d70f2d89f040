"""`tiler config`, and ``--config FILE``: a run as TOML."""

from __future__ import annotations

import json
import textwrap
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from tiler.errors import PlanError
from tiler.options import TABLE, Options, refuse_unknown
from tiler.options.documents import cli_help, default_of

RUN = {"input": "inputs", "output": "output", "format": "suffix", "model": "model", "trust": "trust"}
"""Keys that are not options of the table, and the parameters of the command that they stand for."""

HEAD = """\
# tiler segment --config FILE does this run; options on the command line take precedence.
# Values are written as on the command line. Paths are relative to the folder in which tiler is called.
"""


def as_toml(given: Mapping[str, Any]) -> str:
    """A run as TOML: what was given, and every other option as a comment with its default.

    Parameters
    ----------
    given
        Parameters of the command by name; those that were not given are None.
    """
    lines = [HEAD, *(f"{key} = {_written(given[name])}" for key, name in RUN.items() if given.get(name))]
    group = ""
    for name, option in TABLE.items():
        if option.group != group:
            group = option.group
            lines.append(f"\n# {group}")
        lines += [f"{name} = {_written(given[name])}"] if given.get(name) is not None else _comment(name)
    return "\n".join(lines) + "\n"


def _comment(name: str) -> Iterator[str]:
    option = TABLE[name]
    text = cli_help(option).rpartition(" [default: ")[0]
    yield from textwrap.wrap(f"{name}: {text} [default: {default_of(option)}]", 118, initial_indent="# ",
                             subsequent_indent="#   ", break_on_hyphens=False)


def _written(value: Any) -> str:
    """A value as TOML, whose texts, numbers and lists are spelled like those of JSON."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def read_config(context: click.Context, parameter: click.Parameter, file: str | None) -> None:
    """Take the values of a file for what the command line does not give.

    Raises
    ------
    PlanError
        If the file cannot be read, or holds an unknown option.
    """
    if file is None:
        return
    found = _loaded(Path(file))
    try:
        refuse_unknown(found, {**TABLE, **dict.fromkeys(RUN)})
    except PlanError as error:
        raise PlanError(f"{file}: {error.marked}") from None
    values = {RUN.get(key, key): _plain(file, key, value) for key, value in found.items()}
    context.default_map = {**(context.default_map or {}), **values}


def _loaded(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise PlanError(f"{file} cannot be read: {error.strerror or error} (--config)") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise PlanError(f"{file} is not TOML: {' '.join(str(error).split())} (--config)") from None


LISTS = {"input", "model_args"}
"""Keys whose values are lists on the command line, too."""


def _plain(file: str, key: str, value: Any) -> Any:
    """A value as the command line gives it: lists of numbers and names as text with commas."""
    if key in LISTS:
        return [value] if isinstance(value, str) else [str(each) for each in _list(file, key, value)]
    if isinstance(value, (bool, int, float, str)):
        return value
    return ",".join(str(each) for each in _list(file, key, value))


def _list(file: str, key: str, value: Any) -> list[Any]:
    if isinstance(value, list) and value and all(isinstance(each, (int, float, str)) for each in value):
        return value
    raise PlanError(f"{file}: {key} is {value!r}: give a text, a number, true, false or a list of them")


def checked(given: Mapping[str, Any]) -> None:
    """Refuse values and contradictions that `tiler segment` would refuse before it opens anything."""
    Options.of({name: given[name] for name in TABLE if given.get(name) is not None}).resolved()

