"""Programs of torch.export (``.pt2``), which are graphs of aten operators with their weights."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.models.loading.files import ModelFile
from tiler.models.loading.user_code import first_line


@dataclass(frozen=True, slots=True)
class ExportedRecipe:
    """A ``.pt2`` file that the user trusts: torch falls back to unpickling."""

    file: ModelFile

    def build(self) -> nn.Module:
        content = self.file.read()
        try:
            with _quiet():
                return Program(torch.export.load(io.BytesIO(content)))
        except ModelError:
            raise
        except Exception as error:  # whatever is wrong in an archive, a schema, or a pickle
            raise ModelError(f"{self.file} cannot be loaded as a torch.export program: {first_line(error)} "
                             "(--model)") from error

    def meta(self) -> nn.Module:
        return self.build().to("meta")


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's log of what went wrong before, and warnings about itself."""
    log = logging.getLogger("torch.export")
    before = log.disabled
    log.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.disabled = before


class Program(nn.Module):
    """A program as a module for inputs of any size that its operators allow.

    A program exported without dynamic sizes refuses every other size, though its operators hardly ever depend on
    it. They are then run without the check, and interpolation to a fixed size as interpolation by the factor that
    this is. What still holds a constant of one size fails on the others, which the probe reports.

    Parameters
    ----------
    program
        With one input and one output.
    """

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        inputs = program.graph_signature.user_inputs
        if len(inputs) != 1:
            raise ModelError(f"a torch.export program with {len(inputs)} inputs was given, one is needed (--model)")
        shape = next(node.meta["val"].shape for node in program.graph.nodes if node.name == inputs[0])
        self.in_channels, self.ndim = int(shape[1]), len(shape) - 2
        if program.range_constraints:
            self.graph = program.module()
        else:
            self.graph = program.module(check_guards=False)
            self.graph._forward_pre_hooks.clear()
            _scale_by_factors(self.graph)

    def forward(self, x: torch.Tensor) -> Any:
        return self.graph(x)

    def train(self, mode: bool = True) -> Program:
        """A program is what it was when it was exported; in eval mode, one hopes."""
        return self


def _scale_by_factors(graph: torch.fx.GraphModule) -> None:
    """Give interpolations their factor in place of their size."""
    for node in graph.graph.nodes:
        name = getattr(node.target, "__name__", "")
        if node.op != "call_function" or not name.startswith("upsample_") or not name.endswith(".vec"):
            continue
        source, size, *rest = node.args
        if size is not None:
            before = source.meta["val"].shape[2:]
            factors = [out / own for out, own in zip(size, before, strict=True)]
            node.args = (source, None, *rest[:-1], factors)
    graph.recompile()
