"""Folders of ``model.save_pretrained(FOLDER)`` of segmentation_models_pytorch."""

from __future__ import annotations

from pathlib import Path

from tiler.errors import ModelError
from tiler.models.loading.build_recipes import FactoryRecipe
from tiler.models.loading.folders.reading import need, read_json
from tiler.models.loading.libraries import find_network
from tiler.models.loading.loaded_model import LoadedModel, foreign

CONFIG = "config.json"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def is_smp(path: Path) -> bool:
    """Whether a folder holds a network of segmentation_models_pytorch."""
    return (path / CONFIG).is_file() and "_model_class" in read_json(path / CONFIG)


def open_smp(path: Path, weights: str | None, trust: bool) -> LoadedModel:
    """The network of such a folder.

    Raises
    ------
    ModelError
        If the folder is incomplete, or the library is not installed.
    """
    if weights is not None:
        raise ModelError(f"{path} carries its own weights: leave out `weights={weights}`")
    config = dict(read_json(path / CONFIG))
    name = str(need(config, "_model_class", path / CONFIG))
    find_network("smp", name)
    # Otherwise the library would download the encoder's initial weights, only to replace them.
    arguments = {key: value for key, value in config.items() if not key.startswith("_")} | {"encoder_weights": None}
    file = next((path / each for each in WEIGHTS if (path / each).is_file()), None)
    if file is None:
        raise ModelError(f"{path} has no weights: neither {' nor '.join(WEIGHTS)}", option="model")
    recipe = FactoryRecipe("smp", name, file.resolve(), tuple(arguments.items()))
    return foreign(recipe, path.name, recipe.weights, {"source": f"smp:{name}"})
