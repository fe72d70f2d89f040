"""Feeders give threads access to devices: a thread holds one feeder for the duration of a batch.

A GPU has two feeders, each with its own stream, so that one copies on the host while the other computes::

    feeder 0 of cuda:0    pin | upload  compute  download | crop, stack | pin | upload  compute ...
    feeder 1 of cuda:0              pin | upload . . . . .  compute  download | crop, stack | pin ...

The choice of feeder does not change any bit of the result.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from queue import PriorityQueue

import torch
from torch import cuda

from tiler.models.inference.backends import Runner, Setting, open_backend
from tiler.ports import Array

OF_A_DEVICE = {"cuda": 2}
"""Feeders per device, by type. Others have one: a CPU needs no copies and computes with all its threads."""

_opening = threading.Lock()
"""Held while a network is built, because building may import the user's code, which two threads must not do at once."""


class Feeder:
    """Access to a device for one thread at a time.

    Each feeder has its own copy of the network, because a forward pass may change a module's state.

    Parameters
    ----------
    setting
        Network, device and number format.
    backend
        Name of the backend that runs the network.
    """

    def __init__(self, setting: Setting, backend: str) -> None:
        self._setting, self.backend = setting, backend

    @property
    def device(self) -> torch.device:
        return self._setting.device

    @cached_property
    def runner(self) -> Runner:
        with _opening:
            return open_backend(self.backend).open_runner(self._setting)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Context that surrounds all work of this feeder."""
        yield

    def upload(self, data: Array) -> torch.Tensor:
        """Copy an array to the device, with the same dtype."""
        return torch.from_numpy(data).to(self.device)

    def download(self, values: torch.Tensor) -> Array:
        """Wait for a tensor and return it as an array."""
        return values.cpu().numpy()


class StreamFeeder(Feeder):
    """A feeder of a GPU that waits for no other feeder: it has its own stream and copies through pinned memory."""

    @cached_property
    def _stream(self) -> cuda.Stream:
        return cuda.Stream(self.device)

    @contextmanager
    def session(self) -> Iterator[None]:
        # The network is built on this stream too, so that its weights are there before the stream uses them.
        with cuda.stream(self._stream):
            yield

    def upload(self, data: Array) -> torch.Tensor:
        values = torch.from_numpy(data)
        # Torch reuses pinned memory only after the streams that copy from it have finished.
        return pinned_like(values).copy_(values).to(self.device, non_blocking=True)

    def download(self, values: torch.Tensor) -> Array:
        host = pinned_like(values)
        host.copy_(values, non_blocking=True)
        copied = cuda.Event(blocking=True)  # sleeps instead of keeping a CPU core busy
        copied.record(self._stream)
        copied.synchronize()
        return host.numpy()


def pinned_like(values: torch.Tensor) -> torch.Tensor:
    """An empty tensor of that shape and dtype in pinned memory, which a GPU reads and writes directly.

    Torch keeps pinned memory for reuse, so that each size is allocated once.
    """
    return torch.empty_like(values, device="cpu", pin_memory=True)


class Feeders:
    """All feeders of some devices. A thread gets the first free one, or waits for one.

    Parameters
    ----------
    setting
        Network and number format; its device is replaced.
    backend
        Name of the backend that runs the network.
    devices
        Devices that share the batches.
    """

    def __init__(self, setting: Setting, backend: str, devices: Sequence[torch.device]) -> None:
        self._free: PriorityQueue[tuple[int, Feeder]] = PriorityQueue()
        for number, device in enumerate(ways_to(devices)):
            kind = StreamFeeder if device.type == "cuda" else Feeder
            self._free.put((number, kind(replace(setting, device=device), backend)))

    @contextmanager
    def one(self) -> Iterator[Feeder]:
        number, feeder = self._free.get()
        try:
            yield feeder
        finally:
            self._free.put((number, feeder))


def ways_to(devices: Sequence[torch.device]) -> list[torch.device]:
    """The device of each feeder: one feeder for every device first, then the remaining ones."""
    most = max(OF_A_DEVICE.get(device.type, 1) for device in devices)
    return [device for turn in range(most) for device in devices if turn < OF_A_DEVICE.get(device.type, 1)]
