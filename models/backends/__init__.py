"""Backends by name: what carries out the operations of a network.

Each is a module with three functions, imported when it is first chosen::

    version()                  "openvino 2026.4.1", for the plan
    check(device, precision)   raises ModelError for what it cannot do
    open_runner(setting)       a `Runner`
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol

import torch

from tiler.errors import ModelError
from tiler.models.loaded import LoadedModel

Runner = Callable[[torch.Tensor], torch.Tensor]
"""Scores of ``(n, c, [z], y, x)`` on the device, in float32 or float64 as the setting's precision is."""

MODULES = {
    "torch": "tiler.models.backends.eager",
    "compile": "tiler.models.backends.compiled",
    "openvino": "tiler.models.backends.openvino",
    "onnxruntime": "tiler.models.backends.onnxruntime",
}
NAMES = ("auto", *MODULES)
CPU_ONLY = ("openvino", "onnxruntime")


@dataclass(frozen=True, slots=True)
class Setting:
    """What a backend is opened for.

    Parameters
    ----------
    model
        To build.
    device
        To run on.
    precision
        Of weights and activations.
    threads
        Of one call on the CPU.
    """

    model: LoadedModel
    device: torch.device
    precision: torch.dtype
    threads: int


class Backend(Protocol):
    """What the modules offer."""

    @staticmethod
    def version() -> str: ...
    @staticmethod
    def check(device: torch.device, precision: torch.dtype) -> None: ...
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
        backend: Backend = import_module(MODULES[name])
    except ModuleNotFoundError as error:
        raise ModelError(f"--backend {name} needs the package {error.name}: pip install 'em-tiler[{name}]'") from error
    return backend


def name_of(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")
