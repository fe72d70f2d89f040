"""`tiler export`."""

from __future__ import annotations

import json
from typing import Any

import click

from tiler.cli import completion
from tiler.cli.options import FACTORY, factory_options, json_option
from tiler.cli.waiting import waiting
from tiler.options import TABLE
from tiler.options.documents import words_of


@click.command()
@click.argument("model", shell_complete=completion.models)
@click.option("-o", "--output", required=True, metavar="FILE",
              help=".zip for a BioImage.IO package; .onnx, .pt2 or .pt (TorchScript) for the network alone.")
@click.option("--weights", "-w", metavar="FILE", shell_complete=completion.files,
              help="safetensors file; by default the model's own.")
@click.option("--trust", is_flag=True, help="Run code that a model file brings along.")
@FACTORY
@click.option("--head", type=click.Choice(words_of(TABLE["head"])),
              help="What follows the last layer, in a package; by default what belongs to the model.")
@click.option("--author", "authors", multiple=True, metavar="NAME", help="Of a package; may be repeated.")
@click.option("--licence", metavar="SPDX", help="Of a package, such as MIT or CC-BY-4.0.")
@click.option("--overwrite", is_flag=True, help="Replace the file.")
@json_option("model, output")
def export(model: str, output: str, weights: str | None, trust: bool, head: Any, as_json: bool,
           **options: Any) -> None:
    """Write MODEL for other programs. Prints the path of the file.

    A package holds weights, normalisation, head, test images, and the sizes and halo that the network needs.
    """
    arguments, returns = factory_options(options)
    with waiting(step="loading torch"):
        from tiler.models.exporting.export import ExportOptions, export
        from tiler.models.exporting.package import Imprint

        imprint = Imprint(tuple(options["authors"]), options["licence"])
        wanted = ExportOptions(head, imprint, options["overwrite"])
        written = str(export(model, output, wanted, weights=weights, trust=trust, arguments=arguments,
                             returns=returns))
    click.echo(json.dumps({"model": model, "output": written}) if as_json else written)
