"""Voxels that are not finite, or would not be where the network computes."""

import numpy as np
import pytest

from tiler.errors import SourceError
from tiler.jobs.segment import finite


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e39])
def test_what_is_not_finite_in_float32_is_refused_or_zero(bad):
    values = np.array([1.0, bad, 3e38])
    with pytest.raises(SourceError, match="not finite in float32"):
        finite(values, "refuse", "a")
    np.testing.assert_array_equal(finite(values, "zero", "a"), [1, 0, 3e38])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "uint8"])
def test_what_is_finite_stays_as_it_is(dtype):
    values = np.array([0, 1, 200], dtype)
    assert finite(values, "refuse", "a") is values
