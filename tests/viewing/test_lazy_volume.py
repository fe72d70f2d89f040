"""A volume as a lazy array selects as numpy does, reads no more than that, and finds its coarser levels."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

import tiler
from tiler.ports import Source
from tiler.viewing.lazy import LazyVolume
from tiler.viewing.levels import attributes_of, open_levels

VALUES = np.arange(3 * 4 * 5 * 6, dtype=np.uint16).reshape(3, 4, 5, 6)


@dataclass
class Counting:
    """A source that counts the voxels it reads."""

    inner: Source
    read_voxels: int = 0
    calibration: object = field(init=False)

    def __post_init__(self):
        self.calibration = self.inner.calibration

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def read(self, box):
        self.read_voxels += box.voxels
        return self.inner.read(box)


def lazily(values, axes):
    source = Counting(tiler.open_volume(values, axes=axes))
    return source, LazyVolume.of(source)


def index_of(size):
    bound = st.one_of(st.none(), st.integers(-size - 2, size + 2))
    return st.one_of(st.integers(-size, size - 1),
                     st.builds(slice, bound, bound, st.one_of(st.none(), st.integers(1, 3))))


@settings(max_examples=60)
@given(st.data(), st.integers(1, 4))
def test_it_selects_as_numpy_does(data, ndim):
    if ndim == 1:
        ndim = 4
    values, axes = VALUES[(0,) * (4 - ndim)], "tzyx"[4 - ndim:]
    _, lazy = lazily(values, axes)
    key = tuple(data.draw(index_of(size)) for size in values.shape[:data.draw(st.integers(0, ndim))])
    if data.draw(st.booleans()):
        key = (*key, ...)
    np.testing.assert_array_equal(lazy[key], values[key])


def test_only_what_a_slice_covers_is_read():
    source, lazy = lazily(VALUES, "tzyx")
    assert lazy[2, 1:3, 4, ::2].shape == (2, 3)
    assert source.read_voxels == 2 * 1 * 6
    assert (lazy.shape, lazy.ndim, lazy.size, len(lazy), lazy.dtype) == ((3, 4, 5, 6), 4, 360, 3, np.uint16)


def test_it_is_an_array_for_numpy_in_the_type_that_is_wanted():
    _, lazy = lazily(VALUES, "tzyx")
    np.testing.assert_array_equal(np.asarray(lazy.astype(np.float32)), VALUES.astype(np.float32))
    assert lazy.astype("float32")[0].dtype == np.float32


@pytest.mark.parametrize("key", [(0, 0, 0, 0, 0), (0, 4), (-4,), (slice(None, None, -1),)])
def test_an_index_that_numpy_or_a_source_does_not_know_is_refused(key):
    with pytest.raises(IndexError):
        lazily(VALUES, "tzyx")[1][key]


def test_what_lies_beyond_the_last_voxel_repeats_it():
    _, lazy = lazily(VALUES[0], "zyx")
    longer = replace(lazy, shape=(4, 6, 7))
    np.testing.assert_array_equal(longer[:], np.pad(VALUES[0], ((0, 0), (0, 1), (0, 1)), mode="edge"))
    np.testing.assert_array_equal(longer[1, 5:6, 6], VALUES[0, 1, 4:, 5])


def write_image(path, shapes):
    group = zarr.create_group(path, zarr_format=3)
    datasets = []
    for number, shape in enumerate(shapes):
        group.create_array(str(number), shape=shape, dtype="uint8", chunks=shape)[:] = number + 1
        datasets.append({"path": str(number), "coordinateTransformations": [{"type": "scale", "scale": [1.0, 1.0]}]})
    axes = [{"name": name, "type": "space"} for name in "yx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}


def test_levels_are_found_whether_they_round_up_or_down(tmp_path):
    write_image(tmp_path / "a.zarr", [(101, 40), (51, 20), (25, 10)])
    levels = open_levels(tmp_path / "a.zarr", 0)
    assert [(level.factors, level.array.shape) for level in levels] == [
        ((1, 1), (101, 40)), ((2, 2), (51, 20)), ((4, 4), (26, 10))]
    assert [int(np.asarray(level.array).max()) for level in levels] == [1, 2, 3]


def test_levels_that_are_no_whole_multiples_or_are_missing_are_left_out(tmp_path):
    write_image(tmp_path / "a.zarr", [(100, 40), (67, 27), (50, 20), (25, 10)])
    (tmp_path / "a.zarr" / "3" / "zarr.json").unlink()
    assert [level.factors for level in open_levels(tmp_path / "a.zarr", 0)] == [(1, 1), (2, 2)]


def test_what_is_no_group_has_one_level_and_no_attributes(tmp_path):
    np.save(tmp_path / "a.npy", VALUES[0])
    for source in (VALUES[0], tmp_path / "a.npy"):
        assert [level.factors for level in open_levels(source, 0)] == [(1, 1, 1)]
        assert attributes_of(source) == {}
    (tmp_path / "folder").mkdir()
    assert attributes_of(tmp_path / "folder") == {}
