"""Devices, number formats and threads: torch settings that make float32 mean IEEE float32, or TF32 on request."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import get_args

import torch

from tiler.errors import MemoryBudgetError, ModelError
from tiler.options import Precision

TF32_SINCE = (8, 0)
"""Lowest compute capability of NVIDIA GPUs with TF32 (CUDA C++ Programming Guide, 8.x: Ampere)."""


def resolve_device(name: str) -> torch.device:
    """The device of that name; ``"auto"`` is the first available of CUDA, MPS and CPU, ``"cuda"`` is ``"cuda:0"``.

    Raises
    ------
    ModelError
        If the device does not exist.
    """
    here = available()
    try:
        device = torch.device(here[0] if name == "auto" else name)
    except RuntimeError as error:
        raise ModelError(f"{name!r} is no device: it is auto, cpu, cuda, cuda:N, cuda:N,cuda:M or mps", option="device"
                         ) from error
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
    if device.type not in here or (device.type == "cuda" and device.index >= torch.cuda.device_count()):
        raise ModelError(f"there is no device {name} here: available are {', '.join(here)}", option="device")
    return device


def resolve_devices(names: str) -> tuple[torch.device, ...]:
    """The device of that name, or several GPUs of one model: ``"cuda:0,cuda:1"``.

    Raises
    ------
    ModelError
        If a device does not exist or is named twice, or if they would not give the same result.
    """
    devices = tuple(resolve_device(name.strip()) for name in names.split(","))
    if len(devices) == 1:
        return devices
    if any(device.type != "cuda" for device in devices):
        raise ModelError(f"several devices are GPUs, such as cuda:0,cuda:1, got {names}: name one device, whose cores "
                         "are shared by `threads`", option="device")
    if len(set(devices)) < len(devices):
        raise ModelError(f"{names} names a device twice: each is fed by several threads anyway", option="device")
    models = {str(device): model_of(device) for device in devices}
    if len(set(models.values())) > 1:
        told = ", ".join(f"{device} is {model}" for device, model in models.items())
        raise ModelError(f"devices of different models round differently, so that the result would depend on which of "
                         f"them computed what ({told}): name those of one model", option="device")
    return devices


def model_of(device: torch.device) -> str:
    """Model name of a GPU; for other devices their type."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def memory_of(device: torch.device) -> int | None:
    """Free bytes on a device, including those that torch keeps in this process; None if it shares the host's memory."""
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device)


def available() -> tuple[str, ...]:
    """Types of the available devices, best first."""
    here = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    return tuple(name for name, there in here.items() if there)


def resolve_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of weights and activations; for tf32 it is float32, and only products are rounded.

    Raises
    ------
    ModelError
        If the precision is unknown, or the device does not support it.
    """
    if name not in get_args(Precision):
        raise ModelError(f"{name!r} is no precision: it is float32, tf32, bfloat16, float16 or float64",
                         option="precision")
    if name == "tf32":
        _require_tf32(device)
        return torch.float32
    if name == "float64" and device.type == "mps":
        raise ModelError("mps has no float64: use `device=cpu` or `precision=float32`")
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _require_tf32(device: torch.device) -> None:
    if device.type != "cuda":
        raise ModelError(f"tf32 is a format of CUDA devices, {device} has none: use `precision=float32`, or a GPU "
                         "(`device=cuda`)")
    has = torch.cuda.get_device_capability(device)
    if has < TF32_SINCE:
        raise ModelError(f"{device} ({model_of(device)}, compute capability {has[0]}.{has[1]}) has no tf32, which came "
                         f"with {TF32_SINCE[0]}.{TF32_SINCE[1]}: use `precision=float32`")


class _Float32Products:
    """Fix the meaning of float32 while any thread computes: IEEE float32, or TF32 on request, never bfloat16.

    These settings apply to the whole process, so the first thread to enter sets them and the last to leave restores
    the caller's. Threads that want the other meaning wait until then; a thread must not request it from inside.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside, self._tf32 = 0, False
        self._restore = ExitStack()

    @contextmanager
    def __call__(self, tf32: bool = False) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._inside == 0 or self._tf32 == tf32)
            if self._inside == 0:
                self._tf32 = tf32
                self._restore.enter_context(_matmul("high" if tf32 else "highest"))
                self._restore.enter_context(
                    torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=tf32)
                )
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if self._inside == 0:
                    self._restore.close()
                    self._changed.notify_all()


@contextmanager
def _matmul(precision: str) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


float32_products = _Float32Products()


@contextmanager
def threads_of(count: int) -> Iterator[None]:
    """Set torch's number of threads for the calling thread, which has its own setting."""
    before = torch.get_num_threads()
    if before != count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if before != count:
            torch.set_num_threads(before)


@contextmanager
def device_errors(device: torch.device, precision: torch.dtype) -> Iterator[None]:
    """Turn a device's errors into one clear line."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryBudgetError(f"{device} has not enough memory for one batch: give a smaller `batch` or `tile`"
                                ) from error
    except (RuntimeError, TypeError) as error:
        if "not implemented for" not in str(error):
            raise
        name = str(precision).removeprefix("torch.")
        raise ModelError(f"the network cannot run in {name} on {device} ({str(error).splitlines()[0]}): use "
                         "`precision=float32`" + (" or bfloat16" if name == "float16" else "")) from error
