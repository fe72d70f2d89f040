"""From arrays with named axes to volumes: against the plain numpy of the whole array."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source
from tiler.sources.axes import CANONICAL, View


@st.composite
def views(draw):
    extra = draw(st.sets(st.sampled_from("tczs")))
    axes = "".join(draw(st.permutations(sorted(extra | {"y", "x"}))))
    sizes = tuple(draw(st.integers(1, 4)) for _ in axes)
    lengths = dict(zip(axes, sizes, strict=True))
    count = lengths.get("c", 1) * lengths.get("s", 1)
    channels = tuple(draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=4)))
    time = draw(st.none() | st.integers(0, lengths["t"] - 1)) if "t" in axes else None
    return View(axes, sizes, channels, time)


def whole(view, array):
    """The volume by transposing everything, and only then choosing."""
    missing = [axis for axis in CANONICAL if axis not in view.axes]
    full = array.reshape(array.shape + (1,) * len(missing))
    named = view.axes + "".join(missing)
    full = full.transpose([named.index(axis) for axis in CANONICAL])
    full = full if view.time is None else full[view.time:view.time + 1]
    t, c, s, z, y, x = full.shape
    return full.transpose(1, 2, 0, 3, 4, 5).reshape(c * s, t * z, y, x)[list(view.channels)]


@settings(deadline=None, max_examples=150)
@given(view=views(), data=st.data())
def test_a_box_is_that_part_of_the_whole_volume(view, data):
    array = np.arange(math.prod(view.sizes)).reshape(view.sizes)
    volume = whole(view, array)
    assert view.shape == volume.shape
    start = [data.draw(st.integers(0, size - 1)) for size in volume.shape[1:]]
    stop = [data.draw(st.integers(a + 1, size)) for a, size in zip(start, volume.shape[1:], strict=True)]
    box = Box.between(start, stop)
    fetched = []

    def fetch(index):
        fetched.append(array[index])
        return fetched[-1]

    np.testing.assert_array_equal(view.read(box, fetch), volume[(slice(None), *box.slices)])
    span = {axis: max(view.channels) - min(view.channels) + 1 for axis in "c"}
    if "s" not in view.axes:  # nothing is read that the box does not hold, but channels between the chosen ones
        assert sum(part.size for part in fetched) == box.voxels * span["c"]


def test_a_movie_without_z_is_read_in_one_piece():
    calls = []
    array = np.zeros((6, 4, 5))

    def fetch(index):
        calls.append(index)
        return array[index]

    View("tyx", (6, 4, 5), (0,)).read(Box.between((1, 0, 0), (5, 4, 5)), fetch)
    assert calls == [(slice(1, 5), slice(0, 4), slice(0, 5))]


@pytest.mark.parametrize(("shape", "axes"), [
    ((4, 5), ("y", "x")), ((3, 4, 5), ("z", "y", "x")), ((2, 3, 4, 5), ("z", "y", "x")),
    ((2, 2, 3, 4, 5), ("t", "z", "y", "x")), ((2, 4, 3), ("z", "y", "x")),
])
def test_axes_without_metadata_are_guessed_from_their_number(shape, axes):
    source = open_source(np.zeros(shape, np.uint8))
    assert source.calibration.axes == axes
    assert source.shape[0] == (shape[-4] if len(shape) > 3 else 1)


def test_time_is_folded_and_the_calibration_keeps_it():
    source = open_source(np.zeros((2, 3, 4, 5)), axes="tzyx")
    assert source.shape == (1, 6, 4, 5)
    assert source.calibration.sizes == (2, 3, 4, 5)
    assert open_source(np.zeros((2, 3, 4, 5)), axes="tzyx", time=1).calibration.axes == ("z", "y", "x")


@pytest.mark.parametrize(("options", "message"), [
    ({"axes": "zyx"}, r"has 4 axes, of shape \(2, 3, 4, 5\); got 3 names: 'zyx' \(axes=\)"),
    ({"axes": "czyw"}, "got 'czyw'"),
    ({"axes": "zzyx"}, "got 'zzyx'"),
    ({"axes": "tczx"}, "with y and x among them"),
    ({"channel": "2"}, r"has 2 channels, 0 to 1; got '2' \(channel=\)"),
    ({"channel": "-1"}, "got '-1'"),
    ({"channel": [0, 5]}, r"got \[0, 5\]"),
    ({"channel": "red"}, r"numbers such as 0 or 0,2, or their names, or all; got 'red' \(channel=\)$"),
    ({"channel": []}, "has 2 channels"),
    ({"time": 1}, "has 1 time points, 0 to 0; got 1"),
])
def test_wrong_choices_are_refused_in_one_line(options, message):
    with pytest.raises(SourceError, match=message):
        open_source(np.zeros((2, 3, 4, 5)), **options)


@pytest.mark.parametrize("channel", [None, "all", "0,1", [0, 1], (0, 1)])
def test_channels_may_be_given_in_several_ways(channel):
    assert open_source(np.zeros((2, 3, 4, 5)), channel=channel).shape[0] == 2


def test_one_channel_may_be_a_number():
    assert open_source(np.zeros((2, 3, 4, 5)), channel=1).view.channels == (1,)


class Named(np.ndarray):
    """An array with named dimensions, as xarray has them."""

    dims = ()


@pytest.mark.parametrize(("dims", "shape"), [
    (("z", "y", "x"), (1, 4, 20, 24)), (("y", "x", "z"), (1, 24, 4, 20)), (("channel", "row", "col"), (4, 1, 20, 24)),
    (("time", "y", "x"), (1, 4, 20, 24)), (("dim_0", "dim_1", "dim_2"), (1, 4, 20, 24)),
    (("a", "y", "x"), (1, 4, 20, 24)), ((), (1, 4, 20, 24))])
def test_the_dimensions_that_an_array_names(dims, shape, caplog):
    array = np.zeros((4, 20, 24), np.uint8).view(Named)
    array.dims = dims
    assert open_source(array).shape == shape
    assert ("are called a, y, x" in caplog.text) == (dims[:1] == ("a",))
