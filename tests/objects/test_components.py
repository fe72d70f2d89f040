"""Objects made block by block are those of the whole volume, numbers included."""

from __future__ import annotations

import collections
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage
from stages import objects_of

from tiler.errors import BlockFailed, PlanError
from tiler.objects import groups
from tiler.objects.connectivity import REACH, Connectivity


def expected(labels, neighbours, min_size=0):
    """Label by label on the whole volume, and by sections where objects are of one; numbered by their first voxel."""
    structure = ndimage.generate_binary_structure(3, REACH[neighbours])
    if neighbours in (4, 8):
        structure[[0, 2]] = False
    ids = np.zeros(labels.shape, np.int64)
    for value in range(1, int(labels.max(initial=0)) + 1):
        found, _ = ndimage.label(labels == value, structure)
        ids[found > 0] = found[found > 0] + ids.max()
    present, first, inverse, sizes = np.unique(ids, return_index=True, return_inverse=True, return_counts=True)
    kept = (present > 0) & (sizes >= min_size)
    numbers = np.zeros(len(present), np.int64)
    numbers[np.flatnonzero(kept)[np.argsort(first[kept])]] = np.arange(1, kept.sum() + 1)
    return numbers[inverse].reshape(labels.shape)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_the_blocks_the_objects_are_those_of_the_whole_volume(data):
    shape = tuple(data.draw(st.integers(1, 9)) for _ in range(3))
    block = tuple(data.draw(st.integers(1, size)) for size in shape)
    seed, kinds = data.draw(st.integers(0, 999)), data.draw(st.integers(1, 3))
    random = np.random.default_rng(seed)
    labels = random.integers(1, kinds + 1, shape, np.uint8) * (random.random(shape) < random.random())
    neighbours, min_size = data.draw(st.sampled_from(sorted(REACH))), data.draw(st.integers(0, 4))
    found, count = objects_of(labels, block, neighbours, min_size)
    np.testing.assert_array_equal(found, expected(labels, neighbours, min_size))
    assert count == found.max(initial=0)


@pytest.mark.parametrize("neighbours", sorted(REACH))
def test_executors_and_shelves_on_disk_change_nothing(tmp_path, neighbours):
    labels = (np.random.default_rng(3).random((7, 30, 23)) < 0.4).astype(np.uint8)
    found, _ = objects_of(labels, (2, 9, 8), neighbours, 3, executor="threads", place=tmp_path / "shelf")
    np.testing.assert_array_equal(found, expected(labels, neighbours, 3))


def linked(labels, least, min_size):
    """Section by section on the whole volume, object by object in plain Python."""
    ids = expected(labels, 4)
    sizes, firsts = np.bincount(ids.ravel()), {i: np.flatnonzero(ids == i)[0] for i in range(1, ids.max() + 1)}
    name = dict(zip(firsts, firsts, strict=True))
    for above, below in itertools.pairwise(ids):
        shared = collections.Counter((a, b) for a, b in zip(above.ravel(), below.ravel(), strict=True) if a and b
                                     and labels.ravel()[firsts[a]] == labels.ravel()[firsts[b]])
        for (a, b), n in shared.items():
            best_below = max((m, -firsts[y]) for (x, y), m in shared.items() if x == a) == (n, -firsts[b])
            best_above = max((m, -firsts[x]) for (x, y), m in shared.items() if y == b) == (n, -firsts[a])
            if best_below and best_above and n >= least * (sizes[a] + sizes[b] - n):
                name[b] = name[a]
    chains = collections.Counter()
    for number, chain in name.items():
        chains[chain] += sizes[number]
    kept = [chain for chain in sorted(chains, key=firsts.get) if chains[chain] >= min_size]
    lookup = np.array([0, *(kept.index(name[i]) + 1 if name[i] in kept else 0 for i in sorted(firsts))])
    return lookup[ids]


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_sections_are_linked_as_in_the_whole_volume(data):
    shape = tuple(data.draw(st.integers(1, 8)) for _ in range(3))
    block = tuple(data.draw(st.integers(1, size)) for size in shape)
    random = np.random.default_rng(data.draw(st.integers(0, 999)))
    labels = random.integers(1, 3, shape, np.uint8) * (random.random(shape) < random.random())
    least, min_size = data.draw(st.sampled_from([0.0, 0.25, 0.5])), data.draw(st.integers(0, 4))
    found, _ = objects_of(labels, block, 4, min_size, link=least)
    np.testing.assert_array_equal(found, linked(labels, least, min_size))


def test_a_snake_through_all_blocks_is_one_object():
    labels = np.zeros((1, 9, 9), np.uint8)
    labels[0, ::2] = 1
    labels[0, 1::4, -1] = labels[0, 3::4, 0] = 1
    found, count = objects_of(labels, (1, 2, 2), 6)
    assert count == 1
    np.testing.assert_array_equal(found, labels)


def test_large_tables_lie_in_files(monkeypatch):
    monkeypatch.setattr(groups.roomy, "__defaults__", (8,))
    assert isinstance(groups.roomy(2), np.memmap)
    labels = (np.random.default_rng(3).random((4, 20, 20)) < 0.4).astype(np.uint8)
    found, _ = objects_of(labels, (2, 6, 5), 26, 2)
    np.testing.assert_array_equal(found, expected(labels, 26, 2))


def test_more_objects_than_the_type_counts_are_refused_before_any_is_written():
    labels = np.zeros((1, 30, 30), np.uint8)
    labels[0, ::2, ::2] = 1
    with pytest.raises(BlockFailed, match="there are 450 objects, uint8 counts to 255: use a larger dtype= or"):
        objects_of(np.concatenate([labels, labels]), (1, 30, 30), 4, dtype="uint8")


def test_other_numbers_of_neighbours_are_refused():
    with pytest.raises(PlanError, match="4 or 8 neighbours in its section, or 6, 18 or 26 in the volume; got 5"):
        Connectivity(5)
