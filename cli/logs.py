"""Routing of messages of tiler and its libraries while a command runs."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import click

from tiler.errors import MARKED, SinkError, TilerError

_wipe: list[Callable[[], None]] = []
"""Removes the status line, while there is one, before anything else is printed."""


@contextmanager
def wiping(wipe: Callable[[], None]) -> Iterator[None]:
    """Call ``wipe`` before each line that is printed within the block."""
    _wipe.append(wipe)
    try:
        yield
    finally:
        _wipe.remove(wipe)


class _Speech:
    """How messages are printed: as they are, or as JSON for a program that reads stderr."""

    as_json = False


def tell(text: str) -> None:
    """Print a line on stderr. If its reader has gone, the run continues."""
    if _Speech.as_json:
        tell_event("message", text=text)
    else:
        _print(printable(text))


def tell_event(event: str, **content: Any) -> None:
    """Print a JSON object on stderr."""
    _print(json.dumps({"event": event, **content}))


def _print(line: str) -> None:
    for wipe in _wipe:
        wipe()
    try:
        click.echo(line, err=True)
    except OSError:
        sys.stderr = None  # as Python does if there is no stderr


def printable(text: str) -> str:
    """A text without control characters, which could move the cursor or forge lines; they are spelled ``\\x1b``."""
    return "".join(_spelled_character(each) for each in text)


def _spelled_character(each: str) -> str:
    kept = each in "\n\t" or unicodedata.category(each) not in ("Cc", "Cf", "Cs")
    return each if kept else each.encode("unicode_escape", "surrogatepass").decode()


def flushed() -> bool:
    """Flush stdout and return whether that worked; on an error, report it and print nothing more.

    A closed pipe is not an error, because its reader does not want the rest.
    """
    if sys.stdout is None:
        return True
    try:
        sys.stdout.flush()
    except OSError as error:
        print_no_more()
        if isinstance(error, BrokenPipeError):
            return True
        tell(f"tiler: cannot write to stdout: {error.strerror or error}")
        return False
    return True


def print_no_more() -> None:
    """Send stdout nowhere: text that could not be printed waits in its buffer and would fail at the next flush."""
    with suppress(io.UnsupportedOperation):  # a stand-in for stdout has no file of its own
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def spelled(error: object) -> str:
    """The message of an error, with options as they are spelled on the command line."""
    from tiler.options.documents import cli_spelling

    return error.spelled(cli_spelling) if isinstance(error, TilerError) else str(error)


def spelled_text(text: str) -> str:
    """A warning or a table, with options as they are spelled on the command line."""
    from tiler.options.documents import cli_spelling

    return MARKED.sub(lambda match: cli_spelling(match[1], match[2]), text)


def unexpected(error: Exception) -> str:
    """One line for an unexpected error."""
    return (f"unexpected {type(error).__name__}: {' '.join(str(error).split())} (a defect of tiler or of the model's "
            "own code: --verbose shows where)")


class Warnings(logging.Handler):
    """tiler's own warnings on stderr, each of them once; the commands themselves speak without it."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        text = " ".join(record.getMessage().split())
        if text not in self._told and not record.name.startswith("tiler.cli"):
            self._told.add(text)
            tell(f"warning: {spelled_text(text)}")


@contextmanager
def library_messages() -> Iterator[None]:
    """Show tiler's warnings; keep other libraries silent unless `set_up_logging` adds a handler for them."""
    root, own = logging.getLogger(), logging.getLogger("tiler")
    before, warnings = list(root.handlers), Warnings()
    root.addHandler(logging.NullHandler())  # or `logging` itself would print them
    own.addHandler(warnings)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        _Speech.as_json = False
        logging.captureWarnings(False)
        own.removeHandler(warnings)
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
            handler.close()


class LogFile(logging.FileHandler):
    """A log file; if it cannot be written, it is closed with one warning and the run continues."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        logging.getLogger().removeHandler(self)
        with suppress(OSError):  # closing it writes what is left
            self.close()
        reason = (isinstance(error, OSError) and error.strerror) or error
        tell(f"warning: cannot write the log {self.baseFilename}: {reason}; nothing more is written to it")


class LogLines(logging.Formatter):
    """One line for a message, whatever the names in it; texts for debugging may have several."""

    def format(self, record: logging.LogRecord) -> str:
        text = printable(super().format(record))
        return text if record.levelno <= logging.DEBUG or record.exc_info else text.replace("\n", "\\n")


def set_up_logging(verbose: bool, log_file: str | None, progress: str = "auto") -> None:
    """Open the places that the user asked for; `library_messages` closes them."""
    _Speech.as_json = progress == "json"
    root = logging.getLogger()
    logging.getLogger("tiler").setLevel(logging.DEBUG if verbose else logging.INFO)
    if verbose:
        root.addHandler(logging.StreamHandler())
    if log_file:
        try:
            handler = LogFile(log_file)
        except OSError as error:
            raise SinkError(f"cannot write the log {log_file}: {error.strerror} (--log-file)") from error
        handler.setFormatter(LogLines("%(asctime)s %(levelname)s %(message)s"))
        root.addHandler(handler)
