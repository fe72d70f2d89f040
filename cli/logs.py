"""Where messages of tiler and of the libraries beneath it go while a command runs."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from tiler.errors import MARKED, SinkError, TilerError


def tell(text: str) -> None:
    """A line on stderr. Where nobody reads it any more, the run goes on all the same."""
    try:
        click.echo(text, err=True)
    except OSError:
        sys.stderr = None  # as Python itself has it where there is no stderr


def spelled(error: object) -> str:
    """The message of an error, with its options as the command line has them."""
    from tiler.options.documents import cli_spelling

    return error.spelled(cli_spelling) if isinstance(error, TilerError) else str(error)


def spelled_text(text: str) -> str:
    """A warning or a table, with its options as the command line has them."""
    from tiler.options.documents import cli_spelling

    return MARKED.sub(lambda match: cli_spelling(match[1], match[2]), text)


def unexpected(error: Exception) -> str:
    """One line for an error that no part of tiler foresaw."""
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
            tell(f"warning: {text}")


@contextmanager
def library_messages() -> Iterator[None]:
    """Show tiler's warnings; keep other libraries silent unless `set_up_logging` finds a place for them."""
    root, own = logging.getLogger(), logging.getLogger("tiler")
    before, warnings = list(root.handlers), Warnings()
    root.addHandler(logging.NullHandler())  # or `logging` itself would print them
    own.addHandler(warnings)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        own.removeHandler(warnings)
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
            handler.close()


def set_up_logging(verbose: bool, log_file: str | None) -> None:
    """Open the places that the user asked for; `library_messages` closes them."""
    root = logging.getLogger()
    logging.getLogger("tiler").setLevel(logging.DEBUG if verbose else logging.INFO)
    if verbose:
        root.addHandler(logging.StreamHandler())
    if log_file:
        try:
            handler = logging.FileHandler(log_file)
        except OSError as error:
            raise SinkError(f"cannot write the log {log_file}: {error.strerror} (--log-file)") from error
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        root.addHandler(handler)
