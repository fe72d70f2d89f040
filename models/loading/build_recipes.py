"""Recipes that build a network in any process."""

from __future__ import annotations

import copy
import io
import warnings
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, Protocol

import torch
from torch import nn

from tiler.errors import ModelError, WeightsError
from tiler.models.aten.meta_device import without_values
from tiler.models.loading.files import ModelFile
from tiler.models.loading.libraries import LIBRARIES, build_network
from tiler.models.loading.returned import with_output
from tiler.models.loading.user_code import call_factory, first_line
from tiler.models.loading.weights import file_hash, load_into


class Recipe(Protocol):
    """Builds one network, the same each time. Picklable."""

    def build(self) -> nn.Module: ...
    def meta(self) -> nn.Module:
        """The same network without its values."""
        ...


@dataclass(frozen=True, slots=True)
class RegisteredRecipe:
    """One of tiler's networks, with the arguments stored with its weights."""

    factory: str
    arguments: tuple[tuple[str, Any], ...]
    weights: Path
    sha256: str

    def build(self) -> nn.Module:
        if file_hash(self.weights) != self.sha256:
            raise WeightsError(f"{self.weights} was changed while it was in use: start again", option="weights")
        module = self.meta()
        load_into(module, self.weights)
        return module

    def meta(self) -> nn.Module:
        with without_values():
            module: nn.Module = resolve_name(self.factory)(**dict(self.arguments))
        return module


@dataclass(frozen=True, slots=True)
class FactoryRecipe:
    """The user's ``package.module:factory`` or ``file.py:factory``, or a network of a library: ``smp:Unet``.

    Parameters
    ----------
    source, attribute
        The parts before and after the colon.
    weights
        File with its values; None means those that the factory returns.
    arguments
        Arguments of the factory.
    returns
        Output to use; None if there is only one.
    """

    source: str
    attribute: str
    weights: Path | None
    arguments: tuple[tuple[str, Any], ...] = ()
    returns: str | None = None

    def build(self) -> nn.Module:
        call = build_network if self.source in LIBRARIES else call_factory
        module = call(self.source, self.attribute, dict(self.arguments))
        return with_output(_with_weights(module, self.weights), self.returns)

    def meta(self) -> nn.Module:
        return self.build().to("meta")


@dataclass(frozen=True, slots=True)
class ScriptRecipe:
    """A TorchScript file that the user trusts."""

    file: ModelFile

    def build(self) -> nn.Module:
        return _load_script(self.file)

    def meta(self) -> nn.Module:
        """Load on the CPU and replace the tensors, because torch cannot load a trace's constants without values."""
        module = self.build()
        for layer in module.modules():
            for name, value in (*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)):
                setattr(layer, name, torch.empty_like(value, device="meta", requires_grad=False))
        return module


@dataclass(frozen=True, slots=True, eq=False)
class InstanceRecipe:
    """The user's module itself; it is copied, never changed."""

    module: nn.Module
    weights: Path | None
    returns: str | None = None

    def build(self) -> nn.Module:
        return with_output(_with_weights(copy.deepcopy(self.module).to("cpu"), self.weights), self.returns)

    def meta(self) -> nn.Module:
        return with_output(copy.deepcopy(self.module).to("meta"), self.returns)


@dataclass(frozen=True, slots=True)
class ReturnedRecipe:
    """One output of a network from a file."""

    recipe: Recipe
    returns: str

    def build(self) -> nn.Module:
        return with_output(self.recipe.build(), self.returns)

    def meta(self) -> nn.Module:
        return with_output(self.recipe.meta(), self.returns)


def _load_script(file: ModelFile) -> nn.Module:
    with warnings.catch_warnings():
        # Deprecated in favour of torch.export, whose programs fix the tile size; there is no other loader.
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            module: nn.Module = torch.jit.load(io.BytesIO(file.read()), map_location="cpu")
        except RuntimeError as error:
            raise ModelError(f"{file} cannot be loaded as TorchScript: {first_line(error)}", option="model") from error
    return module


def _with_weights(module: nn.Module, weights: Path | None) -> nn.Module:
    if weights is not None:
        load_into(module, weights)
    return module
