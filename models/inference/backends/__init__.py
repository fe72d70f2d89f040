"""Backends by name: what carries out the operations of a network.

Each is a module with three functions, imported when it is first chosen::

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
from tiler.models.loading.loaded_model import LoadedModel

Runner = Callable[[torch.Tensor], torch.Tensor]
"""Scores of ``(n, c, [z], y, x)`` on the device, in float32 or float64 as the setting's precision is."""


class CroppingRunner(Protocol):
    """A `Runner` that can make a part of its output alone."""

    def cropped(self, x: torch.Tensor, crop: Box) -> torch.Tensor: ...


class StagingRunner(Protocol):
    """A `Runner` that can run its network in stages."""

    def staged(self, x: torch.Tensor, crop: Box | None = None) -> torch.Tensor: ...


MODULES = {
    "torch": "tiler.models.inference.backends.eager",
    "compile": "tiler.models.inference.backends.compiled",
    "openvino": "tiler.models.inference.backends.openvino",
    "onnxruntime": "tiler.models.inference.backends.onnxruntime",
    "onnxruntime:tensorrt": "tiler.models.inference.backends.tensorrt",
}
NAMES = ("auto", *MODULES)
CPU_FIRST = ("openvino", "onnxruntime")
"""Run on the CPU where no device is named: the packages that most have run there alone."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A network, its device and its number format: all that a backend needs to open it.

    Parameters
    ----------
    model
        To build.
    device
        To run on.
    precision
        Number format of weights and activations.
    threads
        Processor threads of one call on the CPU.
    tf32
        Whether float32 is rounded to TF32 where it is multiplied.
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
        If there is none, or it is not installed.
    """
    if name not in MODULES:
        raise ModelError(f"{name!r} is no backend: it is one of {', '.join(NAMES)} (--backend)")
    try:
        backend = cast(Backend, import_module(MODULES[name]))
    except ModuleNotFoundError as error:
        raise ModelError(f"--backend {name} needs the package {error.name}: pip install "
                         f"'em-tiler[{name.partition(':')[0]}]'") from error
    return backend


def name_of(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")
