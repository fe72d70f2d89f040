"""Weights files: safetensors with a card in the metadata. Nothing here ever unpickles."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from tiler.errors import ModelError, WeightsError

FORMAT = 1
_COUNTER = "num_batches_tracked"  # bookkeeping of training; the result does not depend on it


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
        """Itself, where it fits an input of that many channels.

        Raises
        ------
        ModelError
            If it has neither one value nor one per channel.
        """
        if len(self.mean) not in (1, channels):
            raise ModelError(f"a normalisation has one mean and std, or one per channel ({channels}), got "
                             f"{len(self.mean)} (--normalise)")
        return self


@dataclass(frozen=True, slots=True)
class WeightsCard:
    """What a weights file says about itself.

    Parameters
    ----------
    architecture, arguments
        Registered name of the network, and what its factory is called with.
    classes
        Names of the output channels.
    normalisation
        Of the training images; None where the network takes raw grey values.
    training_data, licence
        Free text for people.
    provenance
        How they were made, for programs: fingerprint of the data, recipe, versions, scores and more; JSON. Empty
        where nothing is known.
    head
        ``"softmax"`` or ``"sigmoid"``: what makes probabilities of the network's output; None where it is not stated.
    """

    architecture: str
    arguments: Mapping[str, Any]
    classes: tuple[str, ...]
    normalisation: Normalisation | None
    training_data: str
    licence: str
    provenance: Mapping[str, Any] = field(default_factory=dict)
    head: str | None = None


def save_weights(
    path: Path, state: Mapping[str, torch.Tensor], card: WeightsCard, dtype: torch.dtype = torch.float32
) -> None:
    """Write a state dict as safetensors, with its card.

    Parameters
    ----------
    path
        Of the new file.
    state
        Parameters and buffers by name; batch counters of batch norm are left out.
    card
        Goes into the metadata.
    dtype
        How values are stored. They are read as float32 whatever it is; float16 halves the file.
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
    }
    tensors = {name: value.to(dtype).contiguous() for name, value in state.items() if not name.endswith(_COUNTER)}
    # Not save_file, whose files only their owner may read.
    path.write_bytes(save(tensors, {key: json.dumps(value) for key, value in metadata.items()}))


def read_card(path: Path) -> WeightsCard | None:
    """The card of a weights file; None for a safetensors file that another program wrote.

    Raises
    ------
    WeightsError
        If the file is missing, truncated, a pickle, or of a later format.
    """
    with _open(path) as file:
        stored = file.metadata() or {}
    if "tiler_format" not in stored:
        return None
    try:
        fields = {key: json.loads(value) for key, value in stored.items()}
        if fields["tiler_format"] != FORMAT:
            raise WeightsError(f"{path} has weights format {fields['tiler_format']}, this version of tiler reads "
                               f"{FORMAT}: update tiler (--weights)")
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
        )
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"the metadata of {path} are damaged ({error!r}): fetch the file again "
                           "(--weights)") from error


def load_into(module: torch.nn.Module, path: Path) -> None:
    """Give a network, which may be on the meta device, the values of a file in float32.

    Raises
    ------
    WeightsError
        See `check_fits`.
    """
    check_fits(path, module)
    with _open(path) as file:
        # Copied, because what the handle gives lives in the mapped file, which may be overwritten.
        state = {name: file.get_tensor(name).to(torch.float32, copy=True) for name in _names(file)}
    counters = [name for name in module.state_dict() if name.endswith(_COUNTER)]
    module.load_state_dict(state | dict.fromkeys(counters, torch.zeros((), dtype=torch.int64)), assign=True)


def check_fits(path: Path, module: torch.nn.Module) -> None:
    """Refuse weights that are not those of this network; reads shapes only.

    Raises
    ------
    WeightsError
        Naming what differs: the arguments where both sides state them, else the first missing, unknown or
        misshapen tensor.
    """
    with _open(path) as file:
        found = {name: tuple(file.get_slice(name).get_shape()) for name in _names(file)}
    state = module.state_dict()
    wanted = {name: tuple(value.shape) for name, value in state.items() if not name.endswith(_COUNTER)}
    if found == wanted:
        return
    card = read_card(path)
    arguments = getattr(module, "arguments", None)
    if card and isinstance(arguments, Mapping) and (difference := _differing(card.arguments, arguments)):
        raise WeightsError(f"{path} are weights of {card.architecture} {difference[0]}, the model asked for has "
                           f"{difference[1]} (--weights, --model)")
    raise WeightsError(f"{path} are not weights of the model asked for: {_mismatch(found, wanted)} "
                       "(--weights, --model)")


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


def _names(file: Any) -> list[str]:
    return [name for name in file.keys() if not name.endswith(_COUNTER)]  # noqa: SIM118 - a handle is no mapping


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


def _open(path: Path) -> Any:
    """A handle on a safetensors file, after a look at its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(9)
    except OSError as error:
        raise WeightsError(f"cannot read weights {path}: {error.strerror or error} (--weights)") from error
    if head[8:] != b"{" and (kind := _foreign_kind(head)):
        raise WeightsError(f"{path} is {kind}, which can run code when it is loaded: convert it to safetensors "
                           "where you trust it, tiler reads nothing else (--weights)")
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError, ValueError) as error:
        raise WeightsError(f"{path} is no whole safetensors file ({error}): it may be truncated, fetch it again "
                           "(--weights)") from error


def _foreign_kind(head: bytes) -> str | None:
    """What the first bytes say, where they are those of a file that holds pickles or programs."""
    if head.startswith(b"PK\x03\x04"):
        return "a torch archive (a zip of pickles)"
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        return "a pickle"
    if head.startswith(b"\x89HDF"):
        return "an HDF5 file"
    return None
