"""A network on its devices, opened once per process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch

from tiler.geometry import Box
from tiler.models.aten.staged import StagedPlan
from tiler.models.aten.staged_network import After, unchanged
from tiler.models.inference.backends import CroppingRunner, Setting, StagingRunner, open_backend
from tiler.models.inference.devices import device_errors, float32_products, memory_of, model_of, threads_of
from tiler.models.inference.feeders import Feeder, Feeders, ways_to
from tiler.ports import Array

PLANNED = 0.8
"""Share of a device's free memory that plans use; the rest is for cuDNN's workspaces, whose size shapes do not show."""

_lock = threading.RLock()
_latest: dict[str, Feeders] = {}  # one entry: predictors that arrive in a worker one after another share it


@dataclass(frozen=True, slots=True)
class Session:
    """One thread's access to a network while it holds a feeder.

    Parameters
    ----------
    feeder
        Feeder of the device.
    """

    feeder: Feeder

    def upload(self, data: Array) -> torch.Tensor:
        """Copy an array to the device, with the same dtype."""
        return self.feeder.upload(data)

    def download(self, values: torch.Tensor) -> Array:
        """Wait for a tensor and return it as an array."""
        return self.feeder.download(values)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, k, [z], y, x)``: the scores of ``(n, c, [z], y, x)``."""
        return self.feeder.runner(x)

    def cropped(self, x: torch.Tensor, crop: Box) -> torch.Tensor:
        """The scores in one box of the output, for networks and backends that can compute a box on its own."""
        return cast(CroppingRunner, self.feeder.runner).cropped(x, crop)

    def staged(self, x: torch.Tensor, plan: StagedPlan, crop: Box | None = None, after: After = unchanged
               ) -> torch.Tensor:
        """The scores of one input ``(1, c, [z], y, x)``, or a box of them, computed stage by stage."""
        return self.staging.staged(x, plan, crop, after)

    @property
    def staging(self) -> StagingRunner:
        """The network as one that runs in stages."""
        return cast(StagingRunner, self.feeder.runner)


class Network:
    """A model with its devices and backend. Cheap to create and to pickle; the first use builds the network.

    Parameters
    ----------
    setting
        The model to build, its device and its number format.
    backend
        Name of the backend that runs the network.
    devices
        All devices that it runs on, of one type; None means only that of the setting.
    """

    def __init__(self, setting: Setting, backend: str = "torch",
                 devices: Sequence[torch.device] | None = None) -> None:
        self.setting, self.backend = setting, backend
        self.devices = tuple(devices or (setting.device,))
        self._feeders: Feeders | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_feeders": None}

    @property
    def device(self) -> torch.device:
        """The device that represents all of them."""
        return self.setting.device

    @property
    def precision(self) -> torch.dtype:
        return self.setting.precision

    @property
    def exact_type(self) -> torch.dtype:
        """Dtype in which grey values are normalised and probabilities computed."""
        return torch.float64 if self.precision == torch.float64 else torch.float32

    @property
    def feeders(self) -> int:
        """Number of threads that can hold a session at once."""
        return len(ways_to(self.devices))

    @property
    def memory(self) -> int | None:
        """Bytes that each pass may use on its device; None if passes use the host's memory."""
        found = [memory_of(device) for device in self.devices]
        least = min((free for free in found if free is not None), default=None)
        return None if least is None else int(PLANNED * least) * len(self.devices) // self.feeders

    @property
    def one_by_one(self) -> bool:
        """Whether inputs run one by one, as on the CPU, where batches are no faster (U-Net of base 64, two threads,
        four tiles of 572: 6.32 s one by one, 6.98 s as a batch) and single inputs give the same bits for any batch."""
        return self.device.type == "cpu"

    @property
    def identity(self) -> Mapping[str, Any]:
        """JSON for the identity of a predictor: how the network is run, as far as it can change the result."""
        setting, device = self.setting, self.device
        cpu = device.type == "cpu"
        return {
            "backend": open_backend(self.backend).version(device),
            "device": device.type if cpu else f"{device.type} {model_of(device)}",
            "threads": setting.threads if cpu else None,
            "precision": "tf32" if setting.tf32 else str(setting.precision).removeprefix("torch."),
        }

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open a session on one of the devices, with all the settings that calls need.

        A thread holds one session at a time.
        """
        with (
            self._opened().one() as feeder,
            torch.inference_mode(),
            float32_products(self.setting.tf32),
            threads_of(self.setting.threads),
            device_errors(feeder.device, self.precision),
            feeder.session(),
        ):
            yield Session(feeder)

    def _opened(self) -> Feeders:
        if self._feeders is None:
            with _lock:
                self._feeders = self._feeders or self._shared()
        return self._feeders

    def _shared(self) -> Feeders:
        setting = self.setting
        parts = [dict(setting.model.identity), list(map(str, ways_to(self.devices))), str(setting.precision),
                 setting.tf32, setting.threads, self.backend]
        key = json.dumps(parts, sort_keys=True)
        if key not in _latest:
            _latest.clear()
            _latest[key] = Feeders(setting, self.backend, self.devices)
        return _latest[key]
