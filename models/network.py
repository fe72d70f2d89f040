"""A network on its device, opened once per process."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from tiler.geometry import Box
from tiler.models.backends import Runner, Setting, open_backend
from tiler.models.devices import device_errors, ieee_float32, threads_of
from tiler.models.heads import Head, probabilities
from tiler.models.probe.inject import Answers, Injected, Site, reduced
from tiler.ports import Partial

_lock = threading.RLock()
_latest: dict[str, Runner] = {}  # one entry: predictors that arrive in a worker one after another share it


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
    """

    def __init__(self, setting: Setting, head: Head, backend: str = "torch", watched: bool = False) -> None:
        self.setting, self.head, self.backend, self.watched = setting, head, backend, watched
        self._runner: Runner | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_runner": None}

    @property
    def device(self) -> torch.device:
        return self.setting.device

    @property
    def precision(self) -> torch.dtype:
        return self.setting.precision

    @property
    def exact_type(self) -> torch.dtype:
        """In which grey values are normalised and probabilities are made."""
        return torch.float64 if self.precision == torch.float64 else torch.float32

    def __call__(self, x: torch.Tensor, answers: Answers | None = None) -> torch.Tensor:
        """``(n, k, [z], y, x)`` in `exact_type`: what the head makes of the scores of ``(n, c, [z], y, x)``.

        Global layers are told the answers, where there are any.
        """
        if not answers:
            return probabilities(self.runner(x), self.head)
        runner = self.runner  # opened outside, so that nothing is counted but the pass
        with Injected(answers) as mode:
            scores = runner(x)
        mode.check()
        return probabilities(scores, self.head)

    def cropped(self, x: torch.Tensor, crop: Box) -> torch.Tensor:
        """The same in one box of the output, for a network and backend that can make it alone."""
        return probabilities(self.runner.cropped(x, crop), self.head)

    def reduce(self, x: torch.Tensor, sites: Sequence[Site], part: Box, answers: Answers) -> Partial:
        """What global layers see of a part of ``(1, c, [z], y, x)``, in voxels on its own axes."""
        runner = self.runner
        return reduced(lambda: runner(x), sites, part, x.shape[2:], answers)

    @contextmanager
    def session(self) -> Iterator[None]:
        """Everything that has to hold around calls."""
        with (
            # In inference mode composite operators hide those that they consist of, and so do fused ones.
            torch.no_grad() if self.watched else torch.inference_mode(),
            torch.jit.optimized_execution(not self.watched),
            ieee_float32(),
            threads_of(self.setting.threads),
            device_errors(self.device, self.precision),
        ):
            yield

    @property
    def runner(self) -> Runner:
        if self._runner is None:
            with _lock:
                self._runner = self._runner or self._shared()
        return self._runner

    def _shared(self) -> Runner:
        setting = self.setting
        parts = [dict(setting.model.identity), str(setting.device), str(setting.precision), setting.threads,
                 self.backend]
        key = json.dumps(parts, sort_keys=True)
        if key not in _latest:
            _latest.clear()
            _latest[key] = open_backend(self.backend).open_runner(setting)
        return _latest[key]
