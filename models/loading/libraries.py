"""Networks of well-known libraries by their usual names: ``smp:Unet``, ``monai:DynUNet``."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError


@dataclass(frozen=True, slots=True)
class Library:
    """Where to find the networks of a library.

    Parameters
    ----------
    modules
        Modules that hold factories, in the order in which they are searched.
    install
        Name for ``pip install``.
    pretrained
        Arguments that would fetch weights from the internet; they are None unless the user gives them.
    returns
        For networks with several outputs, the one to use, by module.
    """

    modules: tuple[str, ...]
    install: str
    pretrained: tuple[str, ...] = ()
    returns: tuple[tuple[str, str], ...] = ()


LIBRARIES: Mapping[str, Library] = {
    "smp": Library(("segmentation_models_pytorch",), "em-tiler[smp]", ("encoder_weights",)),
    "monai": Library(("monai.networks.nets",), "em-tiler[monai]", ("pretrained",)),
    "torchvision": Library(("torchvision.models.segmentation", "torchvision.models"), "em-tiler[torchvision]",
                           ("weights", "weights_backbone"), (("torchvision.models.segmentation", "out"),)),
}
"""Libraries by the prefix of a model's name."""


@dataclass(frozen=True, slots=True)
class Found:
    """A factory of a library.

    Parameters
    ----------
    factory
        The class or function.
    module
        Module that holds it.
    library
        Library that it belongs to.
    """

    factory: Callable[..., Any]
    module: str
    library: Library

    @property
    def returns(self) -> str | None:
        """The output to use if the user names none."""
        return dict(self.library.returns).get(self.module)

    def arguments(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The user's arguments, and None for those that would fetch weights."""
        known = inspect.signature(self.factory).parameters
        return {**{name: None for name in self.library.pretrained if name in known}, **given}

    def trained(self, given: Mapping[str, Any]) -> bool:
        """Whether the arguments request all of a network's weights, rather than those of its encoder only."""
        return any(given.get(name) for name in ("weights", "pretrained"))


def find_network(prefix: str, name: str) -> Found:
    """The factory of that name in a library.

    Raises
    ------
    ModelError
        If the library is not installed, or lacks the network; the message names the closest ones.
    """
    library = LIBRARIES[prefix]
    known: list[str] = []
    for place in library.modules:
        module = _imported(place, library, f"{prefix}:{name}")
        factory = getattr(module, name, None)
        if callable(factory) and not isinstance(factory, ModuleType):
            return Found(factory, place, library)
        known += [each for each in dir(module) if callable(getattr(module, each)) and not each.startswith("_")]
    close = difflib.get_close_matches(name, known, cutoff=0.5)
    hint = f": did you mean {' or '.join(f'{prefix}:{each}' for each in close)}?" if close else ""
    raise ModelError(f"{library.modules[0]} has no network {name!r}{hint}", option="model")


def _imported(place: str, library: Library, wanted: str) -> ModuleType:
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        raise ModelError(f"`model={wanted}` needs the package {error.name}: pip install '{library.install}'") from error
    except Exception as error:  # a package that was built for another version of torch says so in many ways
        reason = " ".join(str(error).split())
        raise ModelError(f"{place} cannot be imported ({type(error).__name__}: {reason}): install versions that fit "
                         f"each other, pip install -U '{library.install}'") from error


def package_version(module: str) -> str:
    """Version of the package that a module belongs to."""
    return str(getattr(importlib.import_module(module.partition(".")[0]), "__version__", "of an unknown version"))


def build_network(prefix: str, name: str, given: Mapping[str, Any]) -> nn.Module:
    """Build a network of a library; values that nothing else sets are drawn from a fixed seed.

    Raises
    ------
    ModelError
        If the library lacks the network, or the network refuses its arguments.
    """
    found = find_network(prefix, name)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            made = found.factory(**found.arguments(given))
        except Exception as error:  # libraries may raise any error for wrong arguments
            reason = " ".join(str(error).split()) or "no message"
            takes = ", ".join(inspect.signature(found.factory).parameters)
            raise ModelError(f"{prefix}:{name} does not take these arguments ({type(error).__name__}: {reason}): it "
                             f"has {takes}", option="model_args") from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"{prefix}:{name} gives a {type(made).__name__}, a torch.nn.Module is needed", option="model")
    return made
