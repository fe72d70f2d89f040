"""Results folders of nnU-Net v2: ``dataset.json``, ``plans.json``, ``fold_N/checkpoint_final.pth``."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from tiler.errors import ModelError
from tiler.models.loading.code_hash import architecture_hash
from tiler.models.loading.folders.nnunet_network import build_architecture
from tiler.models.loading.folders.nnunet_scaling import Scaled, scaling_of
from tiler.models.loading.folders.reading import MeanOfScores, need, read_json
from tiler.models.loading.loaded_model import LoadedModel, input_of
from tiler.models.loading.processing_steps import Steps
from tiler.models.loading.weights import file_hash, load_into

log = logging.getLogger(__name__)

PLANS, DATASET = "plans.json", "dataset.json"
CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")


@dataclass(frozen=True, slots=True)
class NnunetRecipe:
    """A network of nnU-Net, or the mean over the networks of several folds.

    Parameters
    ----------
    architecture
        JSON from which it is built; see `tiler.models.loading.folders.nnunet_network`.
    channels, classes
        Channels of its input, and classes of its output.
    checkpoints
        Files with its values, one per fold, and their hashes.
    """

    architecture: str
    channels: int
    classes: int
    checkpoints: tuple[tuple[Path, str], ...]

    def build(self) -> nn.Module:
        members = []
        for path, sha256 in self.checkpoints:
            if file_hash(path) != sha256:
                raise ModelError(f"{path} was changed while it was in use: start again", option="model")
            network = self._network()
            load_into(network, path)
            members.append(network)
        return members[0] if len(members) == 1 else MeanOfScores(members)

    def meta(self) -> nn.Module:
        members = [self._network().to("meta") for _ in self.checkpoints]
        return members[0] if len(members) == 1 else MeanOfScores(members)

    def _network(self) -> nn.Module:
        return build_architecture(json.loads(self.architecture), self.channels, self.classes)


def is_nnunet(path: Path) -> bool:
    """Whether a folder holds results of nnU-Net."""
    return (path / PLANS).is_file() and (path / DATASET).is_file()


def open_nnunet(path: Path, weights: str | None, trust: bool) -> LoadedModel:
    """The network of such a folder, with its normalisation, classes and head.

    Parameters
    ----------
    path
        The folder, such as ``nnUNetTrainer__nnUNetPlans__3d_fullres``.
    weights
        Folds to use: ``fold_0``, or several separated by commas; None means the mean of all, as in nnU-Net.
    trust
        Unused, because no code of the folder runs.

    Raises
    ------
    ModelError
        If the folder is incomplete, requests something that tiler does not do, or a library is missing.
    """
    plans, dataset = read_json(path / PLANS), read_json(path / DATASET)
    name = path.resolve().name.rpartition("__")[2]
    configuration = _configuration(need(plans, "configurations", path / PLANS), name, path)
    _check(plans, configuration, path)
    channels = len(dataset.get("channel_names") or need(dataset, "modality", path / DATASET))
    classes, head = _classes(need(dataset, "labels", path / DATASET))
    folds = _folds(path, weights)
    recipe = NnunetRecipe(json.dumps(configuration), channels, len(classes), folds)
    scaled: Scaled = scaling_of(configuration, plans, channels, str(path))
    _say(path, configuration, folds)
    module = recipe.meta()
    identity = {"model": path.name, "architecture": architecture_hash(module), "checkpoints": [sha for _, sha in folds],
                "before": [step.to_json() for step in scaled.steps]}
    return LoadedModel(recipe, channels, input_of(module, path.name)[1], classes, scaled.normalisation, identity,
                       steps=Steps(before=scaled.steps), measured=scaled.measured, head=head)


def _configuration(known: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    """A configuration, with its inherited values."""
    if name not in known and len(known) == 1:
        name = next(iter(known))
    if name not in known:
        raise ModelError(f"{path} is not the folder of a configuration: the name of one ends in __ and "
                         f"{', '.join(known)}", option="model")
    own = dict(known[name])
    parent = own.pop("inherits_from", None)
    return own if parent is None else {**_configuration(known, parent, path), **own}


def _check(plans: Mapping[str, Any], configuration: Mapping[str, Any], path: Path) -> None:
    order = list(plans.get("transpose_forward", [0, 1, 2]))
    if order != sorted(order):
        raise ModelError(f"{path} was trained with axes in the order {order}: transpose the images so that they are in "
                         "the order of the network, which tiler does not do", option="model")
    if configuration.get("previous_stage"):
        raise ModelError(f"{path} is the second network of a cascade, which is given the result of the first: tiler "
                         "runs one network", option="model")


def _classes(labels: Mapping[str, Any]) -> tuple[tuple[str, ...], Any]:
    """Names of the output channels, and the head: sigmoids if classes are overlapping regions."""
    known = {name: value for name, value in labels.items() if name != "ignore"}
    if any(isinstance(value, (list, tuple)) and len(value) > 1 for value in known.values()):
        return tuple(name for name, value in known.items() if value not in (0, [0])), "sigmoid"
    order = sorted(known, key=lambda name: int(known[name][0] if isinstance(known[name], list) else known[name]))
    return tuple(order), "softmax"


def _folds(path: Path, weights: str | None) -> tuple[tuple[Path, str], ...]:
    """Checkpoints of the folds to use."""
    found = {each.name: file for each in sorted(path.glob("fold_*")) for name in reversed(CHECKPOINTS)
             if (file := each / name).is_file()}
    if not found:
        raise ModelError(f"{path} has no fold_N/{CHECKPOINTS[0]}", option="model")
    numbered = [name for name in found if name != "fold_all"] or list(found)
    wanted = numbered if weights is None else [name.strip() for name in weights.split(",")]
    for name in wanted:
        if name not in found:
            raise ModelError(f"{path} has no {name}: it has {', '.join(found)}", option="weights")
    return tuple((found[name].resolve(), file_hash(found[name])) for name in wanted)


def _say(path: Path, configuration: Mapping[str, Any], folds: tuple[tuple[Path, str], ...]) -> None:
    """Warn of the processing steps of nnU-Net that tiler does not do."""
    notes = []
    if configuration.get("spacing"):
        spacing = " x ".join(f"{float(value):g}" for value in configuration["spacing"])
        notes.append(f"images are not resampled to its spacing of {spacing}")
    if any(configuration.get("use_mask_for_norm") or ()):
        notes.append("statistics are those of all voxels, not of those inside its mask")
    if any(file.name != CHECKPOINTS[0] for file, _ in folds):
        notes.append(f"{CHECKPOINTS[1]} is used where a fold has no {CHECKPOINTS[0]}")
    if notes:
        log.warning("%s: %s", path, "; ".join(notes))
