"""Sets of arrays that one stage leaves for the next, wherever they lie."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from tiler.errors import SinkError
from tiler.stores.address import place_of
from tiler.stores.shelf import shelf_at

ARRAYS = {"sizes": np.arange(7), "plane": np.eye(3, dtype=np.uint8), "none": np.zeros((0, 2), np.int64)}


@pytest.fixture(params=["memory", "folder", "store"])
def place(request, tmp_path):
    if request.param == "store":
        return place_of(f"{request.getfixturevalue('root')}/shelf")
    return tmp_path / "shelf" if request.param == "folder" else None


def test_what_was_put_is_found_replaced_and_removed(place):
    shelf = shelf_at(place)
    shelf.put("components/3", {"sizes": np.zeros(1)})
    shelf.put("components/3", ARRAYS)
    shelf.put("components/30", {})
    found = shelf.get("components/3")
    assert set(found) == set(ARRAYS)
    assert len(shelf.get("components/30")) == 0
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    shelf.clear()
    with pytest.raises((KeyError, SinkError)):
        shelf.get("components/3")


def test_another_process_finds_it_unless_it_is_in_memory(tmp_path):
    shelf_at(tmp_path / "shelf").put("a", ARRAYS)
    again = pickle.loads(pickle.dumps(shelf_at(tmp_path / "shelf")))
    np.testing.assert_array_equal(again.get("a")["plane"], np.eye(3))
    with pytest.raises(SinkError, match="in memory cannot be seen by another process"):
        pickle.dumps(shelf_at(None))


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_bytes(b""),
                                    lambda path: path.write_bytes(path.read_bytes()[:40])])
def test_a_set_that_is_gone_or_damaged_names_the_way_out(tmp_path, damage):
    shelf = shelf_at(tmp_path / "shelf")
    shelf.put("components/3", ARRAYS)
    damage(tmp_path / "shelf" / "components" / "3.npz")
    with pytest.raises(SinkError, match=r"components/3\.npz.*overwrite="):
        shelf.get("components/3")
