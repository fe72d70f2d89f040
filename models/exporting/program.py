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
"""Of the range of torch's result, at a size that the program was not traced with."""

Writer = Callable[[nn.Module, torch.Tensor], tuple[bytes, nn.Module]]


def write_program(kind: str, module: nn.Module, channels: int, footprint: Footprint, ndim: int) -> bytes:
    """The file of a network, after it has given torch's result for another size than it was made with.

    Parameters
    ----------
    kind
        ``"torchscript"``, ``"onnx"`` or ``"pt2"``.
    module
        In evaluation mode on the CPU, ``(n, c, [z], y, x) -> (n, k, [z], y, x)``.
    channels, ndim
        Channels and axes of its input.
    footprint
        Over (z, y, x).

    Raises
    ------
    ModelError
        If the network cannot be written so, or the program holds for one size alone.
    """
    image, other = (torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0))
                    for size in sizes(footprint, ndim))
    with _quiet(), torch.no_grad():
        try:
            content, twin = WRITERS[kind](module, image)
            found, expected = twin(other), module(other)
        except Exception as error:  # every exporter and its network have errors of their own
            raise ModelError(f"the network cannot be written as {kind}: {first_line(error)[:200]} (-o)") from error
    if found.shape != expected.shape or float((found - expected).abs().max()) > TOLERANCE * float(
            expected.max() - expected.min()):
        raise ModelError(f"written as {kind} the network gives another result at another size than it was traced with: "
                         "write it in another format (-o)")
    return content


def sizes(footprint: Footprint, ndim: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two legal tiles, ``([z], y, x)``, of different sides.

    None is the smallest: its maps may be one voxel wide at the bottom, and `torch.export` takes a 1 for a constant.
    """
    axes = footprint.axes[3 - ndim :]
    small = tuple(axis.smallest + (1 + at) * axis.stride for at, axis in enumerate(axes))
    return small, tuple(size + (2 + at) * axis.stride for at, (size, axis) in enumerate(zip(small, axes, strict=True)))


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporters' notices on their age and on sizes that become constants, which is what is checked."""
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
    buffer: Any = io.BytesIO()  # the stubs of torch know paths alone
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
