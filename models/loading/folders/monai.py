"""MONAI bundles: ``configs/inference.json`` beside ``models/model.pt`` or ``models/model.ts``."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tiler.errors import ModelError
from tiler.models.loading.build_recipes import FactoryRecipe
from tiler.models.loading.folders.monai_processing import head_of, processing_of
from tiler.models.loading.folders.reading import need, read_json
from tiler.models.loading.foreign import open_file
from tiler.models.loading.libraries import find_network
from tiler.models.loading.loaded_model import LoadedModel, foreign
from tiler.models.loading.processing_steps import Steps

log = logging.getLogger(__name__)

CONFIG = Path("configs") / "inference.json"
STATE, SCRIPT = Path("models") / "model.pt", Path("models") / "model.ts"
NETS = "monai.networks.nets."


def is_monai(path: Path) -> bool:
    """Whether a folder is a MONAI bundle."""
    return (path / "configs").is_dir() and any((path / "configs").glob("inference.*"))


def open_monai(path: Path, weights: str | None, trust: bool) -> LoadedModel:
    """The network of a bundle, with the processing steps that tiler supports.

    Raises
    ------
    ModelError
        If the bundle is incomplete, describes its network by code, or a library is missing.
    """
    if weights is not None:
        raise ModelError(f"{path} carries its own weights: leave out `weights={weights}`")
    if not (path / CONFIG).is_file():
        raise ModelError(f"{path} is a bundle without {CONFIG}: tiler reads configurations in JSON", option="model")
    config = read_json(path / CONFIG)
    loaded = _network(config, path) if (path / STATE).is_file() else open_file(_script(path), trust)
    scaled = processing_of(config, path)
    identity = {**loaded.identity, "model": path.name, "before": [step.to_json() for step in scaled.steps]}
    return replace(loaded, identity=identity, normalisation=scaled.normalisation, measured=scaled.measured,
                   steps=Steps(before=scaled.steps), head=head_of(config), classes=_classes(path))


def _script(path: Path) -> Path:
    if not (path / SCRIPT).is_file():
        raise ModelError(f"{path} has neither {STATE} nor {SCRIPT}", option="model")
    return path / SCRIPT


def _network(config: Mapping[str, Any], path: Path) -> LoadedModel:
    described = need(config, "network_def", path / CONFIG)
    if not isinstance(described, Mapping):
        raise ModelError(f"{path / CONFIG} describes its network by code, {described!r}: export it as {SCRIPT}, which "
                         "runs with `trust=True`", option="model")
    described = {key: _plain(value, config, path) for key, value in described.items()}
    target = str(described.pop("_target_", "")).removeprefix(NETS)
    if not target.isidentifier():
        raise ModelError(f"{path / CONFIG} names the network {target!r}, which is not one of monai.networks.nets",
                         option="model")
    find_network("monai", target)
    arguments = {key: value for key, value in described.items() if not key.startswith("_")}
    recipe = FactoryRecipe("monai", target, (path / STATE).resolve(), tuple(arguments.items()))
    return foreign(recipe, path.name, recipe.weights, {"source": f"monai:{target}"})


def _plain(value: Any, config: Mapping[str, Any], path: Path) -> Any:
    """A value with its references resolved; an expression would be code."""
    if isinstance(value, str) and value.startswith("$"):
        raise ModelError(f"{path / CONFIG} holds the expression {value!r}, and tiler runs no code of a bundle: write "
                         "its value there", option="model")
    if isinstance(value, str) and value.startswith("@"):
        return _plain(_referred(value[1:], config, path), config, path)
    if isinstance(value, list):
        return [_plain(each, config, path) for each in value]
    if isinstance(value, Mapping):
        return {key: _plain(each, config, path) for key, each in value.items()}
    return value


def _referred(name: str, config: Mapping[str, Any], path: Path) -> Any:
    found: Any = config
    for part in name.replace("#", "::").split("::"):
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, Mapping) and part in found:
            found = found[part]
        else:
            raise ModelError(f"{path / CONFIG} refers to {name!r}, which it does not hold", option="model")
    return found


def _classes(path: Path) -> tuple[str, ...] | None:
    """Names of the output channels, if the metadata give them."""
    metadata = path / "configs" / "metadata.json"
    if not metadata.is_file():
        return None
    formats = read_json(metadata).get("network_data_format", {})
    outputs = list(_mappings(formats.get("outputs", {}))) if isinstance(formats, Mapping) else []
    channels = next((each["channel_def"] for each in outputs if isinstance(each.get("channel_def"), Mapping)), None)
    return None if not channels else tuple(str(channels[key]) for key in sorted(channels, key=int))


def _mappings(content: Any) -> Iterator[Mapping[str, Any]]:
    values = content.values() if isinstance(content, Mapping) else ()
    return (each for each in values if isinstance(each, Mapping))
