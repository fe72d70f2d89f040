"""Networks that leave torch: exported for one shape of input at a time, and held to torch's result there.

A shape is exported as it is: sizes that the network computes from it (crops, padding) become constants, so that
the program is right for that shape alone, and the runtime may lay out its memory beforehand.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from tiler.errors import ModelError
from tiler.models.backends import Setting, name_of
from tiler.models.backends.eager import scores
from tiler.ports import Array

Program = Callable[[Array], Array]
Compiler = Callable[[bytes], Program]

OPSET = 17
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 1e-1}
"""Of the range of torch's float32 result. In float32 that is the law's; a bfloat16 program is only checked to be the
same function, since rounding depends on the image."""


class Exported:
    """Runs a network as programs of another runtime, one for each shape of input.

    Parameters
    ----------
    setting
        Of the network.
    name
        Of the backend, for messages.
    compiler
        Turns an ONNX file into a program.
    """

    def __init__(self, setting: Setting, name: str, compiler: Compiler) -> None:
        self._setting, self._name, self._compiler = setting, name, compiler
        self._programs: dict[torch.Size, Program] = {}
        self._lock = threading.Lock()  # a program has one set of buffers

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        with self._lock:
            if x.shape not in self._programs:
                self._programs[x.shape] = self._open(x.shape)
            return torch.from_numpy(self._programs[x.shape](np.ascontiguousarray(x.numpy())))

    def _open(self, shape: torch.Size) -> Program:
        with torch.inference_mode(False), torch.no_grad():  # what is exported must not be made in inference mode
            module = self._setting.model.build()
            image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
            expected = scores(module(image)).numpy()
            try:
                program = self._compiler(to_onnx(module, image))
                found = program(image.numpy())
            except Exception as error:  # exporter and runtimes raise whatever they like
                reason = " ".join(str(error).split())[:200] or type(error).__name__
                raise ModelError(f"{self._name} cannot run {self._setting.model.identity['model']} ({reason}): "
                                 "use --backend torch") from error
        self._check(found, expected)
        return program

    def _check(self, found: Array, expected: Array) -> None:
        """The law, on noise: also finds a branch on values, of which an export keeps one side."""
        bound, worst = TOLERANCE[self._setting.precision], np.inf
        if found.shape == expected.shape:
            worst = float(np.abs(found - expected).max() / (np.ptp(expected) or 1))
        if not worst <= bound:
            raise ModelError(f"{self._name} differs from torch by {worst:.1e} of the range in "
                             f"{name_of(self._setting.precision)}, {bound:g} is allowed: use --backend torch")


def to_onnx(module: nn.Module, image: torch.Tensor) -> bytes:
    """An ONNX file of a network for inputs of one shape."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter by tracing, which is deprecated: its successor needs one more package, takes no TorchScript,
        # and asks each network to be torch.export-able.
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (image,), buffer, dynamo=False, opset_version=OPSET,
                          input_names=["image"], output_names=["scores"])
    return buffer.getvalue()
