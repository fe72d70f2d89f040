"""Recipes for networks of packages that consist of more than one file."""

from __future__ import annotations

import io
import pickle
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.models.loading.build_recipes import Recipe
from tiler.models.loading.files import UNREADABLE, ModelFile, check_members
from tiler.models.loading.user_code import first_line, guarded, import_source


@dataclass(frozen=True, slots=True)
class Architecture:
    """Trusted code that builds a network without its values.

    Parameters
    ----------
    source
        File of the package, or name of an installed module.
    callable
        Name of the function or class in the source.
    arguments
        Arguments of the callable.
    """

    source: ModelFile | str
    callable: str
    arguments: tuple[tuple[str, Any], ...]

    def __str__(self) -> str:
        return f"{self.callable} of {self.source}"

    def make(self) -> nn.Module:
        """A new network.

        Raises
        ------
        ModelError
            If the code raises, or returns anything but a module.
        """
        made: Callable[..., Any] | None = getattr(self._module(), self.callable, None)
        if made is None:
            raise ModelError(f"{self.source} has no {self.callable!r}, which the package names", option="model")
        network = guarded(f"{self} raised", lambda: made(**dict(self.arguments)))
        if not isinstance(network, nn.Module):
            raise ModelError(f"{self} gives a {type(network).__name__}, a torch.nn.Module is needed", option="model")
        return network

    def _module(self) -> ModuleType:
        if isinstance(self.source, str):
            return import_source(self.source)
        module = ModuleType(f"_tiler_package_{self.source.sha256[:12]}")
        code = self.source.read()
        guarded(f"{self.source} raised", lambda: exec(compile(code, str(self.source), "exec"), module.__dict__))
        return module


@dataclass(frozen=True, slots=True)
class StateDictRecipe:
    """A network built by code, with values from a file of tensors, which is unpickled without running code."""

    file: ModelFile
    architecture: Architecture
    strict: bool

    def build(self) -> nn.Module:
        network = self.architecture.make()
        try:
            network.load_state_dict(read_tensors(self.file), strict=self.strict)
        except (RuntimeError, TypeError, AttributeError) as error:
            raise ModelError(f"{self.file} does not fit {self.architecture}: {first_line(error)}",
                             option="model") from error
        return network

    def meta(self) -> nn.Module:
        return self.build().to("meta")


def read_tensors(file: ModelFile) -> Any:
    """Read a checkpoint that holds only tensors and plain values.

    Raises
    ------
    ModelError
        If it holds anything else, because loading that would run code.
    """
    content = file.read()
    if file.path.suffix == ".safetensors" or str(file.member).endswith(".safetensors"):
        return _safetensors(file, content)
    try:
        if zipfile.is_zipfile(io.BytesIO(content)):
            check_members(str(file), len(content), zipfile.ZipFile(io.BytesIO(content)).infolist())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, all of which are read equally safely
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except (*UNREADABLE, pickle.UnpicklingError, LookupError, AttributeError, TypeError, AssertionError) as error:
        raise ModelError(f"{file} is refused: it holds more than tensors, and loading that could run code "
                         f"({first_line(error)[:100]}): convert it to safetensors where you trust it",
                         option="model") from error


def _safetensors(file: ModelFile, content: bytes) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(content)
    except (SafetensorError, ValueError) as error:
        raise ModelError(f"{file} is no whole safetensors file ({first_line(error)[:100]}): it may be truncated, fetch "
                         "it again", option="model") from error


@dataclass(frozen=True, slots=True)
class OrderedRecipe:
    """A network with its own order of axes, adapted to ``(n, c, [z], y, x)``."""

    network: Recipe
    given: str
    made: str

    def build(self) -> nn.Module:
        return Ordered(self.network.build(), self.given, self.made)

    def meta(self) -> nn.Module:
        return Ordered(self.network.meta(), self.given, self.made)


class Ordered(nn.Module):
    """Converts the axes ``bc[z]yx`` to those that a network takes, and its output's axes back.

    Parameters
    ----------
    network
        Network with input axes ``given`` and output axes ``made``.
    given, made
        Axes such as ``"bzyxc"``; b and c may be missing.
    """

    def __init__(self, network: nn.Module, given: str, made: str) -> None:
        super().__init__()
        self.network, self.given, self.made = network, given, made
        self.usual = "bc" + "".join(axis for axis in "zyx" if axis in given)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kept = [self.usual.index(axis) for axis in self.given]
        missing = tuple(at for at, axis in enumerate(self.usual) if axis not in self.given)
        if any(x.shape[at] != 1 for at in missing):
            raise ModelError(f"the package's network takes the axes {self.given}, one input at a time: use `batch=1`")
        y = self.network(x.permute(*kept, *missing).flatten(len(kept) - 1) if missing else x.permute(kept))
        for axis in self.usual:
            if axis not in self.made:
                y = y.unsqueeze(-1)
        order = self.made + "".join(axis for axis in self.usual if axis not in self.made)
        return y.permute([order.index(axis) for axis in self.usual])
