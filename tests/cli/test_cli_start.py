"""What it costs to ask the command line for help."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from tiler.cli.main import COMMANDS, tiler

HEAVY = {"torch", "scipy", "numpy", "zarr", "dask", "numba", "tifffile", "rich", "skimage", "imagecodecs"}


def modules_after(*arguments):
    """Names of the modules in the process of a command when it ends."""
    code = (f"import sys; from tiler.cli.main import _run; _run({list(arguments)!r}); "
            "print('\\n'.join(sys.modules), file=sys.stderr)")
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
               .stderr.splitlines())


def test_help_imports_little_more_than_version_does():
    """So that it takes no longer: modules are counted, since times depend on what else the machine does."""
    asked, version = modules_after("--help"), modules_after("--version")
    assert not {name.partition(".")[0] for name in asked} & HEAVY
    assert len(asked - version) < 20


@pytest.mark.parametrize("name", COMMANDS)
def test_a_summary_is_how_the_help_of_its_command_begins(name):
    command = tiler.get_command(click.Context(tiler), name)
    assert " ".join(command.help.split()).startswith(COMMANDS[name][1])
