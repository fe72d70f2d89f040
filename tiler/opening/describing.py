"""Descriptions of sources and models, by which a later run can find them again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tiler.opening.models import OpenedModel
from tiler.sources.files import PRECOMPUTED
from tiler.stores.address import is_address, names_place, place_of


def describe_source(source: Any) -> str:
    """A path as absolute text, anything else as its type."""
    if not names_place(source):
        return f"<{type(source).__name__}>"
    if is_address(source):
        return str(source)
    scheme = PRECOMPUTED if str(source).startswith(PRECOMPUTED) else ""
    return scheme + str(place_of(str(source).removeprefix(scheme)).absolute())


def describe_model(model: Any) -> str:
    """A name as it is, a file as an absolute path, a module in memory as its type."""
    if isinstance(model, OpenedModel):
        return describe_model(model.model)
    if not isinstance(model, (str, Path)):
        return f"<{type(model).__name__}>"
    file, colon, factory = str(model).partition(":")
    marks = ("*.y*ml", "plans.json", "config.json", "configs")
    package = any(any(Path(file).glob(mark)) for mark in marks) if Path(file).is_dir() else False
    return f"{Path(file).absolute()}{colon}{factory}" if package or Path(file).is_file() else str(model)
