"""Conformance suite for sources: subclass it, define two fixtures, and pytest runs the tests.

>>> class TestMySource(SourceConformance):           # doctest: +SKIP
...     @pytest.fixture
...     def source(self, tmp_path): ...              # the source
...     @pytest.fixture
...     def expected(self): ...                      # all of its voxels, (c, z, y, x)
"""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.ports import Array, Source


class SourceConformance:
    """Tests for every `tiler.ports.Source`."""

    def test_it_is_a_source(self, source: Source) -> None:
        assert isinstance(source, Source)

    def test_shape_and_dtype_are_those_of_the_voxels(self, source: Source, expected: Array) -> None:
        assert source.shape == expected.shape
        assert source.dtype == expected.dtype
        assert source.dtype.isnative

    def test_calibration_describes_every_axis(self, source: Source) -> None:
        calibration = source.calibration
        lengths = {len(getattr(calibration, name)) for name in ("axes", "sizes", "scale", "units", "offset")}
        assert len(lengths) == 1
        assert calibration.axes[-2:] == ("y", "x")
        assert math.prod(calibration.sizes[:-2]) == source.shape[1]
        assert calibration.sizes[-2:] == source.shape[2:]

    def test_read_unit_has_three_lengths(self, source: Source) -> None:
        assert len(source.read_unit) == 3
        assert min(source.read_unit) >= 1

    def test_the_whole_volume(self, source: Source, expected: Array) -> None:
        _assert_equal(source.read(Box.of_shape(source.shape[1:])), expected)

    def test_any_box(self, source: Source, expected: Array) -> None:
        for box in random_boxes(source, 25):
            _assert_equal(source.read(box), expected[(slice(None), *box.slices)])

    def test_single_voxels_at_the_corners(self, source: Source, expected: Array) -> None:
        last = [size - 1 for size in source.shape[1:]]
        for corner in np.ndindex(2, 2, 2):
            start = [pick * end for pick, end in zip(corner, last, strict=True)]
            box = Box.between(start, [at + 1 for at in start])
            _assert_equal(source.read(box), expected[(slice(None), *box.slices)])

    def test_an_empty_box_is_refused(self, source: Source) -> None:
        refused(SourceError, lambda: source.read(Box.between((0, 0, 0), (0, 1, 1))))

    def test_a_box_beyond_the_volume_is_refused(self, source: Source) -> None:
        beyond = [size + 1 for size in source.shape[1:]]
        refused(SourceError, lambda: source.read(Box.of_shape(beyond)))
        refused(SourceError, lambda: source.read(Box.between((-1, 0, 0), (1, 1, 1))))

    def test_what_was_read_belongs_to_the_caller(self, source: Source, expected: Array) -> None:
        box = Box.of_shape(source.shape[1:])
        source.read(box)[...] = 0
        _assert_equal(source.read(box), expected)

    def test_a_pickled_copy_reads_the_same(self, source: Source, expected: Array) -> None:
        source.read(Box.of_shape((1, 1, 1)))
        copy = pickle.loads(pickle.dumps(source))
        assert (copy.name, copy.shape, copy.dtype) == (source.name, source.shape, source.dtype)
        _assert_equal(copy.read(Box.of_shape(copy.shape[1:])), expected)

    def test_threads_read_at_once(self, source: Source, expected: Array) -> None:
        boxes = list(random_boxes(source, 25))
        fresh = pickle.loads(pickle.dumps(source))
        with ThreadPoolExecutor(8) as pool:
            for box, found in zip(boxes, pool.map(fresh.read, boxes), strict=True):
                _assert_equal(found, expected[(slice(None), *box.slices)])

    def test_identity_is_json_and_stays(self, source: Source) -> None:
        first = source.identity
        source.read(Box.of_shape((1, 1, 1)))
        assert pickle.loads(pickle.dumps(source)).identity == source.identity == first
        assert first is None or json.loads(json.dumps(first)) == first


def random_boxes(source: Source, count: int) -> Iterator[Box]:
    """Yield boxes of at least one voxel inside a volume, the same in every run."""
    rng = np.random.default_rng(20150518)
    for _ in range(count):
        ends = [sorted(rng.choice(size + 1, 2, replace=False)) for size in source.shape[1:]]
        yield Box.between([low for low, _ in ends], [high for _, high in ends])


def refused(error: type[Exception], call: Callable[[], object]) -> str:
    """Check that a call is refused with an error of this type and return its one-line message."""
    try:
        call()
    except error as refusal:
        message = str(refusal)
    else:
        raise AssertionError(f"{error.__name__} was not raised")
    assert "\n" not in message
    return message


def _assert_equal(found: Array, expected: Array) -> None:
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)
