"""Output names for the inputs of a command."""

from __future__ import annotations

import glob
import os
import string
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click

from tiler.errors import PlanError
from tiler.sinks import FORMATS
from tiler.sources.files import PRECOMPUTED, split_inner
from tiler.stores.address import Place, is_address, place_of
from tiler.stores.label_places import is_label

SUFFIXES = tuple(suffix for known in FORMATS for suffix in known.suffixes)
DEFAULT_SUFFIX = ".zarr"


@dataclass(frozen=True, slots=True)
class Pair:
    """An input and the place of its result."""

    source: str
    output: Place
    files: Mapping[str, str] = field(default_factory=dict)

    def over(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options of all inputs, with the table and the outlines of this one."""
        return {**options, **self.files}


def pair_up(inputs: tuple[str, ...], output: str | None, suffix: str | None = None,
            files: Mapping[str, str | None] | None = None) -> list[Pair]:
    """One output for each input, and its table and outlines if they are wanted.

    Parameters
    ----------
    inputs
        Names; patterns that the shell did not expand stand for the files that match.
    output
        A file, a folder, or a name with ``{stem}``; None for the working directory.
    suffix
        Format of outputs that get a name here, such as ``ome.tif``.
    files
        Further files by their option, ``table`` and ``outlines``: a name, or for several inputs one with ``{stem}``.

    Raises
    ------
    PlanError
        Before anything runs: a pattern without a match, two outputs of one name, one file for several inputs.
    """
    if "" in (*inputs, output):
        raise click.UsageError("the name of an input or output is empty")
    for source in filter(is_address, (name.removeprefix(PRECOMPUTED) for name in inputs)):
        place_of(source)  # an address with credentials is refused before it is printed
    sources = list(_expanded(inputs))
    pairs = _by_template(sources, output, suffix) if output and "{" in output else _by_name(sources, output, suffix)
    for option, name in (files or {}).items():
        if name is not None:
            pairs = _with_files(pairs, name, option)
    _refuse_twins(pairs)
    return pairs


def _with_files(pairs: list[Pair], name: str, option: str) -> list[Pair]:
    names = named_for_each(name, [pair.source for pair in pairs], option)
    return [replace(pair, files={**pair.files, option: each}) for pair, each in zip(pairs, names, strict=True)]


def named_for_each(name: str, sources: list[str], option: str) -> list[str]:
    """The name of a further file for each input, such as a table.

    Raises
    ------
    PlanError
        If several inputs would share one, or it has other fields than ``{stem}``.
    """
    if len(sources) > 1 and "{" not in name:
        raise PlanError(f"{len(sources)} inputs need a {option} each: a name with {{stem}}; {name} names one file",
                        option=option)
    return [_filled(name, source, option) if "{" in name else name for source in sources]


def _filled(template: str, source: str, option: str) -> str:
    """A name with the stem of an input in the place of ``{stem}``."""
    try:
        names = {field for _, field, _, _ in string.Formatter().parse(template) if field is not None}
        if names == {"stem"}:
            return template.format(stem=stem_of(source))
    except (ValueError, LookupError):
        pass
    what = "an output" if option == "output" else f"a {option}"
    raise PlanError(f"{template} cannot name {what}: {{stem}} stands for the name of each input, and nothing else in "
                    "braces", option=option)


def _expanded(inputs: tuple[str, ...]) -> Iterator[str]:
    for name in inputs:
        if is_address(name.removeprefix(PRECOMPUTED)) or os.path.exists(name) or not glob.has_magic(name):
            yield name
            continue
        found = sorted(glob.glob(name, recursive=True))
        if not found:
            raise PlanError(f"no file matches {name}")
        yield from found


def _by_template(sources: list[str], output: str, suffix: str | None) -> list[Pair]:
    if suffix is not None and not output.lower().endswith(f".{suffix}"):
        output = f"{output}.{suffix}"
    return [Pair(source, place_of(_filled(output, source, "output"))) for source in sources]


def _by_name(sources: list[str], output: str | None, suffix: str | None) -> list[Pair]:
    is_file = output is not None and (Path(output).name.lower().endswith(SUFFIXES) or is_label(place_of(output)))
    is_folder = output is None or output.endswith(("/", os.sep)) or os.path.isdir(output)
    if output and len(sources) == 1 and (is_file or not is_folder):
        if suffix is not None and not output.lower().endswith(f".{suffix}"):
            raise PlanError(f"{output} does not end in .{suffix}: leave out `format`, or choose another name",
                            option="output")
        return [Pair(sources[0], place_of(output))]
    if is_file:
        raise PlanError(f"{len(sources)} inputs need a folder for their outputs, or a name with {{stem}}; {output} "
                        "names one file", option="output")
    folder = place_of(output or ".")
    ending = f".{suffix}" if suffix else "" if is_label(folder / "name") else DEFAULT_SUFFIX
    return [Pair(source, folder / f"{stem_of(source)}_segmented{ending}") for source in sources]


def stem_of(source: str) -> str:
    """The name without its suffix; a level inside a zarr or a dataset of an HDF5 file is named after that file."""
    path = Path(os.path.abspath(split_inner(Path(source))[0]))
    for part in (path, *path.parents):
        if part.suffix == ".zarr":
            path = part
    return path.name.split(".")[0] or path.name


def _refuse_twins(pairs: list[Pair]) -> None:
    seen: dict[Place, str] = {}
    for pair in pairs:
        for place in (pair.output, *map(Path, pair.files.values())):
            target = place.absolute()
            if target in seen:
                raise PlanError(f"{seen[target]} and {pair.source} would both be written to {place}: "
                                "run them apart with -o")
            seen[target] = pair.source
