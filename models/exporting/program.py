"""One network as TorchScript, ONNX or torch.export program, for inputs of any legal size."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.geometry import Footprint
from tiler.models.loading.foreign.onnx import OnnxNetwork, onnx_library, with_shapes
from tiler.models.loading.user_code import first_line

OPSET = 17
TOLERANCE = 1e-5
"""Tolerance as a share of the range of torch's result, at a size that the program was not traced with."""

Writer = Callable[[nn.Module, torch.Tensor], tuple[bytes, nn.Module]]


def write_program(kind: str, module: nn.Module, channels: int, footprint: Footprint, ndim: int) -> bytes:
    """Export a network to bytes, and check its result against torch's at a size other than the traced one.

    Parameters
    ----------
    kind
        ``"torchscript"``, ``"onnx"`` or ``"pt2"``.
    module
        The network ``(n, c, [z], y, x) -> (n, k, [z], y, x)``, in evaluation mode on the CPU.
    channels, ndim
        Number of channels and of spatial axes of its input.
    footprint
        Footprint of the network over (z, y, x).

    Raises
    ------
    ModelError
        If the format does not support the network, or the program works for one size only.
    """
    image, other = (torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0))
                    for size in sizes(footprint, ndim))
    with _quiet(), torch.no_grad():
        try:
            content, twin = WRITERS[kind](module, image)
            found, expected = twin(other), module(other)
        except Exception as error:  # each exporter and network raises its own errors
            raise ModelError(f"the network cannot be written as {kind}: {first_line(error)[:200]}",
                             option="output") from error
    if found.shape != expected.shape or float((found - expected).abs().max()) > TOLERANCE * float(
            expected.max() - expected.min()):
        raise ModelError(f"written as {kind} the network gives another result at another size than it was traced with: "
                         "write it in another format", option="output")
    return content


def sizes(footprint: Footprint, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two legal tiles ``([z], y, x)`` with different sides.

    The smallest tile is skipped: its deepest maps may be one voxel wide, and `torch.export` treats a 1 as a constant.
    """
    axes = footprint.axes[3 - ndim :]
    small = tuple(axis.smallest + (1 + at) * axis.stride for at, axis in enumerate(axes))
    return small, tuple(size + (2 + at) * axis.stride for at, (size, axis) in enumerate(zip(small, axes, strict=True)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporters' warnings of deprecation and of sizes that become constants; the caller checks those."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _torchscript(module: nn.Module, image: torch.Tensor) -> tuple[bytes, nn.Module]:
    program = module if isinstance(module, torch.jit.ScriptModule) else torch.jit.trace(module, image)
    buffer = io.BytesIO()
    torch.jit.save(program, buffer)
    return buffer.getvalue(), program


def _onnx(module: nn.Module, image: torch.Tensor) -> tuple[bytes, nn.Module]:
    onnx = onnx_library()
    free = {0: "n", **dict(zip(range(image.ndim - 1, 1, -1), "xyz", strict=False))}
    buffer: Any = io.BytesIO()  # torch's type stubs accept only paths
    torch.onnx.export(module, (image,), buffer, dynamo=False, opset_version=OPSET, input_names=["image"],
                      output_names=["scores"], dynamic_axes={"image": free, "scores": free})
    model = onnx.load_model_from_string(buffer.getvalue())
    return buffer.getvalue(), OnnxNetwork(with_shapes(model), "the ONNX file")


def _exported(module: nn.Module, image: torch.Tensor) -> tuple[bytes, nn.Module]:
    free = dict.fromkeys(range(2, image.ndim), torch.export.Dim.AUTO)
    program = torch.export.export(module, (image,), dynamic_shapes=(free,))
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue(), program.module()


WRITERS: dict[str, Writer] = {"torchscript": _torchscript, "onnx": _onnx, "pt2": _exported}
