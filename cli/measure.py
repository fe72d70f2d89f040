"""`tiler measure`."""

from __future__ import annotations

import json
import threading

import click

from tiler import api
from tiler.cli.talk import listening, stoppable


@click.command()
@click.argument("labels", type=click.Path())
@click.argument("images", nargs=-1, type=click.Path())
@click.option("--output", "-o", metavar="FILE", type=click.Path(),
              help="Table to write, .csv or .parquet. [default: CSV on stdout]")
@click.option("--roi", metavar="Z,Y,X",
              help="Region to measure, such as 0:5,100:600,50:450. [default: the whole volume]")
@click.option("--axes", metavar="AXES", help="Names of the axes of all volumes, such as zyx. [default: as files say]")
@click.option("--workers", default=2, show_default=True, type=click.IntRange(min=1), help="Threads.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: objects, columns, output. Needs -o.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def measure(labels: str, images: tuple[str, ...], output: str | None, roi: str | None, axes: str | None,
            workers: int, as_json: bool, quiet: bool) -> None:
    """Measure the objects in LABELS, and the values of IMAGES inside them, as a table for Excel, R or pandas.

    Volumes of any size are read block by block, in any format that tiler segment reads. Columns: id, voxels, volume or
    area and centroid in physical units where the voxel size is known, centroid and bounding box in voxels (z_start
    to z_stop - 1), sections, touches_border, and for each image NAME_mean, NAME_min, NAME_max and NAME_std.
    """
    if as_json and output is None:
        raise click.UsageError("the table itself goes to stdout: --json needs -o FILE.csv")
    stop = threading.Event()
    with stoppable(stop), listening(quiet) as listener:
        table = api.measure(labels, *images, output=output, roi=roi, axes=axes, workers=workers,
                            listener=listener, stop=stop)
    if as_json:
        told = {"objects": len(table["id"]), "columns": list(table), "output": output}
        click.echo(json.dumps(told))
    elif output is None:
        from tiler.objects.table_files import csv_lines

        for line in csv_lines(table):
            click.echo(line, nl=False)
    else:
        click.echo(f"{len(table['id'])} objects, {len(table)} columns: {output}")
