"""Formats that tiler recognises but does not read, each with the command that converts it."""

from __future__ import annotations

import re
from pathlib import Path

BIOFORMATS = "bioformats2raw {name} {stem}.zarr, then take {stem}.zarr/0"
SIMPLE_ITK = ("pip install SimpleITK; python -c \"import SimpleITK as s; s.WriteImage(s.ReadImage('{name}'), "
              "'{stem}.tif')\"")
TILES = "stitch its tiles into a zarr, for example with cloud-volume or tensorstore"

CONVERTERS = {
    **dict.fromkeys((".czi", ".nd2", ".lif", ".oib", ".oif", ".oir", ".vsi", ".scn", ".svs", ".ndpi", ".mrxs"),
                    BIOFORMATS),
    **dict.fromkeys((".nii", ".nrrd", ".nhdr", ".mha", ".mhd"), SIMPLE_ITK),
    ".wkw": "webknossos export-as-tiff (pip install webknossos), or download the dataset as zarr",
    ".vol": "save it as TIFF or MRC in the program that wrote it, or open its voxels as numpy.memmap in Python",
}


def way_out(path: Path) -> str | None:
    """The command that converts a file; None for an unknown format."""
    command = CONVERTERS.get(path.suffix.lower())
    return command and command.format(name=path.name, stem=path.stem)


def foreign_folder(path: Path) -> str | None:
    """Reason why tiler cannot read a folder, with advice; None if its format is not recognised.

    Recognises KNOSSOS cubes, webKnossos datasets of WKW layers, and tile pyramids as CATMAID shows them.
    """
    if any((path / name).exists() for name in ("knossos.conf", "Knossos.conf")) or list(path.glob("mag*/x0000")):
        return f"{path} holds KNOSSOS cubes: convert them with knossos_utils (to_hdf5), or with webknossos to zarr"
    if (path / "header.wkw").exists() or list(path.glob("*/*/header.wkw")) or list(path.glob("*/header.wkw")):
        return f"{path} holds WKW cubes: convert them with {CONVERTERS['.wkw']}"
    if (path / "datasource-properties.json").exists():
        layers = sorted(layer.name for layer in path.iterdir() if layer.is_dir())
        return f"{path} is a webKnossos dataset: give one of its layers, {', '.join(layers)}"
    if _is_tile_stack(path):
        return f"{path} is a pyramid of image tiles, as CATMAID shows them: {TILES}"
    return None


def _is_tile_stack(path: Path) -> bool:
    """Sections in folders 0, 1, ... of files ROW_COLUMN_ZOOM."""
    sections = (folder for folder in path.glob("[0-9]*") if folder.is_dir() and folder.name.isdigit())
    first = next(sections, None)
    return first is not None and any(re.fullmatch(r"\d+_\d+_\d+\.(jpe?g|png)", file.name) for file in first.iterdir())
