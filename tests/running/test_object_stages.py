"""Objects through the volume from runs of every kind: any block, executor and interruption gives the same numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tifffile
import zarr
from scipy import ndimage
from standins import LabelNet, Stopping

import tiler
from tiler.errors import Interrupted, PlanError
from tiler.testing.predictors import PoolingAxis

VOLUME = np.random.default_rng(0).integers(0, 250, (9, 41, 37), dtype=np.uint8)
NET = LabelNet((PoolingAxis(1, 1, 1, 2),) * 3)
BLOCKS = ("4", "8x16x24", "16x64x64")


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, VOLUME, photometric="minisblack")
    return path


def components(net, reach, **options):
    """Of the labels of the whole volume, by scipy."""
    labels = tiler.segment(VOLUME, net, kind="labels")
    return ndimage.label(labels, ndimage.generate_binary_structure(3, reach))[0]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize(("neighbours", "reach"), [(None, 1), (6, 1), (18, 2), (26, 3)])
def test_networks_of_volumes_give_objects_through_the_volume(block, neighbours, reach):
    options = {} if neighbours is None else {"connectivity": neighbours}
    found = tiler.segment(VOLUME, NET, kind="instances", block=block, **options)
    np.testing.assert_array_equal(found, components(NET, reach))


@pytest.mark.parametrize("options", [{}, {"connectivity": 8}, {"connectivity": 26}, {"link": 0.2}])
def test_networks_of_slices_give_objects_of_sections_unless_they_are_told_otherwise(options):
    found = tiler.segment(VOLUME, LabelNet(), kind="instances", **options)
    together = [set(np.unique(section)) - {0} for section in found]
    shared = any(first & second for first, second in itertools.pairwise(together))
    assert shared == (options.get("connectivity") == 26 or "link" in options)
    again = tiler.segment(VOLUME, LabelNet(), kind="instances", block="4x24x16", executor="serial", **options)
    np.testing.assert_array_equal(again, found)


@pytest.mark.parametrize("executor", ["serial", "threads"])
@pytest.mark.parametrize("suffix", [".zarr", ".tif"])
def test_a_run_that_is_stopped_again_and_again_gives_the_same(source, tmp_path, executor, suffix):
    output, stops, options = tmp_path / f"out{suffix}", 0, {"kind": "instances", "block": "4x24x24"}
    while True:
        listener = Stopping(after=8)
        try:
            tiler.segment(source, NET, output, resume=stops > 0, listener=listener, stop=listener.stop,
                          executor=executor, **options)
            break
        except Interrupted:
            stops += 1
    assert stops > 2
    found = zarr.open(output / "0")[:] if suffix == ".zarr" else tifffile.imread(output)
    np.testing.assert_array_equal(found, components(NET, 1))
    beside = {".journal", ".lock"} | ({".tiler.json"} if suffix == ".tif" else set())
    assert {path.name for path in tmp_path.iterdir()} == {source.name, output.name, *(output.name + s for s in beside)}


def test_processes_of_dask_give_the_same(source, tmp_path):
    pytest.importorskip("distributed")
    tiler.segment(source, NET, tmp_path / "out.zarr", kind="instances", block="8x24x24", executor="dask", workers=2)
    np.testing.assert_array_equal(zarr.open(tmp_path / "out.zarr/0")[:], components(NET, 1))
    assert tiler.check(tmp_path / "out.zarr", model=NET).sound


def test_the_output_says_how_many_objects_there_are_and_how_they_were_made(source, tmp_path):
    tiler.segment(source, NET, tmp_path / "out.zarr", kind="instances", min_size=3)
    told = zarr.open(tmp_path / "out.zarr").attrs["tiler"]
    assert told["objects"]["count"] == zarr.open(tmp_path / "out.zarr/0")[:].max()
    assert told["objects"] == {"count": told["objects"]["count"], "connectivity": 6, "min_size": 3, "link": None,
                               "fill_holes": False, "grow": 0, "threshold": None}


@pytest.mark.parametrize(("options", "message"), [
    ({"connectivity": 5}, "5 is not one of 4, 8, 6, 18, 26"),
    ({"connectivity": 6, "link": 0.5}, "6 neighbours go through the volume already"),
    ({"link": 2}, "2 is not a number from 0 to 1"),
])
def test_rules_that_make_no_sense_are_refused_before_anything_is_read(options, message):
    for call in (tiler.segment, tiler.plan):
        with pytest.raises(PlanError, match=message):
            call(VOLUME, LabelNet(), kind="instances", **options)


def test_time_points_are_no_sections():
    movie = np.stack([VOLUME, VOLUME])
    for options in ({"connectivity": 6}, {"link": 0.2}):
        with pytest.raises(PlanError, match="2 time points: objects cannot go from one to the next"):
            tiler.segment(movie, LabelNet(), kind="instances", axes="tzyx", **options)
