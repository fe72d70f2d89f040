"""How threads get at devices: through feeders, of which a thread takes one for as long as a batch takes.

A GPU has two of them, each with a stream of its own, so that the host's copies of one go on while the other computes::

    feeder 0 of cuda:0    pin | upload  compute  download | crop, stack | pin | upload  compute ...
    feeder 1 of cuda:0              pin | upload . . . . .  compute  download | crop, stack | pin ...

Which feeder a batch goes through changes no bit of its result.
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
"""Feeders by type of device. Others have one: nothing is copied to a CPU, which computes with all its threads."""

_opening = threading.Lock()
"""Held while a network is built: that may import the user's code, which no two threads should do at once."""


class Feeder:
    """A way to a device, used by one thread at a time.

    It has a copy of the network of its own, since what a module does may leave something behind in it.

    Parameters
    ----------
    setting
        Network, device and number format.
    backend
        Name of what carries it out.
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
        """Around everything that is done through it."""
        yield

    def upload(self, data: Array) -> torch.Tensor:
        """The same array, in its own type, on the device."""
        return torch.from_numpy(data).to(self.device)

    def download(self, values: torch.Tensor) -> Array:
        """The same tensor as an array, when it has been computed."""
        return values.cpu().numpy()


class StreamFeeder(Feeder):
    """A way to a GPU that waits for no other: by a stream of its own, and by memory that the GPU copies itself."""

    @cached_property
    def _stream(self) -> cuda.Stream:
        return cuda.Stream(self.device)

    @contextmanager
    def session(self) -> Iterator[None]:
        # The network is built in here too, so that its weights are there before this stream uses them.
        with cuda.stream(self._stream):
            yield

    def upload(self, data: Array) -> torch.Tensor:
        values = torch.from_numpy(data)
        # Torch hands pinned memory out again only when the streams that copy from it have done so.
        return pinned_like(values).copy_(values).to(self.device, non_blocking=True)

    def download(self, values: torch.Tensor) -> Array:
        host = pinned_like(values)
        host.copy_(values, non_blocking=True)
        copied = cuda.Event(blocking=True)  # sleeps, where others would keep a processor core busy
        copied.record(self._stream)
        copied.synchronize()
        return host.numpy()


def pinned_like(values: torch.Tensor) -> torch.Tensor:
    """An empty tensor of that form in memory that a GPU reads and writes by itself.

    Torch keeps such memory when it is given back, so that each size is made once.
    """
    return torch.empty_like(values, device="cpu", pin_memory=True)


class Feeders:
    """All ways to some devices. A thread gets the first that is free, or waits for one.

    Parameters
    ----------
    setting
        Network and number format; its device is replaced.
    backend
        Name of what carries it out.
    devices
        To share the batches.
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
    """The device of each feeder: first one for every device, then the others."""
    most = max(OF_A_DEVICE.get(device.type, 1) for device in devices)
    return [device for turn in range(most) for device in devices if turn < OF_A_DEVICE.get(device.type, 1)]
