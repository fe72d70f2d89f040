"""Backends by name; a backend runs the operations of a network.

Each backend is a module with three functions, imported when it is first chosen::

    version(device)                 "openvino 2026.4.1", for the plan
    check(device, precision, tf32)  raises ModelError for what it cannot do
    open_runner(setting)            a `Runner`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

import torch

from tiler.errors import ModelError
from tiler.geometry import Box
from tiler.models.aten.staged import StagedPlan
from tiler.models.aten.staged_network import After, StagedNetwork, unchanged
from tiler.models.loading.loaded_model import LoadedModel

Runner = Callable[[torch.Tensor], torch.Tensor]
"""From ``(n, c, [z], y, x)`` to its scores on the device, float32 or float64 depending on the setting's precision."""


class CroppingRunner(Protocol):
    """A `Runner` that can compute a part of its output on its own."""

    def cropped(self, x: torch.Tensor, crop: Box) -> torch.Tensor: ...


class StagingRunner(Protocol):
    """A `Runner` that can run its network in stages."""

    def staged(self, x: torch.Tensor, plan: StagedPlan, crop: Box | None, after: After = unchanged) -> torch.Tensor: ...
    def staged_input(self, x: torch.Tensor) -> torch.Tensor: ...
    def stages(self, plan: StagedPlan) -> StagedNetwork: ...


MODULES = {
    "torch": "tiler.models.inference.backends.eager",
    "compile": "tiler.models.inference.backends.compiled",
    "openvino": "tiler.models.inference.backends.openvino",
    "onnxruntime": "tiler.models.inference.backends.onnxruntime",
    "onnxruntime:tensorrt": "tiler.models.inference.backends.tensorrt",
}
NAMES = ("auto", *MODULES)
CPU_FIRST = ("openvino", "onnxruntime")
"""Backends that run on the CPU if no device is named, because their usual packages support only that."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A network, its device and its number format, from which a backend opens the network.

    Parameters
    ----------
    model
        The model to build.
    device
        The device to run on.
    precision
        Number format of weights and activations.
    threads
        Number of threads of one call on the CPU.
    tf32
        Whether products of float32 are computed in TF32.
    """

    model: LoadedModel
    device: torch.device
    precision: torch.dtype
    threads: int
    tf32: bool = False


class Backend(Protocol):
    """Functions that each module of a backend has."""

    @staticmethod
    def version(device: torch.device) -> str: ...
    @staticmethod
    def check(device: torch.device, precision: torch.dtype, tf32: bool) -> None: ...
    @staticmethod
    def open_runner(setting: Setting) -> Runner: ...


def open_backend(name: str) -> Backend:
    """The backend of that name.

    Raises
    ------
    ModelError
        If the backend is unknown or not installed.
    """
    if name not in MODULES:
        raise ModelError(f"{name!r} is no backend: it is one of {', '.join(NAMES)}", option="backend")
    try:
        backend = cast(Backend, import_module(MODULES[name]))
    except ModuleNotFoundError as error:
        raise ModelError(f"`backend={name}` needs the package {error.name}: pip install "
                         f"'em-tiler[{name.partition(':')[0]}]'") from error
    return backend


def name_of(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")
