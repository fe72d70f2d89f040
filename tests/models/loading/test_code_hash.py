"""Networks that compute different things have different identities, in every process the same ones."""

from __future__ import annotations

import copy
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from tiler.models.loading.code_hash import architecture_hash


def scaled(gain):
    """A network with a number in the closure of its code."""

    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 1, 3)

        def forward(self, x):
            return gain * self.conv(x)

    return Scaled()


class Acting(nn.Module):
    """A network with anything as an attribute."""

    def __init__(self, act):
        super().__init__()
        self.conv, self.act = nn.Conv2d(1, 1, 3), act

    def forward(self, x):
        return self.act(self.conv(x))


def times(gain):
    return lambda x: gain * x


def hooked(gain):
    module = Acting(None)
    module.register_forward_hook(lambda module, given, result: gain * result)
    return module


class Settings:
    def __init__(self, gain):
        self.gain, self.itself = gain, self


@pytest.mark.parametrize("make", [
    scaled, hooked,
    lambda gain: Acting(times(gain)),
    lambda gain: Acting(partial(torch.mul, gain)),
    lambda gain: Acting([gain]), lambda gain: Acting({"gain": (gain, 1)}), lambda gain: Acting({gain, 7}),
    lambda gain: Acting(np.full(3, gain)), lambda gain: Acting(torch.full((3,), gain)),
    lambda gain: Acting(lambda x, gain=gain: gain * x),
    lambda gain: Acting(Settings(gain)), lambda gain: Acting(times(times(gain))),
    lambda gain: Acting([torch.relu, torch.tanh][int(gain) - 2]),
], ids=["closure", "hook", "function", "partial", "list", "dict", "set", "array", "tensor", "default", "object",
        "closure in a closure", "builtin"])
def test_what_a_network_computes_with_is_in_its_identity(make):
    two, three = make(2.0), make(3.0)
    three.load_state_dict(two.state_dict())
    assert architecture_hash(two) == architecture_hash(make(2.0)) == architecture_hash(copy.deepcopy(two))
    assert architecture_hash(two) != architecture_hash(three)


def test_values_are_not_in_it():
    assert architecture_hash(nn.Conv2d(1, 2, 3)) == architecture_hash(nn.Conv2d(1, 2, 3).eval())
    assert architecture_hash(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU())) != architecture_hash(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh()))


def test_it_is_the_same_in_another_process():
    code = ("import test_code_hash as t; from tiler.models.loading.code_hash import architecture_hash;"
            "print(architecture_hash(t.scaled(2.0)), architecture_hash(t.Acting({'a', 'b', 'c'})))")
    told = subprocess.run([sys.executable, "-c", code], cwd=__file__.rpartition("/")[0], capture_output=True, text=True,
                          check=True, env={"PYTHONHASHSEED": "7"}).stdout.split()
    assert told == [architecture_hash(scaled(2.0)), architecture_hash(Acting({"a", "b", "c"}))]
