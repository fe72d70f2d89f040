"""The user's own Python, run to get a network out of it."""

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
    """The network that ``source:attribute`` is or gives, called with the arguments where there are any.

    Raises
    ------
    ModelError
        If there is no such thing, if it raises, or if it gives anything but a module.
    """
    made = getattr(import_source(source), attribute, None)
    name = f"{source}:{attribute}"
    if made is None:
        raise ModelError(f"{source} has no {attribute!r}: name the function or class that builds the network "
                         "(--model)")
    if not isinstance(made, nn.Module):
        made = guarded(f"{name} raised", partial(made, **(arguments or {}))) if callable(made) else made
    elif arguments:
        raise ModelError(f"{name} is a module that is built already, and takes no {', '.join(arguments)} (--model-arg)")
    if not isinstance(made, nn.Module):
        raise ModelError(f"{name} gives a {type(made).__name__}, a torch.nn.Module is needed (--model)")
    return made


def import_source(source: str) -> ModuleType:
    """The module of that dotted name, or the Python file of that path."""
    if not source.endswith(".py"):
        return guarded(f"cannot import {source}:", lambda: importlib.import_module(source))
    path = Path(source)
    if not path.is_file():
        raise ModelError(f"there is no file {source} (--model)")
    return guarded(f"{source} raised", lambda: _import_file(path.resolve()))


def _import_file(path: Path) -> ModuleType:
    """A file as a module of its own name, imported once per content; it may import its neighbours."""
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
    """Run the user's code; what it raises becomes one line."""
    try:
        return action()
    except ModelError:
        raise
    except (Exception, SystemExit) as error:
        raise ModelError(f"{what} {type(error).__name__}: {first_line(error)} (--model)") from error


def source_hash(module: ModuleType) -> str | None:
    """SHA-256 of the file that a module was read from; None where there is none."""
    try:
        source = inspect.getsourcefile(module)
    except TypeError:  # compiled into the interpreter
        return None
    return file_hash(Path(source)) if source else None


def first_line(error: BaseException) -> str:
    """Of what an error says."""
    return (str(error).strip().splitlines() or ["no message"])[0]
