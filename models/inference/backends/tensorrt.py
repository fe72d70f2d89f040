"""TensorRT through ONNX Runtime's provider, with CUDA for operators that it lacks. Never chosen automatically.

It takes minutes to build an engine for each shape of input, and picks kernels by timing them, so that results agree
within the tolerance but not always bit for bit.
"""

from __future__ import annotations

import os

import onnxruntime
import torch

from tiler.errors import ModelError
from tiler.models.inference.backends import Runner, Setting
from tiler.models.inference.backends.onnxruntime import cuda_provider, require, run_with

TENSORRT = "TensorrtExecutionProvider"
SWITCH = "NVIDIA_TF32_OVERRIDE"


def version(device: torch.device) -> str:
    return f"onnxruntime:tensorrt {onnxruntime.__version__} {TENSORRT}"


def check(device: torch.device, precision: torch.dtype, tf32: bool) -> None:
    """Raise for anything but a CUDA device with TF32, or with float32 if the environment disables TF32."""
    if device.type != "cuda":
        raise ModelError(f"TensorRT runs on CUDA devices, not on {device}: use `device=cuda`, or `backend=torch`")
    require(TENSORRT, precision)
    # The provider has no option for it (onnxruntime issue 26029), and libraries read the variable when they load, so
    # that it cannot be set here.
    if not tf32 and os.environ.get(SWITCH) != "0":
        raise ModelError(f"TensorRT takes TF32 for float32 unless {SWITCH}=0 is set when the process starts: set it, "
                         "or use `precision=tf32`, or `backend=onnxruntime`")


def open_runner(setting: Setting) -> Runner:
    # Options not set here come from environment variables (ORT_TENSORRT_FP16_ENABLE).
    told = {"device_id": setting.device.index, "trt_fp16_enable": False, "trt_int8_enable": False}
    return run_with([(TENSORRT, told), cuda_provider(setting)], setting)
