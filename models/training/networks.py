"""The network of a run: one of tiler's own, or one that a user's factory builds."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError
from tiler.geometry import Footprint
from tiler.models.aten.meta_device import without_values
from tiler.models.loading.build_recipes import FactoryRecipe
from tiler.models.loading.libraries import LIBRARIES, find_network, package_version
from tiler.models.loading.loaded_model import input_of
from tiler.models.loading.user_code import first_line
from tiler.models.probe import probe
from tiler.models.training.objectives import objective_of
from tiler.models.training.own_code import hash_of
from tiler.models.training.recipes import Recipe
from tiler.models.zoo import registry

_WIDTHS = {"unet": 32}
"""First levels that are narrower than published, unless the user says otherwise."""
_OF_RECIPE = ("batch_norm", "dropout")


@dataclass(frozen=True)
class Network:
    """A network to train.

    Parameters
    ----------
    name
        Registered name, the user's ``"package.module:factory"`` or ``"/folder/file.py:factory"``, or ``"smp:Unet"``
        of a library.
    module
        The network with its initial weights.
    in_channels, ndim, out_channels
        Channels and spatial axes (2 or 3) of the input, channels of the output.
    arguments
        Arguments of the network's factory.
    code
        SHA-256 of the user's file, or the version of a library; None for a registered network.
    footprint
        The footprint, if already known.
    """

    name: str
    module: nn.Module
    in_channels: int
    ndim: int
    out_channels: int
    arguments: Mapping[str, Any]
    code: str | None = None
    footprint: Footprint | None = None

    @property
    def title(self) -> str:
        """Its name without folders."""
        return Path(self.name).name

    @classmethod
    def registered(cls, name: str, module: nn.Module) -> Network:
        """One of tiler's own, built."""
        given: Mapping[str, Any] = module.arguments  # type: ignore[assignment]
        return cls(name, module, given["in_channels"], given.get("ndim", 2), given["classes"], dict(given))


def is_own(name: str) -> bool:
    """Whether a name refers to a user's factory."""
    return ":" in name


def own_network(name: str, arguments: Mapping[str, Any], seed: int) -> Network:
    """The network that a factory of the user or of a library builds.

    Parameters
    ----------
    name
        ``"/folder/file.py:factory"``, ``"package.module:factory"`` or ``"smp:Unet"``.
    arguments
        Arguments of the factory.
    seed
        Seed of the initial weights. Networks of libraries get the same weights for every seed.

    Raises
    ------
    ModelError
        If the factory does not return a network, or the network's output cannot be aligned with its input.
    """
    source, _, attribute = name.rpartition(":")
    returns = find_network(source, attribute).returns if source in LIBRARIES else None
    with seeded(seed):
        built = FactoryRecipe(source, attribute, None, tuple(arguments.items()), returns).build()
        module = copy.deepcopy(built)  # a module-level network stays unchanged
    title = Path(name).name
    channels, ndim = input_of(module, title)
    found = probe(module, channels, ndim, prove=False)
    return Network(name, module, channels, ndim, found.out_channels, dict(arguments), code_of(source), found.footprint)


def code_of(source: str) -> str | None:
    """SHA-256 of the user's file, or the version of a library."""
    return package_version(LIBRARIES[source].modules[0]) if source in LIBRARIES else hash_of(source)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's random numbers in this context, and restore their state afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def arguments_of(name: str, given: Mapping[str, Any], recipe: Recipe, in_channels: int,
                 otherwise: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The arguments for the factory of a registered network.

    Parameters
    ----------
    name
        The network.
    given
        Arguments that the user gives.
    recipe
        Recipe, which sets arguments that the entry leaves open. Its loss determines the number of classes.
    in_channels
        Channels of the images.
    otherwise
        Arguments of initial weights, used unless the user gives others.

    Raises
    ------
    ModelError
        If the network lacks a given argument, or images or loss need another value.
    """
    entry = registry.describe(name)
    known = _on_meta(entry).arguments
    needed = {"in_channels": in_channels, "classes": objective_of(recipe.loss).channels or given.get("classes", 2)}
    if "ndim" in known and given.get("ndim") != 3:
        needed["ndim"] = 2
    why = {"in_channels": "the images have", "classes": f"the loss {recipe.loss} needs",
           "ndim": "tiler trains networks of 3 axes or"}
    for key, value in given.items():
        if key not in known:
            raise ModelError(f"{name} has no {key}: it has {', '.join(known)}", option="arguments")
        if value != needed.get(key, value):
            raise ModelError(f"{key} of {name} cannot be {value}, {why[key]} {needed[key]}; leave it out",
                             option="arguments")
    width = {"base": _WIDTHS[name]} if name in _WIDTHS else {}
    open_ones = {key: getattr(recipe, key) for key in _OF_RECIPE if key in known}
    return {**width, **open_ones, **entry.arguments, **(otherwise or {}), **given, **needed}


def _on_meta(entry: registry.ModelEntry) -> Any:
    with without_values():
        return registry.build(entry.name)


def build(name: str, arguments: Mapping[str, Any], seed: int) -> nn.Module:
    """A registered network with random weights that depend only on the seed."""
    with seeded(seed):
        try:
            module: nn.Module = registry.build(name, **arguments)
        except (TypeError, ValueError) as error:
            raise ModelError(f"{name} does not take these arguments: {first_line(error)}",
                             option="arguments") from error
    return module
