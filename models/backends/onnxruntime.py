"""ONNX Runtime on the CPU, in float32."""

from __future__ import annotations

from functools import partial

import onnxruntime
import torch

from tiler.errors import ModelError
from tiler.models.backends import Runner, Setting, name_of
from tiler.models.backends.exported import Exported, Program

ERRORS = 3


def version() -> str:
    return f"onnxruntime {onnxruntime.__version__}"


def check(device: torch.device, precision: torch.dtype) -> None:
    """Raise for anything but float32 on the CPU."""
    if device.type != "cpu":
        raise ModelError(f"ONNX Runtime runs on the CPU here, not on {device}: use --device cpu or --backend torch")
    if precision != torch.float32:
        raise ModelError(f"ONNX Runtime runs in float32 here, not in {name_of(precision)}: use --backend torch, "
                         "or --precision float32")


def open_runner(setting: Setting) -> Runner:
    return Exported(setting, "ONNX Runtime", partial(_compile, setting.threads))


def _compile(threads: int, program: bytes, shape: tuple[int, ...]) -> Program:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = ERRORS
    session = onnxruntime.InferenceSession(program, options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})[0]
