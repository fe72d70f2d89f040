"""The options that `segment` and `plan` share, in groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from tiler.cli import completion
from tiler.options import TABLE, Option
from tiler.options.documents import cli_help, words_of
from tiler.options.naming import Files
from tiler.options.parsers import Assignments, Flag, Whole

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


ORDER = ("Model", "Input", "Result", "Objects", "Training", "Resources", "Messages")
"""Headings in the order of use; any others follow."""

HELP_ALL = "tiler.help_all"


class GroupedOption(click.Option):
    """An option with the heading under which ``--help`` shows it.

    Parameters
    ----------
    brief
        A few words for ``--help``, if the option is for everyday use.
    """

    def __init__(self, *args: Any, group: str = "Other", brief: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group, self.brief = group, brief

    @property
    def brief_record(self) -> tuple[str, str]:
        """Its names with a short placeholder, and its few words."""
        value = "" if self.is_flag else f" {(self.metavar or (self.name or '').upper()).partition('[')[0]}"
        return ", ".join(sorted(self.opts, key=len)) + value, self.brief


class GroupedCommand(click.Command):
    """A command whose ``--help`` shows its options under headings.

    If some of them have few words for everyday use, ``--help`` shows those alone, and ``--help-all`` all of them.
    """

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        found = super().get_params(ctx)
        return [*found, self._help_all()] if any(map(_brief, found)) else found

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shown = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, click.Option)]
        short = any(map(_brief, shown)) and not ctx.meta.get(HELP_ALL)
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in sorted(shown, key=_place):
            record = _brief(parameter) if short else parameter.get_help_record(ctx)
            if record is not None:
                groups.setdefault(getattr(parameter, "group", "Other"), []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records, col_max=26 if short else 30)

    def _help_all(self) -> click.Option:
        def show(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
            if value and not ctx.resilient_parsing:
                ctx.meta[HELP_ALL] = True
                click.echo(ctx.get_help())
                ctx.exit()

        return GroupedOption(["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=show,
                             help="Show every option, with its defaults.", group="Other",
                             brief="show every option, with its defaults")


def _brief(parameter: click.Parameter) -> tuple[str, str] | None:
    return parameter.brief_record if isinstance(parameter, GroupedOption) and parameter.brief else None


def _place(parameter: click.Parameter) -> int:
    group = getattr(parameter, "group", "Other")
    return ORDER.index(group) if group in ORDER else len(ORDER) + (group == "Other")


def option(group: str, *names: str, **settings: Any) -> Decorator:
    return click.option(*names, cls=GroupedOption, group=group, **settings)


def together(*decorators: Decorator) -> Decorator:
    """Several options as one decorator, shown in the order given."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        for decorator in reversed(decorators):
            function = decorator(function)
        return function

    return decorate


def json_option(keys: str) -> Decorator:
    """``--json`` of a command that has no groups of options; its help describes the object."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print JSON instead of text: {keys}.")


def from_table(group: str, table: Mapping[str, Option] = TABLE) -> Decorator:
    """All options of the table under one heading."""
    return together(*(_declared(each) for each in table.values() if each.group == group))


def _declared(declared: Option) -> Decorator:
    """The command-line option for one row of the table; its value is None if it is not given."""
    names = [declared.spelling, *([declared.short] if declared.short else [])]
    settings: dict[str, Any] = {"help": cli_help(declared), "default": None, "brief": declared.brief}
    parse, words = declared.parse, words_of(declared)
    if words:
        settings["type"] = click.Choice(words)
    elif isinstance(parse, Flag):
        names = [f"{declared.spelling}/{declared.spelling.replace('--', '--no-', 1)}"]
    elif isinstance(parse, Whole) and not parse.auto:
        settings["type"] = click.IntRange(parse.least, parse.most)
    elif isinstance(parse, Assignments):
        settings |= {"multiple": True, "callback": lambda context, parameter, value: value or None}
    if declared.metavar:
        settings["metavar"] = declared.metavar
    if isinstance(parse, Files):
        settings["shell_complete"] = completion.files
    return option(declared.group, *names, declared.name, **settings)


MODEL = together(
    option("Model", "--model", "-m", required=True, metavar="MODEL", shell_complete=completion.models,
           brief="a name (tiler models), mine.py:make, a file or folder",
           help="Registered name (tiler models), network of a library (smp:Unet, monai:DynUNet, "
                "torchvision:fcn_resnet50), package.module:factory, file.py:factory, an ONNX, TorchScript or .pt2 "
                "file, a BioImage.IO package, or a folder of nnU-Net, smp or MONAI."),
    option("Model", "--trust", is_flag=True, help="Run code that a model file or package brings along."),
    from_table("Model"),
)
FACTORY = together(_declared(TABLE["model_args"]), _declared(TABLE["returns"]))
"""Arguments of a factory and the output to use, for commands without the other options."""
INPUT = from_table("Input")
RESULT = together(from_table("Result"), from_table("Storage"), from_table("Objects"))
RESOURCES = from_table("Resources")



def factory_options(given: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """Arguments and output of a factory, from the values of `FACTORY`."""
    return TABLE["model_args"].read(given["model_args"]), TABLE["returns"].read(given["returns"])


TALK = together(
    option("Messages", "--json", "as_json", is_flag=True,
           brief="JSON instead of text", help="Print one JSON object instead of text."),
    option("Messages", "--quiet", "-q", is_flag=True, brief="no progress", help="No progress."),
    option("Messages", "--verbose", "-v", is_flag=True, brief="say more, with tracebacks",
           help="Say more, with tracebacks."),
    option("Messages", "--log-file", type=click.Path(dir_okay=False), metavar="FILE",
           help="Append messages to it."),
)
