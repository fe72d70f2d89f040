"""`tiler doctor`."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tiler.cli.logs import spelled_text
from tiler.cli.options import json_option
from tiler.cli.waiting import waiting
from tiler.planning.summary import size

if TYPE_CHECKING:
    from tiler.models.installation import Backend, Extra, Folder, Installation

INDENT, WIDTH = 24, 100


@click.command()
@json_option("sound, problems, versions, packages, extras, machine, backends, numba_cache, folders")
def doctor(as_json: bool) -> int:
    """Show what is installed and what the machine has, and find what keeps tiler from working.

    Exit code 0 says that nothing does. Optional packages that are missing are no fault; what installs them is shown.
    """
    with waiting(step="loading torch"):
        from tiler.models.installation import examine

        found = examine()
    if as_json:
        told = {"sound": not found.problems, "problems": found.problems, **asdict(found)}
        click.echo(spelled_text(json.dumps(told)))
    else:
        click.echo(spelled_text("\n".join(_lines(found))))
    return 1 if found.problems else 0


def _lines(found: Installation) -> Iterator[str]:
    """A table that fits one screen: what is in order in few rows, what is missing in one row each."""
    machine = found.machine
    packages = [f"{package.name} {package.installed}" for package in found.packages if package.installed]
    yield from _section("versions", {
        **found.versions, **{package.name: "MISSING" for package in found.packages if not package.installed},
        "packages": ", ".join(packages)})
    yield from _section("machine", {
        "system": f"{machine.system}, {machine.cores} cores, {size(machine.memory_available)} of "
                  f"{size(machine.memory)} memory available", **(machine.accelerators or {"accelerators": "none"})})
    yield from _section("backends", {name: _backend(backend) for name, backend in found.backends.items()})
    missing = {name: text for name, extra in found.extras.items() if (text := _missing(extra))}
    there = [name for name in found.extras if name not in missing]
    yield from _section("extras", {**({"installed": ", ".join(there)} if there else {}), **missing})
    yield from _section("folders", {
        **{name: _folder(folder) for name, folder in found.folders.items()},
        "compiled metrics": found.numba_cache or "no folder can be written: they are compiled anew in every run "
                                                 "(set NUMBA_CACHE_DIR)"})
    yield from (f"WRONG: {problem}" for problem in found.problems)
    if not found.problems:
        yield "sound"


def _section(name: str, rows: dict[str, str]) -> Iterator[str]:
    yield name
    for key, value in rows.items():
        yield textwrap.fill(f"{key:<{INDENT - 2}}{value}", WIDTH, initial_indent="  ", subsequent_indent=" " * INDENT,
                            break_long_words=False, break_on_hyphens=False)


def _backend(backend: Backend) -> str:
    return backend.note if backend.version is None else f"{backend.version}: {', '.join(backend.precisions)}"


def _missing(extra: Extra) -> str:
    missing = ", ".join(package.name for package in extra.packages if not package.fits)
    return f"{missing} missing: {extra.install}" if missing else ""


def _folder(folder: Folder) -> str:
    return f"{folder.path}, {size(folder.free)} free" if folder.writable else f"{folder.path} CANNOT BE WRITTEN"
