"""Weights and their description: a card in the metadata of a safetensors file."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from tiler.errors import ModelError, WeightsError
from tiler.models.loading.weight_files import COUNTER, common_prefix, open_weights
from tiler.ports import UNSTATED, TrainedOn

log = logging.getLogger(__name__)

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How grey values were scaled in training: ``(value / scale - mean) / std``, one mean and std per channel."""

    scale: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.mean) != len(self.std) or not self.mean or min(self.std) <= 0 or self.scale <= 0:
            raise WeightsError(f"a normalisation needs a mean and a positive std per channel, got {self}")

    def checked(self, channels: int) -> Normalisation:
        """Return this normalisation if it fits an input with that number of channels.

        Raises
        ------
        ModelError
            If it has neither one value nor one value per channel.
        """
        if len(self.mean) not in (1, channels):
            raise ModelError(f"a normalisation has one mean and std, or one per channel ({channels}), got "
                             f"{len(self.mean)}", option="normalise")
        return self


@dataclass(frozen=True, slots=True)
class WeightsCard:
    """Description of weights, stored in their file.

    Parameters
    ----------
    architecture, arguments
        Registered name of the network, and the arguments of its factory.
    classes
        Names of the output channels.
    normalisation
        Scaling of the training images; None if the network takes raw grey values.
    training_data, licence
        Free text for readers.
    provenance
        How the weights were made, as JSON for programs: fingerprint of the data, recipe, versions, scores and more.
        Empty if unknown.
    head
        ``"softmax"`` or ``"sigmoid"``, which turns the network's output into probabilities; None if not stated.
    trained_on
        Size of the voxels, contrast and best threshold, as far as they are stated.
    """

    architecture: str
    arguments: Mapping[str, Any]
    classes: tuple[str, ...]
    normalisation: Normalisation | None
    training_data: str
    licence: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    head: str | None = None
    trained_on: TrainedOn = UNSTATED


def save_weights(
    path: Path, state: Mapping[str, torch.Tensor], card: WeightsCard, dtype: torch.dtype = torch.float32
) -> None:
    """Write a state dict as safetensors, with its card.

    Parameters
    ----------
    path
        Path of the new file.
    state
        Parameters and buffers by name; batch counters of batch norm are left out.
    card
        Description to store in the metadata.
    dtype
        Dtype of stored values, which are always read as float32; float16 halves the file.
    """
    scaling = card.normalisation
    metadata = {
        "tiler_format": FORMAT,
        "architecture": card.architecture,
        "arguments": dict(card.arguments),
        "classes": list(card.classes),
        "normalisation": scaling and {"scale": scaling.scale, "mean": scaling.mean, "std": scaling.std},
        "training_data": card.training_data,
        "licence": card.licence,
        "provenance": dict(card.provenance),
        **({} if card.head is None else {"head": card.head}),
        **card.trained_on.to_json(),
    }
    tensors = {name: value.to(dtype).contiguous() for name, value in state.items() if not name.endswith(COUNTER)}
    # Not save_file, because only the owner may read its files.
    path.write_bytes(save(tensors, {key: json.dumps(value) for key, value in metadata.items()}))


def read_card(path: Path) -> WeightsCard | None:
    """The card of a weights file; None for a safetensors file that another program wrote.

    Raises
    ------
    WeightsError
        If the file is missing, truncated, a pickle, or of a later format.
    """
    with open_weights(path) as file:
        stored = file.metadata
    if "tiler_format" not in stored:
        return None
    try:
        fields = {key: json.loads(value) for key, value in stored.items()}
        if fields["tiler_format"] != FORMAT:
            raise WeightsError(f"{path} has weights format {fields['tiler_format']}, this version of tiler reads "
                               f"{FORMAT}: update tiler", option="weights")
        scaling = fields["normalisation"]
        return WeightsCard(
            architecture=fields["architecture"],
            arguments=fields["arguments"],
            classes=tuple(fields["classes"]),
            normalisation=scaling
            and Normalisation(scaling["scale"], tuple(scaling["mean"]), tuple(scaling["std"])),
            training_data=fields["training_data"],
            licence=fields["licence"],
            provenance=fields.get("provenance", {}),
            head=fields.get("head"),
            trained_on=TrainedOn.from_json(fields),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"the metadata of {path} are damaged ({error!r}): fetch the file again",
                           option="weights") from error


def load_into(module: torch.nn.Module, path: Path) -> None:
    """Load the values of a file in float32 into a network, which may be on the meta device.

    Raises
    ------
    WeightsError
        See `check_fits`.
    """
    prefix = check_fits(path, module)
    wanted = [name for name in module.state_dict() if not name.endswith(COUNTER)]
    with open_weights(path) as file:
        # Copied, because the handle's tensors live in the mapped file, which may be overwritten.
        state = {name: file.tensor(prefix + name).to(torch.float32, copy=True) for name in wanted}
    counters = [name for name in module.state_dict() if name.endswith(COUNTER)]
    module.load_state_dict(state | dict.fromkeys(counters, torch.zeros((), dtype=torch.int64)), assign=True)


def check_fits(path: Path, module: torch.nn.Module) -> str:
    """Refuse weights that do not belong to this network; reads only shapes.

    Returns
    -------
    prefix
        Prefix of the names of the network's tensors in the file, usually ""; a warning reports any other.

    Raises
    ------
    WeightsError
        If they differ. The message names the arguments if both sides state them, else the first tensor that is
        missing, unknown or of another shape.
    """
    with open_weights(path) as file:
        found = dict(file.shapes)
    state = module.state_dict()
    wanted = {name: tuple(value.shape) for name, value in state.items() if not name.endswith(COUNTER)}
    if prefix := common_prefix(found, wanted):
        rest = [name for name in found if not name.startswith(prefix)]
        log.warning("%s names the tensors of the network %s...: that was taken off%s", path, prefix,
                    f", and {len(rest)} other tensors were left out" if rest else "")
        found = {name.removeprefix(prefix): shape for name, shape in found.items() if name.startswith(prefix)}
    if found == wanted:
        return prefix
    card = read_card(path)
    arguments = getattr(module, "arguments", None)
    if card and isinstance(arguments, Mapping) and (difference := _differing(card.arguments, arguments)):
        raise WeightsError(f"{path} are weights of {card.architecture} {difference[0]}, the model asked for has "
                           f"{difference[1]}", option="weights")
    raise WeightsError(f"{path} are not weights of the model asked for: {_mismatch(found, wanted)}",
                       option="weights")


def file_hash(path: Path) -> str:
    """SHA-256 of a file: the identity of weights, and of a user's source file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def state_hash(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 of names, shapes, types and values: the identity of a network without a weights file."""
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _differing(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[str, str] | None:
    """The arguments in which two networks differ, as text for either."""
    keys = [key for key in wanted if key in found and found[key] != wanted[key]]
    if not keys:
        return None
    return tuple(", ".join(f"{key}={side[key]}" for key in keys) for side in (found, wanted))  # type: ignore[return-value]


def _mismatch(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> str:
    missing = [name for name in wanted if name not in found]
    unknown = [name for name in found if name not in wanted]
    if missing:
        return f"{len(missing)} of {len(wanted)} tensors are missing, the first is {missing[0]}"
    if unknown:
        return f"{len(unknown)} tensors are unknown to it, the first is {unknown[0]}"
    name = next(name for name in wanted if found[name] != wanted[name])
    return f"{name} has shape {found[name]}, it needs {wanted[name]}"
