"""The user's own functions and factories, named ``file.py:function`` or ``package.module:function``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiler.errors import ModelError
from tiler.models.loading.user_code import first_line, import_source, source_hash


def located(name: str) -> str:
    """The same name with an absolute path, because a run may be resumed from another folder."""
    source, colon, attribute = name.rpartition(":")
    return f"{Path(source).resolve()}:{attribute}" if colon and source.endswith(".py") else name


def hash_of(source: str) -> str | None:
    """SHA-256 of a file, or of the file that a module was imported from."""
    found: str | None = source_hash(import_source(source))
    return found


def own_function(name: str, option: str) -> Callable[..., Any]:
    """Import the function that a user names.

    Parameters
    ----------
    name
        ``"file.py:function"`` or ``"package.module:function"``.
    option
        Which option names it, for messages: ``"loss"``.

    Raises
    ------
    ModelError
        If it cannot be imported, or is not a function.
    """
    source, _, attribute = name.rpartition(":")
    try:
        found = getattr(import_source(source), attribute, None)
    except ModelError as error:
        raise ModelError(*error.args, option=option) from error
    if not callable(found):
        raise ModelError(f"{Path(source).name} has no function {attribute!r}", option=option)
    return guarded_function(found, Path(name).name, option)


def guarded_function(function: Callable[..., Any], title: str, option: str) -> Callable[..., Any]:
    """The same function, whose errors become one line."""
    def call(*arguments: Any) -> Any:
        try:
            return function(*arguments)
        except Exception as error:
            raise ModelError(f"{title} raised {type(error).__name__}: {first_line(error)}", option=option) from error
    return call
