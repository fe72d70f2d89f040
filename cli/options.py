"""The options that `segment` and `plan` share, in groups."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from tiler.cli import completion

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class GroupedOption(click.Option):
    """An option that knows under which heading of ``--help`` it stands."""

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
    """``--json`` of a command that has no groups of options; its help tells what the object holds."""
    return click.option("--json", "as_json", is_flag=True, help=f"Print JSON instead of text: {keys}.")


MODEL = together(
    option("Model", "--model", "-m", required=True, metavar="MODEL", shell_complete=completion.models,
           help="Registered name (tiler models), package.module:factory, file.py:factory, an ONNX, TorchScript or .pt2 "
                "file, or a BioImage.IO package."),
    option("Model", "--weights", "-w", metavar="FILE", shell_complete=completion.files,
           help="safetensors file; by default the model's own. Of a package onnx, torchscript or pytorch_state_dict."),
    option("Model", "--trust", is_flag=True, help="Run code that a model file or package brings along."),
    option("Model", "--head", type=click.Choice(["softmax", "sigmoid", "none"]),
           help="What follows the last layer; by default what belongs to the model."),
    option("Model", "--average", type=click.Choice(["none", "flip4", "rot4", "d4", "rot7"]),
           help="Average over flips and rotations. [default: none]"),
    option("Model", "--tiling", type=click.Choice(["exact", "blend", "whole"]),
           help="blend averages overlapping windows, an approximation; whole takes every input in one piece. "
                "[default: exact; whole for classifiers]"),
    option("Model", "--resize", metavar="SIZE", help="With --tiling whole: size that slices are resized to, and back."),
    option("Model", "--border", type=click.Choice(["mirror", "zero"]),
           help="What lies beyond the volume; by default what belongs to the model."),
    option("Model", "--normalise", metavar="RULE",
           help="weights, volume, volume:LOW,HIGH (percentiles) or MEAN,STD. [default: weights]"),
)

INPUT = together(
    option("Input", "--axes", metavar="AXES", help="Names of the input's axes, such as tyx."),
    option("Input", "--channel", metavar="N[,N]", help="Channels to use. [default: all]"),
    option("Input", "--roi", metavar="Z,Y,X", help="Region, such as 0:5,100:600,50:450 or t=3,y=0:512."),
    option("Input", "--nan", type=click.Choice(["refuse", "zero"]), help="NaN in the input. [default: refuse]"),
)

RESULT = together(
    option("Result", "--as", "kind", type=click.Choice(["probabilities", "labels", "instances"]),
           help="What to write. [default: probabilities]"),
    option("Result", "--classes", metavar="all|NAME",
           help="Which classes; by default the second of two, else all."),
    option("Result", "--dtype", type=click.Choice(["float32", "float16", "float64", "uint8", "uint32", "uint64"]),
           help="Type of the voxels. [default: float32; labels uint8; instances uint32]"),
    option("Result", "--ngff", type=click.Choice(["0.5", "0.4"]), help="Version of OME-Zarr. [default: 0.5]"),
    option("Result", "--min-size", type=click.IntRange(min=0), help="Smallest instance in voxels. [default: 0]"),
)

RESOURCES = together(
    option("Resources", "--tile", metavar="SIZE", help="Model input, such as 572 or 1x572x572. [default: auto]"),
    option("Resources", "--block", metavar="SIZE", help="One task and one write. [default: auto]"),
    option("Resources", "--batch", metavar="N", help="Tiles at once. [default: auto]"),
    option("Resources", "--memory", metavar="SIZE", help="Budget, such as 8GiB. [default: half of what is free]"),
    option("Resources", "--workers", metavar="N",
           help="Threads that read and that write; processes of dask. [default: 2]"),
    option("Resources", "--executor", type=click.Choice(["threads", "serial", "dask"]), help="[default: threads]"),
    option("Resources", "--tune/--no-tune", default=None,
           help="Time the network for a few seconds where there is much to do, and remember it. [default: tune]"),
    option("Resources", "--scheduler", metavar="ADDRESS",
           help="Of a running dask cluster, such as tcp://10.0.0.1:8786; by default processes of this machine."),
    option("Resources", "--device", metavar="NAME",
           help="auto, cpu, cuda, cuda:1 or mps; several GPUs share the blocks: cuda:0,cuda:1. [default: auto]"),
    option("Resources", "--precision", type=click.Choice(["float32", "tf32", "bfloat16", "float16", "float64"]),
           help="tf32 is of CUDA devices. [default: float32]"),
    option("Resources", "--backend", type=click.Choice(["auto", "torch", "compile", "openvino", "onnxruntime",
                                                          "onnxruntime:tensorrt"]),
           help="What runs the network; auto measures which is the fastest. [default: torch]"),
    option("Resources", "--threads", type=click.IntRange(1, 1024),
           help="Processor threads per forward pass. [default: all, shared by the processes of dask]"),
)

TALK = together(
    option("Messages", "--json", "as_json", is_flag=True, help="Print one JSON object instead of text."),
    option("Messages", "--quiet", "-q", is_flag=True, help="No progress."),
    option("Messages", "--verbose", "-v", is_flag=True, help="Say more, with tracebacks."),
    option("Messages", "--log-file", type=click.Path(dir_okay=False), metavar="FILE",
           help="Append messages to it."),
)
