"""Formats and networks of other packages, found by their entry points.

A package offers them in its ``pyproject.toml``::

    [project.entry-points."tiler.sources"]
    xyz = "my_package.reading:open_xyz"       # called with the path of a .xyz file, returns a `tiler.ports.Source`

    [project.entry-points."tiler.sinks"]
    xyz = "my_package.writing:XyzSink"        # called with path and `tiler.ports.OutputSpec`, is a `tiler.ports.Sink`

    [project.entry-points."tiler.models"]
    mynet = "my_package.networks:MYNET"       # a `tiler.models.ModelEntry` of that name
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Literal


def offered(kind: Literal["sources", "sinks", "models"]) -> dict[str, str]:
    """Return the entry points of installed packages, ``"module:object"`` by name; nothing is imported."""
    return {each.name: each.value for each in entry_points(group=f"tiler.{kind}")}
