"""Run the user's own Python code to obtain a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any

from torch import nn

from tiler.errors import ModelError
from tiler.ports import user_code as code
from tiler.ports.user_code import first_line, imported, source_hash

__all__ = ["call_factory", "first_line", "guarded", "import_source", "source_hash"]


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
    return imported(source, _refusal)


def guarded(what: str, action: Callable[[], Any]) -> Any:
    """Run the user's code, and turn its errors into one line."""
    return code.guarded(what, action, _refusal)


def _refusal(text: str) -> ModelError:
    return ModelError(text, option="model")
