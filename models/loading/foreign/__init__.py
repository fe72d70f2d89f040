"""Networks from files of other programs: TorchScript, torch.export and ONNX."""

from __future__ import annotations

from pathlib import Path

from tiler.errors import ModelError
from tiler.models.loading.build_recipes import ScriptRecipe
from tiler.models.loading.files import UNREADABLE, ModelFile, find, opened_zip
from tiler.models.loading.foreign.exported import ExportedRecipe
from tiler.models.loading.foreign.onnx import OnnxRecipe
from tiler.models.loading.loaded_model import LoadedModel, foreign


def open_file(path: Path, trust: bool) -> LoadedModel:
    """Load a network from a file that holds its graph and weights.

    Parameters
    ----------
    path
        An ``.onnx`` or ``.pt2`` file, or TorchScript under any other suffix.
    trust
        Whether code that torch unpickles or runs while loading may run; ONNX files hold only data.

    Raises
    ------
    ModelError
        If the file is none of these, or is not trusted.
    """
    if path.suffix == ".safetensors":
        raise ModelError(f"{path} holds weights, not a network: give it as `weights`, with the network as `model`")
    if path.suffix == ".onnx":
        file = find(path)
        return foreign(OnnxRecipe(file), path.name, None, {"source": file.sha256})
    if path.suffix == ".pt2":
        _archive(path)
        file = _trusted(path, trust, "a torch.export program: loading it may run its pickled objects")
        return foreign(ExportedRecipe(file), path.name, None, {"source": file.sha256})
    code = [name for name in _archive(path) if "/code/" in name and name.endswith(".py")]
    if not code:
        raise ModelError(f"{path} is a torch archive without a program (a state dict?): give it as `weights`, "
                         "with the network as `model`")
    file = _trusted(path, trust, "a TorchScript program: loading it would run its pickled objects and "
                                 f"{len(code)} source files, such as {code[0]}")
    return foreign(ScriptRecipe(file), path.name, None, {"source": file.sha256})


def _archive(path: Path) -> list[str]:
    """The names of the members of a torch archive, which is a zip."""
    try:
        with opened_zip(path) as archive:
            return archive.namelist()
    except UNREADABLE as error:
        raise ModelError(f"{path} is no TorchScript or torch.export file ({error}); a Python file needs its factory: "
                         "file.py:factory", option="model") from error


def _trusted(path: Path, trust: bool, what: str) -> ModelFile:
    file = find(path)
    if not trust:
        raise ModelError(f"{path} (sha256 {file.sha256[:12]}) is {what}; if you trust who made it, say `trust=True`")
    return file
