"""`tiler sample`."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from tiler.cli.options import json_option
from tiler.errors import SinkError

FILES = ("sstem.tif", "sstem_labels.tif", "sstem_instances.tif", "README.md")
PLACES = ("samples", "data_samples")
"""Folders beside this one that hold the sample: in an installed package, and in a clone."""


@click.command()
@click.argument("folder", default="data_samples", type=click.Path(file_okay=False))
@json_option("an array of the paths")
def sample(folder: str, as_json: bool) -> None:
    """Write a small sample stack and its labels into FOLDER. [default: data_samples]

    Eight synthetic sections of neuropil, 512 x 512 pixels of 4 x 4 nm: sstem.tif, what is membrane (0) and cell (255)
    in sstem_labels.tif, and the number of each cell in sstem_instances.tif. Free to use (CC0). Prints the paths.
    """
    written = [_written(Path(folder) / name) for name in FILES]
    if as_json:
        import json

        click.echo(json.dumps(written))
    else:
        click.echo("\n".join(written))


def _written(target: Path) -> str:
    """Copy one file; one that is there already with the same content stays."""
    content = (_origin() / target.name).read_bytes()
    try:
        if target.exists() and target.read_bytes() != content:
            raise SinkError(f"{target} exists and is another file: give another folder")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(_origin() / target.name, target)
    except OSError as error:
        if isinstance(error, SinkError):
            raise
        raise SinkError(f"cannot write {target}: {error.strerror or error}") from error
    return str(target)


def _origin() -> Path:
    beside = Path(__file__).resolve().parents[1]
    return next(beside / name for name in PLACES if (beside / name / FILES[0]).is_file())
