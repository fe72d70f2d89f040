"""The options that `segment` and `plan` share, in groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click

from tiler.cli import completion
from tiler.options import TABLE, Option
from tiler.options.documents import cli_help, words_of
from tiler.options.parsers import Assignments, Files, Flag, Whole

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class GroupedOption(click.Option):
    """An option with the heading under which ``--help`` shows it."""

    def __init__(self, *args: Any, group: str = "Other", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.group = group


class GroupedCommand(click.Command):
    """A command whose ``--help`` shows its options under headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        groups: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and isinstance(parameter, click.Option):
                groups.setdefault(getattr(parameter, "group", "Other"), []).append(record)
        for name, records in groups.items():
            with formatter.section(name):
                formatter.write_dl(records)


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
    settings: dict[str, Any] = {"help": cli_help(declared), "default": None}
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
    option("Messages", "--json", "as_json", is_flag=True, help="Print one JSON object instead of text."),
    option("Messages", "--quiet", "-q", is_flag=True, help="No progress."),
    option("Messages", "--verbose", "-v", is_flag=True, help="Say more, with tracebacks."),
    option("Messages", "--log-file", type=click.Path(dir_okay=False), metavar="FILE",
           help="Append messages to it."),
)
