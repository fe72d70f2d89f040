"""How an output is stored is chosen by options that change no voxel, and refused where a format has no such choice."""

from __future__ import annotations

import json
from functools import cache

import h5py
import numpy as np
import pytest
import tensorstore
import tifffile
import torch
import zarr

import tiler
from tiler.errors import TilerError
from tiler.ports import KINDS
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 3, (4, 150, 300), dtype=np.uint8)


@pytest.fixture(scope="module")
def opened():
    """A small network, opened once for each kind of result."""
    torch.manual_seed(0)
    net = torch.nn.Conv2d(1, 2, 3, padding=1).eval()
    return cache(lambda kind: tiler.open_model(net, kind=kind))


@pytest.fixture(scope="module")
def make(opened):
    """Make an output, and show that it holds what an array in memory does."""
    expected = cache(lambda kind: tiler.segment(VOLUME, opened(kind)))

    def made(path, *, kind="labels", **options):
        tiler.segment(VOLUME, opened(kind), path, **options)
        stored = np.asarray(tiler.open_volume(path))
        np.testing.assert_array_equal(stored.reshape(expected(kind).shape), expected(kind))
        assert tiler.check(path, source=VOLUME, model=opened(kind), windows=0).sound
        return path

    return made


@pytest.mark.parametrize(("options", "chunks", "shards"), [
    ({}, (1, 128, 256), None),
    ({"chunk": "2x64x32"}, (2, 64, 32), None),
    ({"chunk": 64}, (1, 64, 64), None),
    ({"chunk": (1, 40, 52)}, (1, 40, 52), None),
    ({"chunk": "1x32x32", "shard": "2x64x128"}, (1, 32, 32), (2, 64, 128)),
    ({"shard": "2x64x128"}, (2, 64, 128), (2, 64, 128)),
    ({"chunk": "1x64x64", "block": "2x64x128"}, (1, 64, 64), None),
    ({"chunk": "8x512x512"}, (8, 512, 512), None)], ids=str)
def test_chunks_and_shards_of_a_zarr(tmp_path, make, options, chunks, shards):
    array = zarr.open_group(make(tmp_path / "out.zarr", **options), mode="r")["0"]
    assert array.chunks == chunks
    assert array.shards == shards


def test_chunks_of_other_formats(tmp_path, make):
    with h5py.File(make(tmp_path / "out.h5", chunk="2x64x32"), "r") as file:
        assert file[KINDS["labels"].dataset].chunks == (2, 64, 32)
    make(tmp_path / "out.n5", chunk="2x64x32", compression="blosc:5")
    said = json.loads((tmp_path / "out.n5/s0/attributes.json").read_text())
    assert (said["blockSize"], said["compression"]["type"]) == ([32, 64, 2], "blosc")


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
@pytest.mark.parametrize("value", [7, "0.25", "nan", -1])
def test_the_fill_value_is_that_of_the_zarr(tmp_path, make, ngff, value):
    path = make(tmp_path / "out.zarr", kind="probabilities", fill_value=value, ngff=ngff)
    array = zarr.open_group(path, mode="r")["0"]
    np.testing.assert_equal(float(array.fill_value), float(value))


@pytest.mark.parametrize(("name", "options", "shapes"), [
    ("out.zarr", {"levels": "none"}, [(4, 150, 300)]),
    ("out.zarr", {"levels": 3}, [(4, 150, 300), (4, 75, 150), (4, 38, 75)]),
    ("out.zarr", {"levels": 2, "downsample": "2x5x3"}, [(4, 150, 300), (2, 30, 100)]),
    ("out.zarr", {"downsample": 3}, [(4, 150, 300)]),
    ("out.n5", {"levels": 2, "downsample": "1x4x2"}, [(4, 150, 300), (4, 38, 150)]),
    ("out.precomputed", {"levels": 2, "downsample": "2x2x2"}, [(4, 150, 300), (2, 75, 150)]),
    ("out.ome.tif", {"levels": 2}, [(4, 150, 300), (4, 75, 150)])])
