"""ONNX Runtime on the CPU in float32, or on CUDA devices in float32 or TF32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime
import torch

from tiler.errors import ModelError
from tiler.models.inference.backends import Runner, Setting, name_of
from tiler.models.inference.backends.exported import Exported, Program

ERRORS = 3
CUDA = "CUDAExecutionProvider"
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": CUDA}
"""Names of providers by type of device."""

Provider = tuple[str, dict[str, Any]]
"""Name of a provider and its options."""


def version(device: torch.device) -> str:
    return f"onnxruntime {onnxruntime.__version__} {PROVIDERS[device.type]}"


def check(device: torch.device, precision: torch.dtype, tf32: bool) -> None:
    """Raise for anything but float32 or TF32 on a CPU, or on a GPU that the installed package supports."""
    if device.type not in PROVIDERS:
        raise ModelError(f"ONNX Runtime runs on the CPU and on CUDA devices here, not on {device}: use `device=cpu` or "
                         "`backend=torch`")
    require(PROVIDERS[device.type], precision)


def require(provider: str, precision: torch.dtype) -> None:
    """Raise if the installed package lacks the provider, or runs it only in another precision."""
    if precision != torch.float32:
        raise ModelError(f"ONNX Runtime runs in float32 here, not in {name_of(precision)}: use `backend=torch`, "
                         "or `precision=float32`")
    offered = onnxruntime.get_available_providers()
    if provider not in offered:
        raise ModelError(f"the installed onnxruntime {onnxruntime.__version__} has no {provider}, only "
                         f"{', '.join(offered)}: put onnxruntime-gpu in its place (pip uninstall onnxruntime, then pip "
                         "install onnxruntime-gpu), or use `device=cpu` or `backend=torch`")


def open_runner(setting: Setting) -> Runner:
    first = cuda_provider(setting) if setting.device.type == "cuda" else (PROVIDERS["cpu"], {})
    return run_with([first], setting)


def cuda_provider(setting: Setting) -> Provider:
    """The CUDA provider, with the options that exact results need."""
    return CUDA, {
        "device_id": setting.device.index,
        "use_tf32": int(setting.tf32),  # the default is 1
        "cudnn_conv_algo_search": "HEURISTIC",  # the default takes what was the fastest: other bits in another process
    }


def run_with(providers: Sequence[Provider], setting: Setting) -> Exported:
    """Run a network on the first provider, and on the later ones where it lacks a kernel."""

    def compile_for(program: bytes, shape: tuple[int, ...]) -> Program:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = setting.threads, 1
        options.log_severity_level = ERRORS
        options.use_deterministic_compute = True
        session = onnxruntime.InferenceSession(program, options, providers=list(providers), enable_fallback=0)
        started = session.get_providers()
        if started[0] != providers[0][0]:  # ONNX Runtime falls back to the next provider if libraries are missing
            raise ModelError(f"{providers[0][0]} does not start, only {', '.join(started)}: are its libraries there, "
                             f"in the versions that onnxruntime {onnxruntime.__version__} wants?")
        return lambda image: session.run(None, {"image": image})[0]

    return Exported(setting, "ONNX Runtime", compile_for)
