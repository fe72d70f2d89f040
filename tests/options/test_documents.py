"""What is written about options comes from their table."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from tiler.cli.segment import plan, segment
from tiler.options import TABLE
from tiler.options.documents import markdown

PAGE = (Path(__file__).parents[2] / "tiler" / "docs" / "pages" / "command-line.md").read_text()


def test_the_documentation_holds_the_table():
    """If not, print `markdown()` into it."""
    assert markdown() in PAGE


@pytest.mark.parametrize("command", [segment, plan], ids=lambda command: command.name)
def test_the_command_line_has_every_option(command):
    declared = {parameter.name: parameter for parameter in command.params if isinstance(parameter, click.Option)}
    for name, option in TABLE.items():
        assert option.spelling in declared[name].opts
        assert declared[name].default is None, "what is not given stays open"
        assert declared[name].group == option.group
