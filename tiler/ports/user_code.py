"""Code of the user: a module of some dotted name, or a Python file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from tiler.errors import TilerError

Refusal = Callable[[str], TilerError]
"""Makes an error of a message."""


def imported(source: str, refusal: Refusal) -> ModuleType:
    """Import the module of that dotted name, or the Python file at that path."""
    if not source.endswith(".py"):
        return _module(f"cannot import {source}:", lambda: importlib.import_module(source), refusal)
    path = Path(source)
    if not path.is_file():
        raise refusal(f"there is no file {source}")
    return _module(f"{source} raised", lambda: _import_file(path.resolve()), refusal)


def _module(what: str, action: Callable[[], ModuleType], refusal: Refusal) -> ModuleType:
    found: ModuleType = guarded(what, action, refusal)
    return found


def _import_file(path: Path) -> ModuleType:
    """Import a file as a module, once per content; it may import modules from its own folder."""
    place = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"_tiler_code_{path.stem}_{place}_{file_hash(path)[:8]}"
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


def guarded(what: str, action: Callable[[], Any], refusal: Refusal) -> Any:
    """Run the user's code, and turn its errors into one line."""
    try:
        return action()
    except TilerError:
        raise
    except (Exception, SystemExit) as error:
        raise refusal(f"{what} {type(error).__name__}: {first_line(error)}") from error


def source_hash(module: Any) -> str | None:
    """SHA-256 of the file of a module, class or function; None if it has none."""
    try:
        source = inspect.getsourcefile(module)
    except TypeError:  # compiled into the interpreter
        return None
    return file_hash(Path(source)) if source else None


def file_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_line(error: BaseException) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or ["no message"])[0]
