"""One output of a network that returns several: ``returns="out"``, ``returns=0``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from tiler.errors import ModelError


class Returned(nn.Module):
    """A network that returns one of its several outputs.

    Parameters
    ----------
    network
        Network that returns a dictionary, a tuple or a list.
    returns
        Key or number of the output; ``"a.0"`` is the first of those under ``"a"``.
    """

    def __init__(self, network: nn.Module, returns: str) -> None:
        super().__init__()
        self.network, self.returns = network, returns

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return chosen_output(self.network(x), self.returns)


def chosen_output(result: Any, returns: str) -> torch.Tensor:
    """The output of that name or number.

    Raises
    ------
    ModelError
        If the network lacks that output; the message names its outputs.
    """
    found = result
    for part in returns.split("."):
        found = _item(found, part, returns)
    if not isinstance(found, torch.Tensor):
        raise ModelError(f"output {returns} of the network is {outputs_of(found)}: name one of them as {returns}.NAME",
                         option="returns")
    return found


def _item(outputs: Any, part: str, returns: str) -> Any:
    if isinstance(outputs, Mapping) and part in outputs:
        return outputs[part]
    listed = isinstance(outputs, Sequence) and not isinstance(outputs, str)
    if listed and part.isdecimal() and int(part) < len(outputs):
        return outputs[int(part)]
    raise ModelError(f"the network has no output {returns!r}: it returns {outputs_of(outputs)}", option="returns")


def outputs_of(result: Any) -> str:
    """Describe the outputs of a network: ``a dictionary of out, aux``."""
    if isinstance(result, Mapping):
        return f"a dictionary of {', '.join(map(str, result))}"
    if isinstance(result, (tuple, list)):
        return f"a {type(result).__name__} of {len(result)} outputs, 0 to {len(result) - 1}"
    return "one tensor" if isinstance(result, torch.Tensor) else f"an object of type {type(result).__name__}"


def with_output(module: nn.Module, returns: str | None) -> nn.Module:
    """The network itself, or the network with only one of its outputs."""
    return module if returns is None else Returned(module, returns)
