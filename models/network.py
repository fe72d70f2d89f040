"""A network on its device, opened once per process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.models.devices import device_errors, ieee_float32, threads_of
from tiler.models.heads import Head, probabilities
from tiler.models.loading import LoadedModel

_lock = threading.RLock()
_latest: dict[str, nn.Module] = {}  # one entry: predictors that arrive in a worker one after another share it


class Network:
    """A model, where it runs and how. Cheap to make and to pickle; the module is built when it is first used.

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
    head
        Applied to the scores in float32, or float64.
    """

    def __init__(
        self, model: LoadedModel, device: torch.device, precision: torch.dtype, threads: int, head: Head
    ) -> None:
        self.model, self.device, self.precision, self.threads, self.head = model, device, precision, threads, head
        self._module: nn.Module | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_module": None}

    @property
    def exact_type(self) -> torch.dtype:
        """In which grey values are normalised and probabilities are made."""
        return torch.float64 if self.precision == torch.float64 else torch.float32

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, k, [z], y, x)`` in `exact_type`: what the head makes of the scores of ``(n, c, [z], y, x)``."""
        x = x.to(self.precision)
        if x.ndim == 4:
            x = x.contiguous(memory_format=torch.channels_last)
        scores = self.module(x)
        if not isinstance(scores, torch.Tensor):
            raise ModelError(f"the network returns a {type(scores).__name__}, one tensor is needed: wrap it in a "
                             "module that returns the scores (--model)")
        return probabilities(scores, self.head)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Everything that has to hold around calls."""
        with (
            torch.inference_mode(),
            ieee_float32(),
            threads_of(self.threads),
            device_errors(self.device, self.precision),
        ):
            yield

    @property
    def module(self) -> nn.Module:
        if self._module is None:
            with _lock:
                self._module = self._module or self._shared()
        return self._module

    def _shared(self) -> nn.Module:
        key = json.dumps([dict(self.model.identity), str(self.device), str(self.precision)], sort_keys=True)
        if key not in _latest:
            _latest.clear()
            _latest[key] = self._open()
        return _latest[key]

    def _open(self) -> nn.Module:
        module = self.model.build().to(self.device, self.precision)
        # Script modules keep their layout: torch rewrites their parameters only one by one.
        if self.model.ndim == 2 and not isinstance(module, torch.jit.ScriptModule):
            module = module.to(memory_format=torch.channels_last)
        return module
