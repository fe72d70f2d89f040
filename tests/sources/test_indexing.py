"""An opened volume is sliced as numpy slices an array."""

from __future__ import annotations

import numpy as np
import pytest

import tiler
from tiler.errors import SourceError

ARRAY = np.random.default_rng(0).integers(0, 255, (2, 3, 14, 11), dtype=np.uint8)


@pytest.fixture
def volume():
    return tiler.open_volume(ARRAY)


@pytest.mark.parametrize("index", [
    0, -1, np.s_[0, 1], np.s_[..., 3], np.s_[:, ::2, -1, 5:2:-1], np.s_[1, -1, ..., ::3], np.s_[0, 5:2],
    np.s_[0, 0, 1, 2], np.s_[...], np.s_[::-1], np.s_[np.int64(1), :, :100]], ids=str)
def test_an_index_gives_what_numpy_gives(volume, index):
    np.testing.assert_array_equal(volume[index], ARRAY[index])
    assert volume[index].shape == ARRAY[index].shape


def test_the_whole_volume_is_an_array(volume):
    np.testing.assert_array_equal(np.asarray(volume), ARRAY)
    assert np.asarray(volume, np.float32).dtype == np.float32
    with pytest.raises(ValueError, match="cannot be avoided"):
        volume.__array__(copy=False)


def test_a_part_is_read_by_its_smallest_box(volume, monkeypatch):
    seen = []
    monkeypatch.setattr(type(volume), "read", lambda self, box: seen.append(box) or ARRAY[(slice(None), *box.slices)])
    volume[0, 1, 2:7:2, -3:]
    assert [(box.start, box.stop) for box in seen] == [((1, 2, 8), (2, 7, 11))]


def test_a_loop_ends(volume):
    assert len(list(volume)) == 2


@pytest.mark.parametrize("index", ["a", [1, 2], 1.5, True, np.s_[0, 0, 0, 0, 0], np.s_[..., ...], None], ids=str)
def test_other_indices_are_refused(volume, index):
    with pytest.raises(SourceError, match="indexed by up to 4 numbers and slices"):
        volume[index]
