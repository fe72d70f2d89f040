"""Parsers of options that name something outside: volumes, files of weights, functions."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tiler.errors import PlanError


@dataclass(frozen=True, slots=True)
class Volume:
    """A path or an address, made absolute, or an array."""

    def __call__(self, value: Any, option: str) -> Any:
        if isinstance(value, (str, os.PathLike)) and str(value):
            text = os.fspath(value)
            return text if "://" in str(text) else os.path.abspath(text)
        if not (hasattr(value, "shape") and hasattr(value, "dtype")):
            raise PlanError(f"{value!r} is neither a path nor an array", option=option)
        return value


@dataclass(frozen=True, slots=True)
class Files:
    """The path of a file or folder, a name that the model understands, or several files, with commas between them."""

    def __call__(self, value: Any, option: str) -> str | tuple[str, ...]:
        if isinstance(value, (str, os.PathLike)):
            text = os.fspath(value)
            parts = text.split(",") if "," in text and not os.path.exists(text) else [text]
        elif isinstance(value, Sequence) and all(isinstance(item, (str, os.PathLike)) for item in value):
            parts = [os.fspath(item) for item in value]
        else:
            parts = []
        if not parts or not all(isinstance(part, str) and part for part in parts):
            raise PlanError(f"{value!r} is neither a path, a name nor a list of paths", option=option)
        parts = [os.path.abspath(part) if _is_place(part) else part for part in parts]
        return parts[0] if len(parts) == 1 else tuple(parts)


def _is_place(text: str) -> bool:
    """Whether a text is a file or folder, which a run that goes on elsewhere must find again, and not a plain name."""
    return os.path.isdir(text) or (os.path.exists(text) and os.path.splitext(text)[1] != "")


@dataclass(frozen=True, slots=True)
class Function:
    """A function, or its name: ``module:function`` or ``file.py:function``, whose file becomes absolute."""

    def __call__(self, value: Any, option: str) -> str | Callable[..., Any]:
        if callable(value) and not isinstance(value, type):
            found: Callable[..., Any] = value
            return found
        source, colon, name = value.rpartition(":") if isinstance(value, str) else ("", "", "")
        if not (source and colon and name.isidentifier()):
            raise PlanError(f"{value!r} is not a function: give module:function or file.py:function", option=option)
        return f"{os.path.abspath(source)}:{name}" if source.endswith(".py") else value
