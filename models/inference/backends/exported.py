"""Run networks outside torch: export them for one shape of input at a time, and compare each with torch's result.

Exporting turns the sizes that a network computes from its input (crops, padding) into constants, so that a program is
valid only for that shape, and the runtime can plan its memory in advance. Crops of the output are exported on the
shortest tile with the same phase, and compiled for the requested length.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from tiler.errors import ModelError
from tiler.geometry import Box
from tiler.models.cropping import Alone, Cropper, shortened
from tiler.models.inference.backends import Setting, name_of
from tiler.models.inference.backends.eager import scores
from tiler.ports import Array

Program = Callable[[Array], Array]
Compiler = Callable[[bytes, tuple[int, ...]], Program]
"""From an ONNX file and the shape of its input to a program."""

KEPT_CROPS = 9
"""Number of kept programs for crops: a slice of tiles has nine kinds, namely corners, edges and the interior."""

OPSET = 17
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-1}
"""Tolerance as a share of the range of torch's float32 result. In float32 it is tiler's general tolerance; a bfloat16
program is only checked to be the same function, because rounding depends on the image."""
TF32_TOLERANCE = 5e-3

_opening = threading.Lock()
"""Held while a network is exported: torch's exporter has global state, and several threads feed the devices."""


class Exported:
    """Runs a network as programs of another runtime, one for each shape of input.

    Parameters
    ----------
    setting
        Network, device and number format.
    name
        Name of the backend, for messages.
    compiler
        Function that turns an ONNX file into a program.
    """

    def __init__(self, setting: Setting, name: str, compiler: Compiler) -> None:
        self._setting, self._name, self._compiler = setting, name, compiler
        self._programs: dict[torch.Size, Program] = {}
        self._crops: OrderedDict[Any, Program] = OrderedDict()
        self._lock = threading.Lock()  # a program has one set of buffers

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        with self._lock:
            if x.shape not in self._programs:
                self._programs[x.shape] = self._open(x.shape)
            # Through the host even from a GPU: the copy waits for torch's stream, and a runtime has its own streams.
            found = self._programs[x.shape](np.ascontiguousarray(x.cpu().numpy()))
            return torch.from_numpy(found).to(x.device)

    def cropped(self, x: torch.Tensor, crop: Box) -> torch.Tensor:
        """The scores in a box of the output, for networks that `tiler.models.cropping` supports."""
        with self._lock:
            wanted = self._cropper.program(tuple(x.shape[1:]), crop)
            inside: Any = (..., *wanted.input.slices)
            part = np.ascontiguousarray(x[inside].numpy())
            key = wanted.signature, part.shape
            if key not in self._crops:
                while len(self._crops) >= KEPT_CROPS:
                    self._crops.popitem(last=False)
                self._crops[key] = self._open_crop(tuple(x.shape[1:]), crop, part.shape)
            self._crops.move_to_end(key)
            return torch.from_numpy(self._crops[key](part))

    @cached_property
    def _cropper(self) -> Cropper:
        with torch.inference_mode(False):
            meta = self._setting.model.meta()
            return Cropper(meta, meta)

    def _open_crop(self, tile: tuple[int, ...], crop: Box, shape: tuple[int, ...]) -> Program:
        with _opening, torch.inference_mode(False), torch.no_grad():
            wanted, short = self._cropper.program(tile, crop), shortened(self._cropper.wiring(tile), crop)
            program = short if short.signature == wanted.signature else wanted
            module = Alone(program, self._setting.model.build())
            image = torch.randn((1, tile[0], *program.input.shape), generator=torch.Generator().manual_seed(0))
            with self._one_line():
                file = to_onnx(module, image, any_length=True)
                found = self._compiler(file, tuple(image.shape))(image.numpy())
                opened = self._compiler(file, shape)
        self._check(found, module(image).numpy())
        return opened

    def _open(self, shape: torch.Size) -> Program:
        # Exporters do not accept tensors made in inference mode.
        with _opening, torch.inference_mode(False), torch.no_grad():
            module = self._setting.model.build()
            image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            expected = scores(module(image)).numpy()
            with self._one_line():
                program = self._compiler(to_onnx(module, image), tuple(shape))
                found = program(image.numpy())
        self._check(found, expected)
        return program

    @contextmanager
    def _one_line(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # exporters and runtimes may raise any error
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            raise ModelError(f"{self._name} cannot run {self._setting.model.identity['model']} ({reason}): "
                             "use `backend=torch`") from error

    def _check(self, found: Array, expected: Array) -> None:
        """Compare with torch on noise; this also finds branches on values, of which an export keeps one side."""
        precision = "tf32" if self._setting.tf32 else name_of(self._setting.precision)
        bound, worst = TF32_TOLERANCE if self._setting.tf32 else TOLERANCE[self._setting.precision], np.inf
        if found.shape == expected.shape:
            worst = float(np.abs(found - expected).max() / (np.ptp(expected) or 1))
        if not worst <= bound:
            raise ModelError(f"{self._name} differs from torch by {worst:.1e} of the range in "
                             f"{precision}, {bound:g} is allowed: use `backend=torch`")


def to_onnx(module: nn.Module, image: torch.Tensor, any_length: bool = False) -> bytes:
    """An ONNX file of a network, for inputs of one shape, or of any length if the network does not depend on it."""
    lengths = {axis: f"length{axis}" for axis in range(2, image.ndim)} if any_length else {}
    buffer: Any = io.BytesIO()  # the stubs of torch know paths alone
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but its successor needs another package, does not accept TorchScript,
        # and requires that torch.export supports the network.
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (image,), buffer, dynamo=False, opset_version=OPSET,
                          input_names=["image"], output_names=["scores"], dynamic_axes={"image": lengths} if lengths
                          else None)
    return buffer.getvalue()
