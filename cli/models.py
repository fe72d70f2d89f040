"""`tiler models` and `tiler probe`."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from tiler.models.registry import ModelEntry, describe, names


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def models(name: str | None, as_json: bool) -> None:
    """List the registered networks, or show all about one of them by NAME."""
    facts = _facts(describe(name)) if name else [_summary(describe(each)) for each in names()]
    if as_json:
        click.echo(json.dumps(facts))
    elif isinstance(facts, dict):
        _print_rows(facts)
    else:
        _print_table(facts)


@click.command()
@click.argument("model")
@click.option("--weights", "-w", metavar="FILE", help="safetensors file; by default the model's own.")
@click.option("--trust", is_flag=True, help="Run code that a model file brings along (TorchScript).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def probe(model: str, weights: str | None, trust: bool, as_json: bool) -> int:
    """Find out what context MODEL needs, which tiles are legal, and prove it.

    Exit code 0 says that the network can be tiled exactly and that the proof succeeded.
    """
    from tiler.models.loading import load_model
    from tiler.models.probe import probe as probed

    loaded = load_model(model, weights, trust)
    report = probed(loaded.build(), loaded.in_channels, loaded.ndim)
    sound = report.proved and report.exactness == "EXACT"
    click.echo(json.dumps({**asdict(report), "proved": report.proved}) if as_json else str(report))
    return 0 if sound else 1


def _summary(entry: ModelEntry) -> dict[str, Any]:
    return {
        "name": entry.name,
        "description": entry.description,
        "weights": entry.weights.name if entry.weights else "none bundled",
        "source": entry.paper,
    }


def _facts(entry: ModelEntry) -> dict[str, Any]:
    """All about one network as it would be run by default; its footprint is derived, not proved."""
    from tiler.models.loading import load_model
    from tiler.models.probe import probe as probed

    loaded = load_model(entry.name)
    module = loaded.build()
    report = probed(module, loaded.in_channels, loaded.ndim, prove=False)
    return {
        **_summary(entry),
        "doi": entry.doi,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "classes": list(loaded.classes or ()),
        "geometry": str(report),
    }


def _print_rows(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        text = f"{value:,}" if isinstance(value, int) else ", ".join(value) if isinstance(value, list) else value
        head, *rest = str(text).splitlines()
        click.echo("\n".join([f"{name:<12} {head}", *(f"{'':<11}{line}" for line in rest)]))


def _print_table(facts: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    for column in facts[0]:
        table.add_column(column, overflow="fold")
    for row in facts:
        table.add_row(*row.values())
    Console(highlight=False).print(table)
