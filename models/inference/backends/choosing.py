"""Find the fastest backend on this machine by a short measurement, for ``backend="auto"``."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import torch

from tiler.errors import ModelError
from tiler.models.inference.backends import MODULES, Setting, open_backend
from tiler.models.inference.network import Network, Session

log = logging.getLogger(__name__)

CANDIDATES = tuple(name for name in MODULES if name not in ("compile", "onnxruntime:tensorrt"))
"""Backends that are never chosen automatically: compiling, or building a TensorRT engine, outlasts most images."""
REPEATS = 3


def fastest(setting: Setting, shape: tuple[int, ...]) -> str:
    """The backend with the fastest forward pass, among installed ones that run the network and give torch's result.

    Parameters
    ----------
    setting
        Network, device and number format.
    shape
        Shape of the input to measure with, ``(1, c, [z], y, x)``.
    """
    names = [name for name in CANDIDATES if _there(name, setting)]
    if len(names) == 1:
        return names[0]
    times = dict(_measured(names, setting, shape))
    log.info("seconds per forward pass of %s: %s", shape, {name: round(value, 4) for name, value in times.items()})
    return min(times, key=times.__getitem__)


def _there(name: str, setting: Setting) -> bool:
    try:
        open_backend(name).check(setting.device, setting.precision, setting.tf32)
    except ModelError:
        return False
    return True


def _measured(names: list[str], setting: Setting, shape: tuple[int, ...]) -> Iterator[tuple[str, float]]:
    for name in names:
        network = Network(setting, name)
        try:
            with network.session() as session:
                image = torch.randn(shape, device=session.feeder.device, dtype=network.exact_type)
                yield name, min(_seconds(session, image) for _ in range(REPEATS + 1))  # the first one warms up
        except ModelError as error:
            log.info("%s is left out: %s", name, error)


def _seconds(session: Session, image: torch.Tensor) -> float:
    begun = time.perf_counter()
    session(image).sum().item()  # the sum waits for the device
    return time.perf_counter() - begun
