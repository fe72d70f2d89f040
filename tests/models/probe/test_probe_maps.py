"""Every index map against what torch computes: which inputs have a gradient."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tiler.models.probe.maps import Resample, Spread, Window

SIZE = 40


def touched(function, output: int) -> tuple[int, int] | None:
    """First and last input index on which one output index depends."""
    x = torch.rand(1, 1, SIZE, dtype=torch.float64, requires_grad=True)
    function(x)[0, 0, output].backward()
    found = x.grad[0, 0].nonzero().flatten()
    return (int(found[0]), int(found[-1])) if len(found) else None


@given(kernel=st.integers(1, 5), stride=st.integers(1, 4), padding=st.integers(0, 3), dilation=st.integers(1, 3),
       output=st.integers(0, 8))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_a_convolution_is_a_window(kernel, stride, padding, dilation, output):
    span = dilation * (kernel - 1)
    weight = torch.ones(1, 1, kernel, dtype=torch.float64)
    low, high = Window(stride, padding, span).back(output, output)
    assume(low >= 0 and high < SIZE)
    assert touched(lambda x: F.conv1d(x, weight, None, stride, padding, dilation), output) == (low, high)


@given(taps=st.integers(1, 6), stride=st.integers(1, 4), padding=st.integers(0, 2), dilation=st.integers(1, 3),
       output=st.integers(20, 30))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_a_transposed_convolution_is_a_spread(taps, stride, padding, dilation, output):
    weight = torch.ones(1, 1, taps, dtype=torch.float64)
    found = touched(lambda x: F.conv_transpose1d(x, weight, None, stride, padding, 0, 1, dilation), output)
    assert Spread(stride, padding, dilation, taps).back(output, output) == found


def test_a_spread_of_a_range_is_the_union_of_its_outputs():
    spread = Spread(stride=3, before=1, dilation=1, taps=2)  # every third output has no source at all
    for low in range(12):
        for high in range(low, low + 9):
            single = [s for o in range(low, high + 1) if (s := spread.back(o, o)) is not None]
            union = (min(s[0] for s in single), max(s[1] for s in single)) if single else None
            assert spread.back(low, high) == union


@pytest.mark.parametrize(("mode", "shift", "neighbours"), [
    ("nearest", Fraction(0), (0, 0)),
    ("nearest-exact", Fraction(1, 4), (0, 0)),
    ("linear", Fraction(1, 4) - Fraction(1, 2), (0, 1)),
])
def test_interpolation_by_two_is_a_resampling(mode, shift, neighbours):
    step = Resample(Fraction(1, 2), shift, *neighbours)
    for output in range(20, 30):
        assert touched(lambda x: F.interpolate(x, scale_factor=2, mode=mode), output) == step.back(output, output)
