"""Help that fits a screen, and the rest of it for those who ask."""

from __future__ import annotations

import pytest

from tiler.cli.main import COMMANDS, _run
from tiler.cli.options import GroupedOption
from tiler.cli.segment import segment
from tiler.options import TABLE


def help_of(capsys, *arguments):
    assert _run(list(arguments)) == 0
    return capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_screen(capsys, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "200")
    lines = help_of(capsys, name, "--help")
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 80


def test_all_options_are_shown_to_those_who_ask(capsys):
    everything = "\n".join(help_of(capsys, "segment", "--help-all"))
    for option in TABLE.values():
        assert option.spelling in everything


def test_few_words_are_few():
    """One line beside the longest name of a group."""
    for parameter in segment.params:
        if isinstance(parameter, GroupedOption) and parameter.brief:
            assert len(parameter.brief) <= 66, parameter.name
            assert not parameter.brief.endswith("."), parameter.name


def test_a_command_that_is_misspelled_is_named(capsys):
    assert _run(["segmant"]) == 2
    assert "did you mean segment?" in capsys.readouterr().err
    assert _run(["bake"]) == 2
    assert "tiler --help lists them all" in capsys.readouterr().err
