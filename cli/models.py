"""`tiler models` and `tiler probe`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tiler.activity import doing
from tiler.cli import completion
from tiler.cli.options import FACTORY, factory_options, json_option
from tiler.cli.waiting import waiting
from tiler.models.zoo.registry import ModelEntry, build, describe, names

_NEEDS = {"EXACT": "exact in tiles", "STAGES": "exact in stages", "WHOLE": "whole inputs"}


@click.command()
@click.argument("name", required=False, shell_complete=completion.models)
@json_option("an array of name, exactness, description, weights, source; with NAME one object of these and of "
             "doi, left_open, arguments, parameters, classes, geometry")
def models(name: str | None, as_json: bool) -> None:
    """List the registered networks, or show all about one of them by NAME."""
    with waiting():
        facts = _facts(describe(name)) if name else [_summary(describe(each)) for each in names()]
    if as_json:
        click.echo(json.dumps(facts))
    elif isinstance(facts, dict):
        _print_rows(facts)
    else:
        _print_table(facts)


@click.command()
@click.argument("model", shell_complete=completion.models)
@click.option("--weights", "-w", metavar="FILE", shell_complete=completion.files,
              help="safetensors file; by default the model's own.")
@click.option("--trust", is_flag=True, help="Run code that a model file or package brings along.")
@FACTORY
@json_option("network, ndim, footprint, context, exactness, border, in_channels, out_channels, offending, proof, "
             "proved and others")
def probe(model: str, weights: str | None, trust: bool, as_json: bool, **factory: Any) -> int:
    """Find out what context MODEL needs, which tiles are legal, and prove it.

    Exit code 0 says that the network runs exactly: in tiles whose proof succeeded, or in stages that give what one
    pass over the whole input gives.
    """
    arguments = factory_options(factory)
    with waiting(step="loading torch"):
        report = _probed(model, weights, trust, arguments)
    sound = report.staging is not None or (report.proved and report.exactness == "EXACT")
    click.echo(json.dumps({**asdict(report), "proved": report.proved}) if as_json else str(report))
    return 0 if sound else 1


def _probed(model: str, weights: str | None, trust: bool, arguments: tuple[Any, Any]) -> Any:
    """The report of a network; one without bundled weights is probed with random values, which decide nothing."""
    from tiler.models.loading.loaded_model import warn_of_halo
    from tiler.models.loading.open_model import load_model
    from tiler.models.predictor.survey import surveyed

    doing(f"loading {model}")
    if weights is None and arguments == (None, None) and model in names() and describe(model).weights is None:
        loaded = load_model(build(model).eval())
    else:
        loaded = load_model(model, weights, trust, *arguments)
    doing(f"checking how {model} can be tiled")
    report = surveyed(loaded)
    if report.footprint is not None:
        warn_of_halo(loaded, report.footprint)
    return report


def _summary(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "exactness": _NEEDS[entry.exactness],
        "description": entry.description,
        "weights": entry.weights.name if entry.weights else "none bundled",
        "source": entry.paper,
    }


def _facts(entry: ModelEntry) -> dict[str, Any]:
    """Description of a network with its default options; its footprint is derived, not proved."""
    doing("loading torch")
    from tiler.models.probe import probe as probed

    module, classes = _default(entry)
    report = probed(module, module.arguments["in_channels"], prove=False)
    return {
        **_summary(entry),
        "doi": entry.doi or "none",
        "left_open": entry.left_open or "nothing that decides the network",
        "arguments": dict(module.arguments),
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "classes": classes,
        "geometry": str(report),
    }


def _default(entry: ModelEntry) -> tuple[Any, list[str]]:
    """A network without weight values, built like its bundled weights if there are any; and its classes."""
    if entry.weights is not None:
        from tiler.models.loading.open_model import load_model

        loaded = load_model(entry.name)
        return loaded.meta(), list(loaded.classes or ())
    import torch

    with torch.device("meta"):
        module = build(entry.name)
    return module, [f"{module.arguments['classes']}, named by the weights"]


def _print_rows(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        head, *rest = _readable(value).splitlines()
        click.echo("\n".join([f"{name:<12} {head}", *(f"{'':<11}{line}" for line in rest)]))


def _readable(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _is_bundled(row: dict[str, Any]) -> bool:
    return bool(row["weights"].endswith(".safetensors"))


def _print_table(facts: list[dict[str, Any]]) -> None:
    """One line per network if the window is wide enough, those first whose weights come with tiler."""
    table = Table(box=None, pad_edge=False)
    for column in ("name", "use", "exactness", "description"):
        table.add_column(column, no_wrap=column != "description", overflow="fold")
    for row in sorted(facts, key=lambda row: not _is_bundled(row)):
        use = "now" if _is_bundled(row) else "train first"
        table.add_row(row["name"], use, row["exactness"], row["description"])
    Console(highlight=False).print(table)
