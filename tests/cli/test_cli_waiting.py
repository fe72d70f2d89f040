"""The line about a slow step: in a terminal only, removed before anything else is printed."""

from __future__ import annotations

import io
import sys

import pytest

from tiler import activity
from tiler.cli import waiting as module
from tiler.cli.logs import tell
from tiler.cli.waiting import WIPED, waiting


class Terminal(io.StringIO):
    """A stderr that says it is a terminal, and whether it was written to."""

    def isatty(self):
        return True


def opened(monkeypatch, stream=None):
    """Make this stream stderr, a terminal by default; a fixture could not, since pytest replaces stderr after it."""
    monkeypatch.setattr(module, "SOON", 0.0)
    monkeypatch.setattr(sys, "stderr", stream or Terminal())
    return sys.stderr


def until(told, text):
    for _ in range(1000):
        if text in told.getvalue():
            return
        module.time.sleep(0.002)
    raise AssertionError(told.getvalue())


def test_a_step_is_shown_and_removed(monkeypatch):
    terminal = opened(monkeypatch)
    with waiting():
        activity.doing("loading the network")
        until(terminal, "loading the network (0 s)")
    assert terminal.getvalue().endswith(WIPED)


def test_a_warning_stands_on_a_line_of_its_own(monkeypatch):
    terminal = opened(monkeypatch)
    with waiting(step="reading"):
        until(terminal, "reading")
        tell("warning: faint")
        assert f"{WIPED}warning: faint\n" in terminal.getvalue()


def test_it_ends_when_a_stage_has_its_own_progress(monkeypatch):
    terminal = opened(monkeypatch)
    with waiting(step="reading"):
        until(terminal, "reading")
        activity.expecting(12)
        assert terminal.getvalue().endswith(WIPED)
        shown = len(terminal.getvalue())
        module.time.sleep(0.01)
    assert terminal.getvalue()[shown:] in ("", WIPED)


@pytest.mark.parametrize("quiet", [True, False])
def test_nothing_is_shown_to_the_quiet_or_outside_a_terminal(monkeypatch, quiet):
    stream = opened(monkeypatch, Terminal() if quiet else io.StringIO())
    with waiting(quiet=quiet):
        activity.doing("loading the network")
        module.time.sleep(0.01)
    assert stream.getvalue() == ""


def test_a_reader_that_has_gone_does_not_matter(monkeypatch):
    terminal = opened(monkeypatch)

    def gone(text):
        raise BrokenPipeError

    monkeypatch.setattr(terminal, "write", gone)
    with waiting():
        module.time.sleep(0.01)
