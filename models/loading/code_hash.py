"""Identity of a network beside its values: its layers, their settings, their code, and what their code holds."""

from __future__ import annotations

import enum
import hashlib
import inspect
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn

PLAIN = (type(None), bool, int, float, complex, str, bytes, range, slice, enum.Enum, PurePath, np.generic, np.dtype,
         torch.dtype, torch.device, torch.memory_format)
"""Types of values that their ``repr`` describes completely."""

ELSEWHERE = ("_parameters", "_modules", "training")
"""Attributes of a module that are hashed with its values, visited separately, or set when the module is built."""


def architecture_hash(module: nn.Module) -> str:
    """SHA-256 of a network's identity apart from its values.

    Two networks with equal values may still compute different functions: a ReLU and a tanh have no values at all, and
    the result of a nested function depends on its closure. Objects of other libraries are identified by their type
    only, and global names are assumed to keep their meaning.
    """
    digest = hashlib.sha256(repr(module).encode())
    kinds = sorted({type(layer) for layer in module.modules()}, key=lambda kind: kind.__qualname__)
    told = _Told(frozenset(_package(kind) for kind in kinds) - {"torch"})
    for name, layer in module.named_modules():
        digest.update(f"{name} {told(_settings(layer))}".encode())
    for kind in kinds:
        digest.update(told(kind).encode())
    return digest.hexdigest()


def _settings(layer: nn.Module) -> dict[str, Any]:
    """The attributes of a layer; of TorchScript, whose code is in its file, the plain ones."""
    script = isinstance(layer, torch.jit.ScriptModule)
    # Hooks are numbered as they come in a process.
    found = {name: list(value.values()) if "_hooks" in name and isinstance(value, Mapping) else value
             for name, value in vars(layer).items()}
    return {name: value for name, value in sorted(found.items())
            if name not in ELSEWHERE and (not script or isinstance(value, (bool, int, float, str, tuple)))}


class _Told:
    """Hashes of values that are equal in every process.

    Parameters
    ----------
    own
        Packages whose code and objects are hashed by content.
    """

    def __init__(self, own: frozenset[str]) -> None:
        self._own = own
        self._done: dict[int, tuple[Any, str]] = {}  # with the value, so that its id is not reused

    def __call__(self, value: Any) -> str:
        if id(value) not in self._done:
            self._done[id(value)] = value, "itself"  # while its parts are hashed
            text = "\0".join((type(value).__qualname__, *self._parts(value)))
            self._done[id(value)] = value, hashlib.sha256(text.encode()).hexdigest()
        return self._done[id(value)][1]

    def _parts(self, value: Any) -> Iterator[str]:
        if isinstance(value, PLAIN):
            yield repr(value)
        elif isinstance(value, (torch.Tensor, np.ndarray)):
            yield from _voxels(value)
        elif isinstance(value, Mapping):
            yield from (self(part) for pair in value.items() for part in pair)
        elif isinstance(value, (tuple, list)):
            yield from map(self, value)
        elif isinstance(value, (set, frozenset)):
            yield from sorted(map(self, value))
        elif isinstance(value, partial):
            yield from map(self, (value.func, value.args, value.keywords))
        elif isinstance(value, MethodType):
            yield from map(self, (value.__func__, value.__self__))
        elif isinstance(value, (FunctionType, type, BuiltinFunctionType)):
            yield from self._code(value)
        elif _package(type(value)) in self._own and not isinstance(value, nn.Module):
            yield from map(self, (type(value), getattr(value, "__dict__", {})))

    def _code(self, made: Any) -> Iterator[str]:
        """Parts of a function or class: its name and, for the user's own code, its source and closure."""
        yield str(made.__qualname__)  # not its module, whose name depends on the location of a file
        if _package(made) not in self._own or isinstance(made, BuiltinFunctionType):
            return
        functions = [made] if isinstance(made, FunctionType) else list(_functions(made))
        yield _source(made, functions)
        for function in functions:
            yield from map(self, (function.__defaults__, function.__kwdefaults__, *_closure(function)))
        if isinstance(made, type):
            yield from map(self, made.__bases__)


def _package(made: Any) -> str:
    return str(getattr(made, "__module__", "")).partition(".")[0]


def _functions(kind: type) -> Iterator[FunctionType]:
    """The functions defined in a class."""
    for _, value in sorted(vars(kind).items()):
        function = getattr(value, "__func__", None) or getattr(value, "fget", None) or value
        if isinstance(function, FunctionType):
            yield inspect.unwrap(function)


def _source(made: Any, functions: list[FunctionType]) -> str:
    """The source of a function or class; for code typed at a prompt, its bytecode."""
    try:
        return inspect.getsource(made)
    except (OSError, TypeError):
        return "".join(f"{each.__code__.co_code.hex()} {each.__code__.co_names} {_constants(each)}"
                       for each in functions)


def _constants(function: FunctionType) -> list[Any]:
    return [each for each in function.__code__.co_consts if isinstance(each, PLAIN)]


def _closure(function: FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty closure cell
            continue


def _voxels(values: Any) -> Iterator[str]:
    """Type, shape and content of a tensor or an array."""
    yield f"{values.dtype} {tuple(values.shape)}"
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    if isinstance(values, np.ndarray) and not values.dtype.hasobject:
        yield hashlib.sha256(np.ascontiguousarray(values).data).hexdigest()
