"""The command `tiler`: parse, call one function of the API, print."""

from __future__ import annotations

import errno
import logging
import sys
import traceback
from pkgutil import resolve_name
from typing import Any

import click

from tiler.cli.logs import flushed, library_messages, print_no_more, spelled, tell, unexpected
from tiler.cli.waiting import waiting
from tiler.errors import Interrupted, TilerError
from tiler.version import __version__

COMMANDS = {
    "segment": ("tiler.cli.segment:segment", "Segment volumes"),
    "plan": ("tiler.cli.segment:plan", "Show what `tiler segment` with the same options would do."),
    "status": ("tiler.cli.sharing:status", "Show how far the runs of OUTPUTs are, also while they run."),
    "finish": ("tiler.cli.sharing:finish", "Finish an OUTPUT that was written in parts, if the last part did not."),
    "config": ("tiler.cli.segment:config", "Print a run as TOML, for tiler segment --config FILE."),
    "check": ("tiler.cli.check:check", "Verify an OUTPUT of tiler segment."),
    "evaluate": ("tiler.cli.evaluate:evaluate", "Score a PROPOSAL against LABELS"),
    "measure": ("tiler.cli.measure:measure", "Measure the objects in LABELS"),
    "view": ("tiler.cli.view:view", "Look at an IMAGE with RESULTs over it"),
    "models": ("tiler.cli.models:models", "List the registered networks, or show all about one of them by NAME."),
    "probe": ("tiler.cli.models:probe", "Find out what context MODEL needs, which tiles are legal, and prove it."),
    "train": ("tiler.cli.train:train", "Train a network on annotated slices."),
    "export": ("tiler.cli.export:export", "Write MODEL for other programs."),
    "convert": ("tiler.cli.convert:convert", "Write WEIGHTS (.pth, .pt, .ckpt) as safetensors."),
    "sample": ("tiler.cli.sample:sample", "Write a small sample stack and its labels into FOLDER."),
    "doctor": ("tiler.cli.doctor:doctor", "Show what is installed and what the machine has"),
    "completion": ("tiler.cli.completion:completion", "Print the script with which a SHELL completes commands"),
}
"""Module of each command and first line of its help, so that ``tiler --help`` imports no command."""

INTERRUPTED = 130
DISK_FULL = {errno.ENOSPC, errno.EFBIG, errno.EIO, getattr(errno, "EDQUOT", errno.ENOSPC)}

log = logging.getLogger("tiler.cli")


class LazyGroup(click.Group):
    """Imports a command when it is called, so that ``--help`` and ``--version`` answer at once."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text.rstrip(".")) for name, (_, text) in COMMANDS.items()])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = resolve_name(COMMANDS[cmd_name][0])
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[Any, ...]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(args[0], COMMANDS, n=1)
            ctx.fail(f"there is no command {args[0]!r}: " +
                     (f"did you mean {near[0]}?" if near else "tiler --help lists them all"))
        with waiting(quiet=bool({"-q", "--quiet"} & set(args))):  # importing a command takes a second
            return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80})
@click.version_option(__version__, prog_name="tiler")
def tiler() -> None:
    """Segment microscopy volumes of any size, exactly as if they had gone through the network at once.

    Results go to stdout, as JSON with --json; progress, warnings and errors to stderr.

    \b
    Exit codes
      0    done; check, probe and doctor: all is sound
      1    something was wrong: one line on stderr says what and what to change
      2    wrong usage
      130  interrupted by Ctrl-C or SIGTERM; --resume goes on (tiler view ends with 0)
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit with its code; errors are one line on stderr."""
    code = _run(arguments)
    sys.exit(code if flushed() else max(code, 1))


def _run(arguments: list[str] | None) -> int:
    with library_messages():
        return _exit_code(arguments)


def _exit_code(arguments: list[str] | None) -> int:
    try:
        result: Any = tiler.main(arguments, prog_name="tiler", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _complain("interrupted", INTERRUPTED)
    except TilerError as error:
        return _complain(error, INTERRUPTED if isinstance(error, Interrupted) else 1)
    except SystemExit as error:
        # click exits like this if the reader of a pipe has gone; there is nobody to report to.
        return error.code if isinstance(error.code, int) else 1
    except Exception as error:
        return _unforeseen(error)


def _unforeseen(error: Exception) -> int:
    if isinstance(error, OSError) and error.filename is None and error.errno in DISK_FULL:
        print_no_more()
        return _complain(f"cannot write to stdout: {error.strerror}", 1)  # files are written with their name
    log.debug("%s", traceback.format_exc())
    return _complain(unexpected(error), 1)


def _complain(error: object, code: int) -> int:
    tell(f"tiler: {' '.join(spelled(error).split())}")
    return code


if __name__ == "__main__":
    main()
