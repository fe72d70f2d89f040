"""Run the user's own Python code to obtain a network."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from tiler.errors import ModelError
from tiler.models.loading.weights import file_hash


def call_factory(source: str, attribute: str, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The network that ``source:attribute`` is or returns, called with the arguments if there are any.

    Raises
    ------
    ModelError
        If the attribute does not exist, raises, or returns anything but a module.
    """
    made = getattr(import_source(source), attribute, None)
    name = f"{source}:{attribute}"
    if made is None:
        raise ModelError(f"{source} has no {attribute!r}: name the function or class that builds the network",
                         option="model")
    if not isinstance(made, nn.Module):
        made = guarded(f"{name} raised", partial(made, **(arguments or {}))) if callable(made) else made
    elif arguments:
        raise ModelError(f"{name} is a module that is built already, and takes no {', '.join(arguments)}",
                         option="model_args")
    if not isinstance(made, nn.Module):
        raise ModelError(f"{name} gives a {type(made).__name__}, a torch.nn.Module is needed", option="model")
    return made


def import_source(source: str) -> ModuleType:
    """Import the module of that dotted name, or the Python file at that path."""
    if not source.endswith(".py"):
        return guarded(f"cannot import {source}:", lambda: importlib.import_module(source))
    path = Path(source)
    if not path.is_file():
        raise ModelError(f"there is no file {source}", option="model")
    return guarded(f"{source} raised", lambda: _import_file(path.resolve()))


def _import_file(path: Path) -> ModuleType:
    """Import a file as a module, once per content; it may import modules from its own folder."""
    name = f"_tiler_model_{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}_{file_hash(path)[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    finally:
        sys.path.remove(str(path.parent))
    return module


def guarded(what: str, action: Callable[[], Any]) -> Any:
    """Run the user's code, and turn its errors into one line."""
    try:
        return action()
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{what} {type(error).__name__}: {first_line(error)}", option="model") from error


def source_hash(module: ModuleType) -> str | None:
    """SHA-256 of a module's file; None if it has none."""
    try:
        source = inspect.getsourcefile(module)
    except TypeError:  # compiled into the interpreter
        return None
    return file_hash(Path(source)) if source else None


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or ["no message"])[0]
