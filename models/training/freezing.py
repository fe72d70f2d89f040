"""Parts of a network that training does not change."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from torch import nn

from tiler.errors import PlanError


def freeze(module: nn.Module, prefixes: Sequence[str]) -> None:
    """Exclude every parameter whose name begins with one of the prefixes from training.

    Parameters
    ----------
    module
        The network, whose parameters are marked in place.
    prefixes
        Whole parts of names: ``"enc"`` matches ``enc.0.0.weight``, not ``encoder.weight``.

    Raises
    ------
    PlanError
        If a prefix matches no parameter, or no parameter is left to train.
    """
    names = [name for name, _ in module.named_parameters()]
    for prefix in prefixes:
        if not any(begins(name, prefix) for name in names):
            known = list(dict.fromkeys(name.partition(".")[0] for name in names))
            near = difflib.get_close_matches(prefix, known, n=1) or known
            raise PlanError(f"no parameter's name begins with {prefix!r}: there are {', '.join(near)}", option="freeze")
    for name, parameter in module.named_parameters():
        if any(begins(name, prefix) for prefix in prefixes):
            parameter.requires_grad_(False)
    if not any(parameter.requires_grad for parameter in module.parameters()):
        raise PlanError("every parameter of the network is frozen: leave some to train", option="freeze")


def begins(name: str, prefix: str) -> bool:
    """Whether a prefix is the name itself, or ends at one of its dots."""
    return f"{name}.".startswith(f"{prefix.rstrip('.')}.")


def hold_still(module: nn.Module, prefixes: Sequence[str]) -> None:
    """Put the frozen parts into evaluation mode, so that their batch norm keeps its running statistics."""
    for name, part in module.named_modules():
        if name and any(begins(name, prefix) for prefix in prefixes):
            part.eval()
