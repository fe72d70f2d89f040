"""`tiler convert`."""

from __future__ import annotations

import json

import click

from tiler.cli import completion
from tiler.cli.options import json_option
from tiler.cli.waiting import waiting


@click.command()
@click.argument("weights", shell_complete=completion.files)
@click.option("-o", "--output", required=True, metavar="FILE", help=".safetensors file to write.")
@click.option("--overwrite", is_flag=True, help="Replace the file.")
@json_option("weights, output")
def convert(weights: str, output: str, overwrite: bool, as_json: bool) -> None:
    """Write WEIGHTS (.pth, .pt, .ckpt) as safetensors. Prints the path of the file.

    The file is read by torch's weights-only reader, so that no code in it runs.
    """
    with waiting(step="loading torch"):
        from tiler.models.loading.convert import convert_weights

        written = str(convert_weights(weights, output, overwrite=overwrite))
    click.echo(json.dumps({"weights": weights, "output": written}) if as_json else written)
