"""How the chunks of a zarr are compressed is chosen by an option, and changes no voxel."""

from __future__ import annotations

import numpy as np
import pytest
import zarr

import tiler
from tiler.errors import PlanError, TilerError
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 3, (2, 60, 60), dtype=np.uint8)


def codec_of(path):
    found = zarr.open_group(path, mode="r")["0"].compressors
    return found[0] if found else None


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
@pytest.mark.parametrize(("compression", "name", "level"), [
    ("blosc", "Blosc", None), ("blosc:9", "Blosc", 9), ("zstd:7", "Zstd", 7), ("gzip", "G", None), ("gzip:1", "G", 1),
    (("zstd", 3), "Zstd", 3)])
def test_chunks_are_compressed_as_asked(tmp_path, ngff, compression, name, level):
    path = tiler.segment(VOLUME, PoolingNet(), tmp_path / "out.zarr", ngff=ngff, compression=compression)
    codec = codec_of(path)
    assert type(codec).__name__.startswith(name)
    assert level in (None, getattr(codec, "level", None), getattr(codec, "clevel", None))
    np.testing.assert_array_equal(tiler.open_volume(path)[0], tiler.segment(VOLUME, PoolingNet()))


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_chunks_need_not_be_compressed(tmp_path, ngff):
    path = tiler.segment(VOLUME, PoolingNet(), tmp_path / "out.zarr", ngff=ngff, compression="none")
    assert codec_of(path) is None


def test_by_default_zarr_chooses(tmp_path):
    path = tiler.segment(VOLUME, PoolingNet(), tmp_path / "out.zarr")
    assert type(codec_of(path)).__name__ == "ZstdCodec"


@pytest.mark.parametrize("wrong", ["lzma", "blosc:10", "gzip:x", "none:1", "zstd:1:2", "", 5, ("zstd", 1.5)], ids=str)
def test_others_are_refused_by_name(wrong):
    with pytest.raises(PlanError, match=r"is not a compression.*\(compression=\)"):
        tiler.plan(VOLUME, PoolingNet(), compression=wrong)


@pytest.mark.parametrize("output", [None, "out.tif", "out.npy"])
def test_it_is_for_zarr_alone(output, tmp_path):
    with pytest.raises(TilerError, match="compression="):
        tiler.plan(VOLUME, PoolingNet(), output and tmp_path / output, compression="blosc")


def test_a_run_goes_on_with_its_own_compression_alone(tmp_path):
    np.save(tmp_path / "in.npy", VOLUME)
    call = (tmp_path / "in.npy", PoolingNet(), tmp_path / "out.zarr")
    tiler.segment(*call, compression="gzip:3")
    tiler.segment(*call, resume=True)
    with pytest.raises(TilerError, match=r"compression was \['gzip', 3\], is now \['gzip', 4\]"):
        tiler.segment(*call, resume=True, compression="gzip:4")
