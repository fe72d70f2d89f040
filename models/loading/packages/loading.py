"""Load a package as a model that tiler runs like any other."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tiler.errors import ModelError
from tiler.models.loading.build_recipes import Recipe, ScriptRecipe
from tiler.models.loading.files import ModelFile
from tiler.models.loading.foreign.onnx import OnnxRecipe
from tiler.models.loading.loaded_model import LoadedModel, foreign
from tiler.models.loading.packages.contents import Contents, open_contents
from tiler.models.loading.packages.description import FORMATS, Description, Weights, describe, first_of
from tiler.models.loading.packages.recipes import Architecture, OrderedRecipe, StateDictRecipe

HARMLESS = ("onnx",)


def load_package(path: Path, weights: str | None, trust: bool) -> LoadedModel:
    """The network of a BioImage.IO package, with its pre- and post-processing.

    Parameters
    ----------
    path
        Path of a folder, zip or yaml.
    weights
        ``"torchscript"``, ``"pytorch_state_dict"`` or ``"onnx"``; None means the first of them that exists and may
        be loaded.
    trust
        Whether code in the package may run; ONNX files hold only data.

    Raises
    ------
    ModelError
        If the package is invalid or harmful, needs features that tiler lacks, or needs trust that was not given.
    """
    contents = open_contents(path)
    described = describe(contents)
    chosen = _chosen(described, contents, weights, trust)
    file = contents.file(chosen.source, chosen.sha256)
    recipe, extra = _recipe(chosen, file, contents)
    usual = "bc" + "zyx"[-described.given.ndim :]
    if (described.given.axes, described.made.axes) != (usual, usual):
        recipe = OrderedRecipe(recipe, described.given.axes, described.made.axes)
    takes = len(described.given.channels), described.given.ndim
    loaded = foreign(recipe, f"{described.name} ({chosen.format})", None, {"source": file.sha256, **extra}, takes)
    return replace(loaded, identity={**loaded.identity, **_processing(described)}, head=described.head,
                   steps=described.steps, measured=described.measured, halo=described.halo,
                   classes=described.made.channels if described.names_channels else None)


def _processing(described: Description) -> dict[str, Any]:
    """The part of the yaml that changes the result."""
    measured = described.measured and asdict(described.measured)
    return {"steps": described.steps.to_json(), "measured": measured,
            "axes": [described.given.axes, described.made.axes]}


def _chosen(described: Description, contents: Contents, wanted: str | None, trust: bool) -> Weights:
    formats = {each.format: each for each in described.weights}
    if wanted is not None and wanted not in formats:
        raise ModelError(f"{described.name} has weights in {', '.join(formats) or 'no format that tiler reads'}, "
                         f"`weights={wanted}` is none of them")
    asked = (wanted,) if wanted is not None else FORMATS
    safe = first_of([name for name in asked if trust or name in HARMLESS], described.weights)
    if safe is not None:
        return safe
    barred = first_of(asked, described.weights)
    if barred is None:
        elsewhere = ", ".join(each.source for each in described.weights if not each.local)
        raise ModelError(f"{contents.root} comes without weights that tiler reads"
                         f"{f' (it names {elsewhere}, and tiler fetches nothing)' if elsewhere else ''}: put "
                         "torchscript, onnx or pytorch_state_dict weights into the package", option="model")
    raise ModelError(f"{described.name}: {_danger(barred, contents)}; if you trust who made it, say `trust=True`")


def _danger(chosen: Weights, contents: Contents) -> str:
    """Describe the code that would run."""
    if chosen.format == "pytorch_state_dict":
        architecture = _architecture(chosen, contents)
        source = architecture.source
        hashed = f" (sha256 {source.sha256[:12]})" if isinstance(source, ModelFile) else ""
        return f"its weights need the package's own code, and {architecture}{hashed} would run"
    file = contents.file(chosen.source, chosen.sha256)
    return f"its torchscript weights are a program, and {file} (sha256 {file.sha256[:12]}) would run"


def _recipe(chosen: Weights, file: ModelFile, contents: Contents) -> tuple[Recipe, dict[str, Any]]:
    """The recipe of the network, and the identity of its code besides the weights."""
    if chosen.format == "onnx":
        return OnnxRecipe(file), {}
    if chosen.format == "torchscript":
        return ScriptRecipe(file), {}
    architecture = _architecture(chosen, contents)
    code = architecture.source.sha256 if isinstance(architecture.source, ModelFile) else architecture.source
    extra = {"code": code, "callable": architecture.callable, "arguments": dict(architecture.arguments)}
    return StateDictRecipe(file, architecture, getattr(chosen.details, "strict", True)), extra


def _architecture(chosen: Weights, contents: Contents) -> Architecture:
    given = chosen.details.architecture
    arguments = tuple(given.kwargs.items())
    if getattr(given, "import_from", None) is not None:
        return Architecture(str(given.import_from), str(given.callable), arguments)
    stated = given.sha256 and str(given.sha256)
    return Architecture(contents.file(str(given.source), stated), str(given.callable), arguments)
