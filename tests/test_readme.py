"""The README is executed: every command and every line of Python in it, each block by itself, as a reader would."""

from __future__ import annotations

import os
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tiler.cli.main import _run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SETUP = 2
"""The first two blocks set up an environment; `.ci/run` and fresh clones run them."""
PROBE = "tiler probe unet"
LONG = pytest.mark.timeout(900)
"""Each block opens networks and segments: on two cores that other processes share, longer than a single test takes."""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.S | re.M)


@pytest.fixture
def folder(tmp_path):
    """A working directory as the root of a clone looks, that may be written to."""
    (tmp_path / "data_samples").symlink_to(ROOT / "data_samples")
    return tmp_path


def run(command, folder):
    scripts = Path(sys.executable).parent
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False,
                          env={**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"})


@LONG
@pytest.mark.parametrize("block", blocks("bash")[SETUP:], ids=["biologist", "engineer", "probe", "training", "export"])
def test_the_commands_of_the_readme_run_one_after_the_other(block, folder, monkeypatch, capsys):
    """The probe prints the lines that the README shows. In this process, which imports torch once for all of them."""
    monkeypatch.chdir(folder)
    for command in block.splitlines():
        program, *arguments = shlex.split(command)
        assert program == "tiler"
        code, told = _run(arguments), capsys.readouterr()
        assert code == 0, f"{command}\n{told.err}"
        assert told.out, command
        if command == PROBE:
            shown = [line for line in blocks("text")[0].splitlines() if line.strip() != "..."]
            assert set(shown) <= set(told.out.splitlines())


@LONG
@pytest.mark.parametrize("block", blocks("python"), ids=["engineer", "developer"])
def test_a_python_block_of_the_readme_runs(block, folder):
    done = run([sys.executable, "-W", "error", "-c", block], folder)
    assert done.returncode == 0, done.stderr


def test_the_probe_is_shown():
    assert PROBE in README


def test_continuous_integration_runs_the_test_command_word_for_word():
    assert blocks("bash")[1].strip() in (ROOT / ".ci" / "run").read_text()


def test_every_link_and_picture_is_there():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_links_are_absolute_where_the_repository_is_not_at_hand():
    absolute = runpy.run_path(str(ROOT / ".ci" / "absolute_links.py"))["absolute"](README, "https://example.org/tiler")
    targets = re.findall(r"\]\(([^)#]+)\)", absolute)
    assert len(targets) > 10
    assert all(target.startswith("https://") for target in targets)
    assert all(target.startswith("https://example.org/tiler/raw/main/data_samples/pictures/")
               for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", absolute))


def test_every_command_is_in_the_table():
    from tiler.cli.main import COMMANDS

    page = (ROOT / "tiler" / "docs" / "pages" / "command-line.md").read_text()
    assert set(re.findall(r"^\| `tiler (\w+)", page, re.M)) == set(COMMANDS)
