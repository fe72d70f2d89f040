"""Export a network to other programs: as a BioImage.IO package, as ONNX, torch.export or TorchScript program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from tiler.activity import doing
from tiler.errors import ModelError
from tiler.models.exporting.package import Imprint, write_package
from tiler.models.exporting.program import write_program
from tiler.models.predictor.heads import Head
from tiler.models.predictor.open_predictor import open_predictor
from tiler.models.predictor.options import PredictorOptions
from tiler.stores.durable import replacing

PROGRAMS = {".onnx": "onnx", ".pt2": "pt2", ".pt": "torchscript"}
PACKAGE = ".zip"


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """Choices of an export.

    Parameters
    ----------
    head
        Function after the last layer in a package; by default the model's own. Programs contain the network alone,
        without a head.
    imprint
        Authors and licence of a package.
    overwrite
        Whether an existing file may be replaced.
    """

    head: Head | None = None
    imprint: Imprint = field(default_factory=Imprint)
    overwrite: bool = False


def export(
    model: str | Path | nn.Module, output: str | Path, options: ExportOptions, *, weights: str | Path | None = None,
    trust: bool = False, arguments: Mapping[str, Any] | None = None, returns: str | None = None
) -> Path:
    """Write a network for other programs.

    Parameters
    ----------
    model, weights, trust, arguments, returns
        See `tiler.models.load_model`.
    output
        Path of the file. ``.zip`` is a BioImage.IO package, with normalisation and head; ``.onnx``, ``.pt2`` and
        ``.pt`` (TorchScript) are the network alone, from normalised grey values to scores, for any legal size.
    options
        See `ExportOptions`.

    Returns
    -------
    path
        Path of the file.

    Raises
    ------
    ModelError
        If the suffix is none of these, the file exists already, or the network does not support the format.
    """
    path = Path(output)
    if path.suffix not in (PACKAGE, *PROGRAMS):
        raise ModelError(f"{path} has no suffix of an export: {', '.join((PACKAGE, *PROGRAMS))}", option="output")
    if path.exists() and not options.overwrite:
        raise ModelError(f"{path} exists: `overwrite=True` replaces it, `output` chooses another name")
    doing(f"loading {model} and checking how it can be tiled")
    wanted = PredictorOptions(device="cpu", head=options.head, classes="all")
    predictor = open_predictor(model, weights=weights, trust=trust, arguments=arguments, returns=returns,
                               options=wanted)
    if predictor.capabilities.whole:
        raise ModelError(f"{model} takes every input in one piece, as classifiers do: only networks that give a map of "
                         "their input can be written")
    if not predictor.capabilities.tiled:
        raise ModelError(f"{model} cannot be written: other programs would run it in tiles, and it is "
                         f"exact in stages only ({predictor.capabilities.untiled}); tiler segment runs it")
    doing(f"writing {path.name} and comparing it with the network")
    try:
        with replacing(path) as draft:
            if path.suffix == PACKAGE:
                write_package(predictor, draft, options.imprint)
            else:
                loaded = predictor.model
                draft.write_bytes(write_program(PROGRAMS[path.suffix], loaded.bare(), loaded.in_channels,
                                                predictor.plain, loaded.ndim))
    except OSError as error:
        raise ModelError(f"cannot write {path}: {error.strerror or error}", option="output") from error
    return path
