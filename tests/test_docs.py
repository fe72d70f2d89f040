"""The documentation: its pages are there, its options exist, and it builds without a warning."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import pytest

from tiler.cli.main import COMMANDS, tiler

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "tiler" / "docs"
PAGES = [*sorted((DOCS / "pages").glob("*.md")), ROOT / "README.md"]
ELSEWHERE = {"--port", "--nthreads", "--gres", "--array", "--job-name", "--cpus-per-task", "--mem", "--time",
             "--requeue", "--version"}
"""Options of dask and SLURM; and of `tiler` itself."""


def spelled():
    """Every option of every command."""
    context = click.Context(tiler)
    commands = [tiler.get_command(context, name) for name in COMMANDS]
    return {name for command in commands for parameter in command.params
            for name in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_that_is_named_exists(page):
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", page.read_text()))
    assert named <= spelled() | ELSEWHERE | {"--help", "--help-all", "--resume", "--verify"}, named - spelled()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_is_linked_exists(page):
    for link in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_every_page_has_its_place():
    listed = set(re.findall(r"[\w-]+\.md", (DOCS / "mkdocs.yml").read_text()))
    assert listed == {page.name for page in PAGES if page.name != "README.md"}


@pytest.mark.skipif(find_spec("mkdocs") is None or find_spec("mkdocstrings") is None, reason="mkdocs is not installed")
def test_it_builds_without_a_warning(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "-q", "-f", DOCS / "mkdocs.yml", "-d", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").exists()
