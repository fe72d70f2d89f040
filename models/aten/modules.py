"""Modules and TorchScript modules alike: copies without data, names of layers."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn


@contextmanager
def quiet() -> Iterator[None]:
    """Silence torch's warnings about deprecated TorchScript and about unused gradients."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def is_script(module: nn.Module) -> bool:
    return isinstance(module, torch.jit.ScriptModule)


def on_meta(module: nn.Module) -> nn.Module:
    """A copy without data, in evaluation mode: its forward passes cost nothing and give shapes."""
    if is_script(module):
        with quiet():
            file = io.BytesIO()
            torch.jit.save(module, file)
            file.seek(0)
            return cast(nn.Module, torch.jit.load(file, map_location="meta")).eval()
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        memo[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, memo).eval()


class LayerNames:
    """Tells which layer is running: from hooks if the module allows them, else from the parameters in use."""

    def __init__(self, module: nn.Module) -> None:
        self._stack: list[str] = []
        self._latest = ""
        self._of_parameter: dict[int, str] = {}
        self._hooks: list[Any] = []
        for path, layer in module.named_modules():
            name = _layer_name(path, layer)
            self._of_parameter |= {id(p): name for p in layer.parameters(recurse=False)}
            if not is_script(layer):
                self._hooks.append(layer.register_forward_pre_hook(lambda *_, name=name: self._stack.append(name)))
                self._hooks.append(layer.register_forward_hook(lambda *_: self._pop()))
        self._script = is_script(module)

    def _pop(self) -> None:
        self._stack.pop()

    def current(self, tensors: Sequence[torch.Tensor]) -> str:
        owners = [name for t in tensors if (name := self._of_parameter.get(id(t)))]
        self._latest = owners[0] if owners else self._latest
        if owners or not self._script:
            return owners[0] if owners else self._stack[-1] if self._stack else "the network"
        return f"after {self._latest}" if self._latest else "the network"

    def remove(self) -> None:
        for hook in self._hooks:
            hook.remove()


def _layer_name(path: str, layer: nn.Module) -> str:
    kind = getattr(layer, "original_name", type(layer).__name__)
    return f"{path} ({kind})" if path else f"forward of {kind}"
