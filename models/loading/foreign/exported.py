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
    """A ``.pt2`` file that the user trusts, because torch may unpickle it."""

    file: ModelFile

    def build(self) -> nn.Module:
        content = self.file.read()
        try:
            with _quiet():
                return Program(torch.export.load(io.BytesIO(content)))
        except ModelError:
            raise
        except Exception as error:  # a bad archive, schema or pickle may raise any error
            raise ModelError(f"{self.file} cannot be loaded as a torch.export program: {first_line(error)}",
                             option="model") from error

    def meta(self) -> nn.Module:
        return self.build().to("meta")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's log of failed attempts and its warnings about itself."""
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

    A program exported without dynamic sizes refuses every other size, although its operators rarely depend on it.
    The module therefore runs them without that check, and turns interpolation to a fixed size into interpolation by
    the corresponding factor. Programs with other constants of one size fail at other sizes, which the probe reports.

    Parameters
    ----------
    program
        Program with one input and one output.
    """

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__()
        inputs = program.graph_signature.user_inputs
        if len(inputs) != 1:
            raise ModelError(f"a torch.export program with {len(inputs)} inputs was given, one is needed",
                             option="model")
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
    """Replace the fixed sizes of interpolations by factors."""
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