def test_levels(tmp_path, make, name, options, shapes):
    path = make(tmp_path / name, **options)
    if name == "out.zarr":
        found = [array.shape for _, array in sorted(zarr.open_group(path, mode="r").arrays())]
    elif name == "out.n5":
        found = [tuple(json.loads((path / f"s{n}/attributes.json").read_text())["dimensions"][::-1]) for n in (0, 1)]
    elif name == "out.precomputed":
        found = [tuple(scale["size"][::-1]) for scale in json.loads((path / "info").read_text())["scales"]]
    else:
        with tifffile.TiffFile(path) as file:
            found = [level.shape for level in file.series[0].levels]
    assert found == shapes


@pytest.mark.parametrize("kind", ["probabilities", "instances"])
@pytest.mark.parametrize(("chunk", "shard"), [
    ("2x32x32", "2x64x64"), ("1x32x32", "2x64x128"), ("1x32x32", "4x256x512")])
def test_shards_of_a_precomputed_volume_are_read_by_tensorstore(tmp_path, make, kind, chunk, shard):
    path = make(tmp_path / "out.precomputed", kind=kind, chunk=chunk, shard=shard, levels=2)
    store = tensorstore.open({"driver": "neuroglancer_precomputed", "scale_index": 0,
                              "kvstore": {"driver": "file", "path": f"{path}/"}}, open=True).result()
    np.testing.assert_array_equal(store.read().result().T, np.asarray(tiler.open_volume(path)))
    scale = json.loads((path / "info").read_text())["scales"][0]
    assert scale["sharding"]["@type"] == "neuroglancer_uint64_sharded_v1"
    assert list((path / scale["key"]).glob("*.shard"))
    z, y, x = (int(size) for size in shard.split("x"))
    assert store.chunk_layout.write_chunk.shape[:3] == (min(x, 320), min(y, 160), z)


@pytest.mark.parametrize(("name", "options", "told"), [
    *((name, {option: "2"}, f"{option}=") for option in ("chunk", "fill_value", "levels", "downsample", "shard")
      for name in ("out.tif", "out.npy", "out.mrc")),
    (None, {"chunk": 64}, "chunk= cannot be chosen here"),
    ("out.n5", {"shard": 64}, r"\.n5 outputs have no such choice: leave out shard=, which is for \.zarr \.precomputed"),
    ("out.precomputed", {"fill_value": 1}, "fill_value="),
    ("out.precomputed", {"chunk": "1x32x32", "shard": "1x32x128"}, "the nearest are 1x32x64 and 1x64x64"),
    ("out.zarr", {"chunk": 64, "shard": 100}, "a shard of 100 along y is not .* chunks of 64: 64 or 128"),
    ("out.zarr", {"chunk": 64, "block": "1x96x300"}, "a block of 96 along y is not a whole number of chunks of 64"),
    ("out.zarr", {"shard": 64, "ngff": "0.4"}, "OME-Zarr 0.4 has no shards"),
    ("out.zarr", {"levels": 12}, "there are at most 10 levels"),
    ("out.zarr", {"levels": "none", "downsample": 2}, "makes no level"),
    ("out.zarr", {"downsample": 1}, "makes no level of another"),
    ("out.zarr", {"fill_value": 300}, "voxels of uint8 cannot be 300")])
def test_what_cannot_be_is_refused_by_the_plan(tmp_path, opened, name, options, told):
    with pytest.raises(TilerError, match=told):
        tiler.plan(VOLUME, opened("labels"), name and tmp_path / name, **options)
    assert not list(tmp_path.iterdir())


def test_chunks_do_not_straddle_time_points(tmp_path):
    movie = np.zeros((4, 3, 64, 64), np.uint8)
    with pytest.raises(TilerError, match=r"2 sections do not divide the 3 of a time point.*chunk="):
        tiler.plan(movie, PoolingNet(), tmp_path / "out.zarr", axes="tzyx", chunk="2x64x64")


def test_the_plan_states_the_price_of_chosen_chunks(tmp_path):
    plain = np.zeros((1, 4000, 4000), np.uint8)
    net = PoolingNet()
    assert tiler.plan(plain, net, tmp_path / "out.zarr").estimate.chunk_cost == 0
    small = tiler.plan(plain, net, tmp_path / "out.zarr", chunk=100, block=100, tile=66)
    assert small.estimate.chunk_cost > 0.05
    assert "more work than" in str(small)
