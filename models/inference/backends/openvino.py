"""OpenVINO on the CPU, in IEEE float32 or, on request, in bfloat16."""

from __future__ import annotations

from functools import partial

import openvino
import torch

from tiler.errors import ModelError
from tiler.models.inference.backends import Runner, Setting, name_of
from tiler.models.inference.backends.exported import Exported, Program

HINTS = {torch.float32: "f32", torch.bfloat16: "bf16"}


def version(device: torch.device) -> str:
    return f"openvino {openvino.get_version().split('-')[0]}"


def check(device: torch.device, precision: torch.dtype, tf32: bool) -> None:
    """Raise for anything but float32 and bfloat16 on a CPU that supports them."""
    if device.type != "cpu":
        raise ModelError(f"OpenVINO runs on the CPU here, not on {device}: use `device=cpu` or `backend=torch`")
    if precision not in HINTS:
        raise ModelError(f"OpenVINO runs in float32 or bfloat16 here, not in {name_of(precision)}: use "
                         "`backend=torch`, or another `precision`")
    if precision == torch.bfloat16 and "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise ModelError("this processor has no bfloat16: use `precision=float32`")


def open_runner(setting: Setting) -> Runner:
    return Exported(setting, "OpenVINO", partial(_compile, HINTS[setting.precision], setting.threads))


def _compile(hint: str, threads: int, program: bytes, shape: tuple[int, ...]) -> Program:
    core = openvino.Core()
    model = core.read_model(program)
    any_length = model.is_dynamic()
    if any_length:
        model.reshape(list(shape))
    compiled = core.compile_model(model, "CPU", {
        "INFERENCE_PRECISION_HINT": hint,  # the default on newer processors is bfloat16
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "ENABLE_CPU_PINNING": False,  # several processes would all sit on the same cores
    })
    if any_length:  # one of several programs; only the running one should hold activations
        return lambda image: compiled.create_infer_request().infer([image])[0]
    return lambda image: compiled(image)[0]
