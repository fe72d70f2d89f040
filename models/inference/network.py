"""A network on its devices, opened once per process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from tiler.geometry import Box
from tiler.models.inference.backends import Setting
from tiler.models.inference.devices import device_errors, float32_products, threads_of
from tiler.models.inference.feeders import Feeder, Feeders, ways_to
from tiler.models.predictor.heads import Head, probabilities
from tiler.models.probe.inject import Answers, Injected, Site, reduced
from tiler.ports import Array, Partial

_lock = threading.RLock()
_latest: dict[str, Feeders] = {}  # one entry: predictors that arrive in a worker one after another share it


@dataclass(frozen=True, slots=True)
class Session:
    """What one thread does with a network while it has a feeder.

    Parameters
    ----------
    feeder
        The way to the device.
    head
        Applied to the scores in float32, or float64.
    """

    feeder: Feeder
    head: Head

    def upload(self, data: Array) -> torch.Tensor:
        """The same array, in its own type, on the device."""
        return self.feeder.upload(data)

    def download(self, values: torch.Tensor) -> Array:
        """The same tensor as an array, when it has been computed."""
        return self.feeder.download(values)

    def __call__(self, x: torch.Tensor, answers: Answers | None = None) -> torch.Tensor:
        """``(n, k, [z], y, x)`` in float32 or float64: what the head makes of the scores of ``(n, c, [z], y, x)``.

        Global layers are told the answers, where there are any.
        """
        runner = self.feeder.runner  # opened outside, so that nothing is counted but the pass
        if not answers:
            return probabilities(runner(x), self.head)
        with Injected(answers) as mode:
            scores = runner(x)
        mode.check()
        return probabilities(scores, self.head)

    def cropped(self, x: torch.Tensor, crop: Box) -> torch.Tensor:
        """The same in one box of the output, for a network and backend that can make it alone."""
        return probabilities(self.feeder.runner.cropped(x, crop), self.head)

    def reduce(self, x: torch.Tensor, sites: Sequence[Site], part: Box, answers: Answers) -> Partial:
        """What global layers see of a part of ``(1, c, [z], y, x)``, in voxels on its own axes."""
        runner = self.feeder.runner
        return reduced(lambda: runner(x), sites, part, x.shape[2:], answers)


class Network:
    """A model, where it runs and how. Cheap to make and to pickle; it is built when it is first used.

    Parameters
    ----------
    setting
        What to build, and where it runs.
    head
        Applied to the scores in float32, or float64.
    backend
        Name of what carries it out.
    watched
        Whether its operators are looked at one by one, for the sake of global layers.
    devices
        All that it runs on, of one kind; None for that of the setting alone.
    """

    def __init__(self, setting: Setting, head: Head, backend: str = "torch", watched: bool = False,
                 devices: Sequence[torch.device] | None = None) -> None:
        self.setting, self.head, self.backend, self.watched = setting, head, backend, watched
        self.devices = tuple(devices or (setting.device,))
        self._feeders: Feeders | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_feeders": None}

    @property
    def device(self) -> torch.device:
        """That stands for all of them."""
        return self.setting.device

    @property
    def precision(self) -> torch.dtype:
        return self.setting.precision

    @property
    def exact_type(self) -> torch.dtype:
        """In which grey values are normalised and probabilities are made."""
        return torch.float64 if self.precision == torch.float64 else torch.float32

    @property
    def feeders(self) -> int:
        """How many threads may have a session at once."""
        return len(ways_to(self.devices))

    @contextmanager
    def session(self) -> Iterator[Session]:
        """The network on one of its devices, with everything that has to hold around calls.

        A thread has one at a time.
        """
        with (
            self._opened().one() as feeder,
            # In inference mode composite operators hide those that they consist of, and so do fused ones.
            torch.no_grad() if self.watched else torch.inference_mode(),
            torch.jit.optimized_execution(not self.watched),
            float32_products(self.setting.tf32),
            threads_of(self.setting.threads),
            device_errors(feeder.device, self.precision),
            feeder.session(),
        ):
            yield Session(feeder, self.head)

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
