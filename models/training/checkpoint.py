"""Checkpoints: everything that a run needs to continue as if it had never stopped, in one file.

A checkpoint is a safetensors file with tensors and JSON, so that reading it runs no code. Only a complete new
checkpoint replaces it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from tiler.errors import JournalError, SinkError
from tiler.stores.durable import replacing

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """The state of a run between two steps.

    Parameters
    ----------
    step
        Number of completed steps.
    tensors
        Tensors by name; see `pack`.
    settings
        Settings of the run, JSON.
    record
        Learning curves and scores so far, JSON.
    """

    step: int
    tensors: Mapping[str, torch.Tensor]
    settings: Mapping[str, Any]
    record: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Replace the checkpoint at ``path`` once the new one is on the disk.

        Raises
        ------
        SinkError
            If the file cannot be written. The previous checkpoint remains.
        """
        about = {"format": FORMAT, "step": self.step, "settings": self.settings, "record": self.record}
        metadata = {"tiler_training": json.dumps(about)}
        # Not save_file, because only the owner may read its files.
        write_whole(path, lambda new: new.write_bytes(save(dict(self.tensors), metadata)), "checkpoint")

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint.

        Raises
        ------
        JournalError
            If the file is damaged or of another format.
        """
        try:
            with safe_open(path, "pt") as file:
                about = json.loads((file.metadata() or {})["tiler_training"])
                # Copied, because the next checkpoint replaces the mapped file.
                tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise JournalError(f"{path} is not a complete checkpoint ({error}): start again",
                               option="overwrite") from error
        if about["format"] != FORMAT:
            raise JournalError(f"{path} has checkpoint format {about['format']}, this version of tiler reads "
                               f"{FORMAT}: start again (`overwrite=True`), or resume with the version that wrote it")
        return cls(about["step"], tensors, about["settings"], about["record"])


def write_whole(path: Path, write: Callable[[Path], object], what: str) -> None:
    """Let ``write`` make a file under a temporary name, and rename it once it is on the disk.

    Raises
    ------
    SinkError
        If it cannot be written. The previous file of that name remains.
    """
    try:
        with replacing(path) as new:
            write(new)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SinkError(f"cannot write {what} {path}: {reason}; the last one remains valid, free some space and "
                        "use `resume=True`") from error


def pack(module: nn.Module, optimiser: torch.optim.Optimizer, average: Mapping[str, torch.Tensor]) -> dict[
        str, torch.Tensor]:
    """Network, moving average and optimiser as tensors with names, on the CPU."""
    tensors = {f"network/{name}": value for name, value in module.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.items()}
    for index, state in optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser/{index}/{name}": torch.as_tensor(value) for name, value in state.items()
                    if value is not None}
    return {name: value.detach().cpu().clone().contiguous() for name, value in tensors.items()}


def unpack(tensors: Mapping[str, torch.Tensor], module: nn.Module, optimiser: torch.optim.Optimizer,
           average: Mapping[str, torch.Tensor]) -> None:
    """Restore network, moving average and optimiser from the tensors of `pack`."""
    module.load_state_dict(_under(tensors, "network/"))
    for name, value in _under(tensors, "average/").items():
        average[name].copy_(value)
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in _under(tensors, "optimiser/").items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], value)
    optimiser.load_state_dict({**optimiser.state_dict(), "state": state})


def _laid_out_as(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The same values in the memory layout of the parameter, because fused optimisers walk through memory."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, device=value.device, dtype=value.dtype).copy_(value)


def _under(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
