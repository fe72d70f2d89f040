"""What lies beside an output, and what is never deleted with it."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

import tiler
from tiler.errors import SinkError
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(1, 250, (2, 20, 24), dtype=np.uint8)


@pytest.mark.parametrize("name", ["out.zarr", "out.tif", "out.npy", "out.n5"])
@pytest.mark.parametrize("ending", ["", ".partial", ".replaced"])
def test_a_folder_of_somebody_else_is_never_deleted(tmp_path, name, ending):
    folder = tmp_path / f"{name}{ending}"
    folder.mkdir()
    (folder / "thesis.txt").write_text("the only copy")
    with pytest.raises(SinkError, match=r"was not written by tiler, so overwrite=True does not delete it.*\(output=\)"):
        tiler.segment(VOLUME, PoolingNet(), tmp_path / name, overwrite=True)
    assert (folder / "thesis.txt").read_text() == "the only copy"


def test_a_zarr_of_somebody_else_is_never_deleted(tmp_path):
    array = zarr.create_array(tmp_path / "out.zarr", shape=(3,), dtype="u1")
    array[:] = 7
    with pytest.raises(SinkError, match="was not written by tiler"):
        tiler.segment(VOLUME, PoolingNet(), tmp_path / "out.zarr", overwrite=True)
    np.testing.assert_array_equal(array[:], 7)


@pytest.mark.parametrize("name", ["out.zarr", "out.n5", "out.npy"])
def test_an_output_of_tiler_is_replaced_also_without_its_journal(tmp_path, name):
    tiler.segment(VOLUME, PoolingNet(), tmp_path / name)
    (tmp_path / f"{name}.journal").unlink()
    tiler.segment(VOLUME, PoolingNet(), tmp_path / name, overwrite=True)
    (tmp_path / "empty.zarr").mkdir()
    tiler.segment(VOLUME, PoolingNet(), tmp_path / "empty.zarr", overwrite=True)
