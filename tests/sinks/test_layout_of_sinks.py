"""From the volume to the stored array: against a transpose of the whole."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.errors import SinkError
from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.sinks.layout import Layout


def spec_of(axes, sizes, channels, channel_axis):
    shape = (channels, math.prod(sizes[:-2]), *sizes[-2:])
    return spec_with(shape, axes, sizes, channel_axis)


def spec_with(shape, axes, sizes, channel_axis):
    return OutputSpec(shape=shape, dtype=np.dtype(np.int64), calibration=Calibration.plain(axes, sizes),
                      classes=(), channel_axis=channel_axis, block=(1, 1, 1), chunk=(1, 1, 1))


@st.composite
def outputs(draw):
    axes = draw(st.sampled_from(["yx", "zyx", "tyx", "tzyx"]))
    sizes = tuple(draw(st.integers(1, 4)) for _ in axes)
    channels = draw(st.integers(1, 3))
    return spec_of(tuple(axes), sizes, channels, channels > 1 or draw(st.booleans()))


def whole(spec, array):
    """The stored array as a volume: c to the front, all of the rest before y and x folded."""
    if spec.channel_axis:
        array = np.moveaxis(array, 1 if spec.calibration.axes[0] == "t" else 0, 0)
    return array.reshape(spec.shape)


@settings(deadline=None, max_examples=150)
@given(spec=outputs(), data=st.data())
def test_a_box_is_that_part_of_the_whole(spec, data):
    layout = Layout.of(spec)
    array = np.arange(math.prod(spec.shape)).reshape(layout.shape)
    start = [data.draw(st.integers(0, size - 1)) for size in spec.shape[1:]]
    stop = [data.draw(st.integers(a + 1, size)) for a, size in zip(start, spec.shape[1:], strict=True)]
    box = Box.between(start, stop)
    expected = whole(spec, array)[(slice(None), *box.slices)]
    np.testing.assert_array_equal(layout.load(array, box), expected)
    empty = np.zeros_like(array)
    layout.store(empty, box, expected)
    rest = np.zeros(spec.shape, np.int64)
    rest[(slice(None), *box.slices)] = expected
    np.testing.assert_array_equal(whole(spec, empty), rest)


@pytest.mark.parametrize(("axes", "channel_axis", "stored"), [
    ("yx", False, "yx"), ("yx", True, "cyx"), ("zyx", True, "czyx"), ("tyx", False, "tyx"),
    ("tzyx", True, "tczyx"),
])
def test_axes_are_in_the_order_of_ngff(axes, channel_axis, stored):
    spec = spec_of(tuple(axes), (2,) * len(axes), 1, channel_axis)
    assert "".join(Layout.of(spec).axes) == stored


@pytest.mark.parametrize(("axes", "sizes", "shape"), [
    (("z", "y", "x"), (2, 3, 4), (1, 3, 3, 4)), (("z", "y", "x"), (2, 3, 4), (1, 2, 3, 5)),
    (("x", "y"), (3, 4), (1, 1, 3, 4)), (("y", "x"), (3, 4), (2, 1, 3, 4)),
])
def test_a_spec_that_contradicts_itself_is_refused(axes, sizes, shape):
    with pytest.raises(SinkError):
        Layout.of(spec_with(shape, axes, sizes, channel_axis=False))
