"""The networks that tiler knows by name. Importing this module does not import torch."""

from __future__ import annotations

import difflib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tiler.errors import ModelError

_BUNDLED = Path(__file__).with_name("weights_data")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One network that has a name.

    Parameters
    ----------
    name
        What ``--model`` takes.
    factory
        ``"package.module:object"``, called with the arguments that the weights carry.
    description
        One line.
    paper, doi
        Where it was published.
    weights
        The bundled default weights, None where there are none.
    """

    name: str
    factory: str
    description: str
    paper: str
    doi: str
    weights: Path | None = None


_ENTRIES = {
    entry.name: entry
    for entry in (
        ModelEntry(
            name="unet",
            factory="tiler.models.unet:UNet",
            description="U-Net; the bundled weights find membranes in serial-section transmission EM",
            paper="O. Ronneberger, P. Fischer, T. Brox: U-Net: Convolutional Networks for Biomedical Image "
            "Segmentation. MICCAI 2015",
            doi="10.1007/978-3-319-24574-4_28",
            weights=_BUNDLED / "unet-isbi2012.safetensors",
        ),
    )
}


def names() -> tuple[str, ...]:
    """Of all registered networks, sorted."""
    return tuple(sorted(_ENTRIES))


def describe(name: str) -> ModelEntry:
    """What is known about one network.

    Raises
    ------
    ModelError
        If there is no such network; names the closest ones.
    """
    if name in _ENTRIES:
        return _ENTRIES[name]
    close = difflib.get_close_matches(name, _ENTRIES, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(names())};"
    raise ModelError(f"unknown model {name!r}: {hint} your own is package.module:factory or file.py:factory "
                     "(--model)")


def resolve(target: str) -> Any:
    """The object that ``"package.module:object"`` names."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)
