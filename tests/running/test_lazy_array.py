"""Lazy results: those of `segment`, chunk by chunk, from graphs that do not grow with the volume."""

from __future__ import annotations

import logging
import pickle
import time
import tracemalloc

import dask
import dask.array as da
import numpy as np
import pytest
import tifffile
from distributed import Client, LocalCluster
from standins import LabelNet

import tiler
from tiler.errors import BlockFailed, PlanError
from tiler.testing.predictors import PoolingAxis, PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 250, (6, 61, 53), dtype=np.uint8)


@pytest.fixture(params=["numpy", "file", "dask", "uneven dask"])
def source(request, tmp_path):
    if request.param == "numpy":
        return VOLUME
    if request.param == "file":
        tifffile.imwrite(tmp_path / "stack.tif", VOLUME, photometric="minisblack")
        return tmp_path / "stack.tif"
    return da.from_array(VOLUME, chunks=(4, 16, 16) if request.param == "dask" else ((1, 5), (60, 1), (7, 40, 6)))


@pytest.mark.parametrize("options", [
    {}, {"block": "16"}, {"block": "4x24x40"}, {"roi": "2:4,7:50,3:40", "block": "16"},
    {"roi": "y=7:50,x=3:40"}])
@pytest.mark.parametrize("net", [PoolingNet(), PoolingNet(classes=("a", "b")), PoolingNet(padding="same"),
                                 PoolingNet((PoolingAxis(0, 0, 1, 2), PoolingAxis(), PoolingAxis()))],
                         ids=["valid", "two classes", "same", "three axes"])
def test_it_is_what_segment_gives(source, net, options):
    result = tiler.lazy(source, net, **options)
    expected = tiler.segment(VOLUME, net, **options)
    assert (result.shape, result.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(result.compute(scheduler="threads"), expected)


@pytest.mark.parametrize("channel_names", [("cell",), ("a", "b")])
def test_axes_are_those_of_segment(channel_names):
    net = PoolingNet(classes=channel_names)
    movie = np.stack([VOLUME, VOLUME[::-1]])
    for array, options in [(VOLUME[0], {}), (movie, {"axes": "tzyx", "block": "4x16x16"}), (movie, {"axes": "czyx",
                           "channel": 1}), (movie, {"axes": "tzyx", "roi": "t=1"}),
                           (np.moveaxis(VOLUME, 0, -1), {"axes": "yxz"})]:
        expected = tiler.segment(array, net, **options)
        for given in (array, da.from_array(array, chunks=3 * (16,) + (17,) if array.ndim == 4 else 16)):
            result = tiler.lazy(given, net, **options)
            assert result.shape == expected.shape
            np.testing.assert_array_equal(result, expected)


def test_kinds_and_types_are_those_of_segment():
    from tiler.models import UNet

    net = UNet(base=4, depth=2).eval()
    for options in [{"head": "softmax", "dtype": "uint8"}, {"kind": "labels"}, {"classes": "all"}]:
        chosen = {"tile": "60", "threads": 1, "device": "cpu", **options}
        result = tiler.lazy(VOLUME[:1], net, block="20", **chosen)
        np.testing.assert_array_equal(result, tiler.segment(VOLUME[:1], net, block="20", **chosen))


def test_blocks_are_whole_chunks_of_a_dask_source():
    array = da.zeros((64, 4096, 4096), chunks=(8, 200, 300), dtype=np.uint8)
    z, y, x = tiler.lazy(array, PoolingNet()).chunksize
    assert (z % 8, y % 200, x % 300) == (0, 0, 0)
    assert tiler.lazy(array, PoolingNet(), block="2x128x64").chunksize == (2, 128, 64)


@pytest.mark.parametrize("options", [{}, {"tiling": "whole"}, {"roi": "1:3,7:50,3:40"}])
def test_networks_that_take_inputs_in_one_piece_read_dask_sources(options):
    from torch import nn

    net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.GroupNorm(2, 4), nn.Conv2d(4, 1, 1)).eval()
    chosen = {"threads": 1, "device": "cpu", "head": "sigmoid", "normalise": "128,64", **options}
    result = tiler.lazy(da.from_array(VOLUME, chunks=(1, 25, 25)), net, **chosen)
    np.testing.assert_array_equal(result.compute(scheduler="synchronous"), tiler.segment(VOLUME, net, **chosen))


