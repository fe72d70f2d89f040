"""`tiler doctor`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from tiler.cli.options import json_option
from tiler.cli.waiting import waiting
from tiler.planning.summary import size

if TYPE_CHECKING:
    from tiler.models.installation import Backend, Extra, Folder, Installation


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
        click.echo(json.dumps({"sound": not found.problems, "problems": found.problems, **asdict(found)}))
    else:
        click.echo("\n".join(_lines(found)))
    return 1 if found.problems else 0


def _lines(found: Installation) -> Iterator[str]:
    machine = found.machine
    yield from _section("versions", {
        **found.versions, **{package.name: package.installed or "MISSING" for package in found.packages}})
    yield from _section("machine", {
        "system": machine.system, "cores": str(machine.cores),
        "memory": f"{size(machine.memory_available)} of {size(machine.memory)} available",
        **(machine.accelerators or {"accelerators": "none"})})
    yield from _section("backends", {name: _backend(backend) for name, backend in found.backends.items()})
    yield from _section("extras", {name: _extra(extra) for name, extra in found.extras.items()})
    yield from _section("folders", {
        **{name: _folder(folder) for name, folder in found.folders.items()},
        "numba cache": found.numba_cache or "none can be written: metrics are compiled anew in every run "
                                            "(set NUMBA_CACHE_DIR)"})
    yield from (f"WRONG: {problem}" for problem in found.problems)
    if not found.problems:
        yield "sound"


def _section(name: str, rows: dict[str, str]) -> Iterator[str]:
    yield name
    yield from (f"  {key:<20} {value}" for key, value in rows.items())


def _backend(backend: Backend) -> str:
    return backend.note if backend.version is None else f"{backend.version}: {', '.join(backend.precisions)}"


def _extra(extra: Extra) -> str:
    missing = ", ".join(package.name for package in extra.packages if not package.fits)
    return f"{missing} missing: {extra.install}" if missing else "installed"


def _folder(folder: Folder) -> str:
    return f"{folder.path}, {size(folder.free)} free" if folder.writable else f"{folder.path} CANNOT BE WRITTEN"
