"""The canvas beyond the volume, against numpy's own padding."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.geometry import Box, Span
from tiler.geometry.mirrored import mirrored_indices
from tiler.jobs.read_mirrored import read_mirrored
from tiler.sources import open_source

EXAMPLES = settings(deadline=None, max_examples=200)


class Counting:
    """A source that counts how often it is read, and how much."""

    def __init__(self, source):
        self.source, self.reads = source, []
        self.shape, self.name = source.shape, source.name

    def read(self, box):
        self.reads.append(box)
        return self.source.read(box)


@EXAMPLES
@given(st.integers(1, 12), st.integers(0, 40), st.integers(0, 40))
def test_indices_equal_numpy_reflect_for_any_context(size, before, after):
    expected = np.pad(np.arange(size), (before, after), mode="reflect")
    np.testing.assert_array_equal(mirrored_indices(Span(-before, size + after), size), expected)


@EXAMPLES
@given(st.data())
def test_a_box_anywhere_is_read_once_and_equals_the_padded_volume(data):
    shape = [data.draw(st.integers(1, 6)) for _ in range(3)]
    volume = np.random.default_rng(0).integers(0, 255, (2, *shape), dtype=np.uint8)
    starts = [data.draw(st.integers(-15, size + 5)) for size in shape]
    box = Box.between(starts, [start + data.draw(st.integers(1, 12)) for start in starts])
    padded = np.pad(volume, [(0, 0), *[(40, 40)] * 3], mode="reflect")
    source = Counting(open_source(volume, axes="czyx"))
    np.testing.assert_array_equal(read_mirrored(source, box), padded[(slice(None), *box.shift((40,) * 3).slices)])
    assert len(source.reads) == 1
    assert Box.of_shape(shape).contains(source.reads[0])