def test_it_composes():
    result = tiler.lazy(da.from_array(VOLUME, chunks=16) + 1, PoolingNet(), block="16")
    expected = tiler.segment(VOLUME + 1, PoolingNet())
    assert result.mean().compute() == expected.mean()
    np.testing.assert_array_equal((result * 2)[1, ::3, 5].compute(), (expected * 2)[1, ::3, 5])
    np.testing.assert_array_equal(da.concatenate([result, result]).sum(axis=0), 2 * expected.sum(axis=0))


def test_one_chunk_touches_only_its_neighbourhood():
    seen = set()

    def note(block, block_info=None):
        seen.add(block_info[0]["chunk-location"])
        return block

    array = da.from_array(VOLUME, chunks=(1, 16, 16)).map_blocks(note, dtype=np.uint8)
    result = tiler.lazy(array, PoolingNet(), block="1x16x16", tile="22")
    seen.clear()
    result.blocks[3, 2, 1].compute()
    assert seen <= {(3, y, x) for y in (1, 2, 3) for x in (0, 1, 2)}
    assert (3, 2, 1) in seen


def million_chunks(lazy_source):
    shape = (6400, 6400, 6400)
    return da.zeros(shape, chunks=64, dtype=np.uint8) if lazy_source else np.broadcast_to(np.uint8(0), shape)


@pytest.mark.parametrize("lazy_source", [True, False])
def test_a_million_chunks_need_no_memory(lazy_source):
    array = million_chunks(lazy_source)
    tracemalloc.start()
    result = tiler.lazy(array, PoolingNet(), block="64x64x64", tile="86")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.npartitions == 1_000_000
    assert peak < 50e6
    tracemalloc.start()
    assert result[3200:3264, 3200:3264, 3200:3264].compute().shape == (64, 64, 64)
    assert tracemalloc.get_traced_memory()[1] < 500e6
    tracemalloc.stop()


@pytest.mark.slow
@pytest.mark.parametrize("lazy_source", [True, False])
def test_a_million_chunks_build_in_no_time(lazy_source):
    array = million_chunks(lazy_source)
    began = time.perf_counter()
    tiler.lazy(array, PoolingNet(), block="64x64x64", tile="86")
    assert time.perf_counter() - began < 5


def test_the_graph_of_a_million_chunks_pickles_small():
    array = da.zeros((6400, 6400, 6400), chunks=64, dtype=np.uint8)
    assert len(pickle.dumps(tiler.lazy(array, PoolingNet(), block="64"))) < 10**6


def test_a_cluster_computes_it_from_persisted_chunks():
    with LocalCluster(n_workers=1, threads_per_worker=2, memory_limit=0, dashboard_address="127.0.0.1:0",
                      silence_logs=logging.CRITICAL) as cluster, Client(cluster):
        array = da.from_array(VOLUME, chunks=16).persist()
        result = tiler.lazy(array, PoolingNet(), block="16")
        np.testing.assert_array_equal(result.compute(), tiler.segment(VOLUME, PoolingNet()))


def test_what_cannot_be_lazy_is_refused():
    with pytest.raises(PlanError, match='kind="labels"'):
        tiler.lazy(VOLUME, LabelNet(), kind="instances")
    with pytest.raises(PlanError, match='normalise="MEAN,STD"'):
        tiler.lazy(VOLUME, PoolingNet(), normalise="volume")


def test_errors_name_their_block():
    holed = VOLUME.astype(np.float32)
    holed[2, 30, 30] = np.nan
    with pytest.raises(BlockFailed, match=r"nan=.zero"):
        tiler.lazy(holed, PoolingNet(), block="16").compute()


def test_the_layer_is_a_mapping_of_its_keys():
    result = tiler.lazy(da.from_array(VOLUME, chunks=16), PoolingNet(), block="16")
    layer = result.dask.layers[result.name]
    assert set(dask.core.flatten(result.__dask_keys__())) == set(layer) - {layer.shared}
    assert len(layer) == len(set(layer)) == result.npartitions + 1
    for key in ((result.name, 0, 0), (result.name, 9, 0, 0), (result.name, -1, 0, 0), ("other", 0, 0, 0), "other"):
        assert key not in layer
        with pytest.raises(KeyError):
            layer[key]


def test_without_dask_it_says_how_to_install_it(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tiler.running.lazy_array", None)
    with pytest.raises(PlanError, match=r"pip install 'em-tiler\[dask\]'"):
        tiler.lazy(VOLUME, PoolingNet())
