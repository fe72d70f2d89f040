"""Inverted volumes, and grey images that are stored as RGB."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr
from standins import LabelNet

import tiler
from tiler.errors import PlanError, SourceError
from tiler.geometry import Box
from tiler.sources import open_source
from tiler.sources.around import Grey, grey_of, inverted
from tiler.testing.predictors import PoolingNet

GREY = np.random.default_rng(0).integers(0, 255, (3, 30, 31), dtype=np.uint8)


class Theirs:
    """A source of the user's."""

    def __init__(self, source):
        for name in ("name", "shape", "dtype", "calibration", "identity", "read_unit", "read"):
            setattr(self, name, getattr(source, name))


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "int32", "float32", "bool"])
@pytest.mark.parametrize("theirs", [False, True])
def test_twice_inverted_is_the_volume_itself(dtype, theirs):
    source = open_source(GREY.astype(dtype), axes="zyx")
    source = Theirs(source) if theirs else source
    box = Box.between((1, 2, 3), (3, 20, 25))
    once, twice = inverted(source), inverted(inverted(source)) if theirs else source
    values, opposite = source.read(box).astype(float), once.read(box).astype(float)
    assert once.dtype == source.dtype
    assert len(np.unique(values + opposite)) == 1  # darker becomes brighter by the same amount
    np.testing.assert_array_equal(twice.read(box), source.read(box))


@pytest.mark.parametrize("normalise", ["weights", "volume"])
def test_the_network_sees_inverted_values_and_nothing_else_changes(normalise, tmp_path):
    wanted = tiler.segment(GREY, PoolingNet(), normalise=normalise, roi="0:3,2:28,3:30")
    found = tiler.segment(255 - GREY, PoolingNet(), invert=True, normalise=normalise, roi="0:3,2:28,3:30")
    np.testing.assert_array_equal(found, wanted)
    tifffile.imwrite(tmp_path / "i.tif", 255 - GREY, photometric="minisblack")
    tiler.segment(tmp_path / "i.tif", PoolingNet(), tmp_path / "o.zarr", invert=True, normalise=normalise)
    np.testing.assert_array_equal(np.asarray(tiler.open_volume(tmp_path / "o.zarr"))[0],
                                  tiler.segment(GREY, PoolingNet(), normalise=normalise))
    report = tiler.check(tmp_path / "o.zarr", model=PoolingNet())
    assert report.windows
    assert not report.wrong


def test_a_lazy_result_is_inverted_too():
    array = da.from_array(255 - GREY, chunks=16)
    np.testing.assert_array_equal(tiler.lazy(array, PoolingNet(), invert=True).compute(),
                                  tiler.segment(GREY, PoolingNet()))


def test_a_background_is_a_grey_value_of_the_file():
    padded = GREY.copy()
    padded[0] = 7
    found = tiler.segment(padded, LabelNet(), background=7, invert=True, kind="labels")
    assert not found[0].any()


def test_inversion_is_in_the_plan():
    plans = [tiler.plan(GREY, PoolingNet(), invert=invert).fingerprint for invert in (False, True)]
    assert plans[0] != plans[1]


def test_floats_are_inverted_only_where_they_are_measured():
    with pytest.raises(PlanError, match="no bounds"):
        tiler.plan(GREY.astype(np.float32), PoolingNet(), invert=True)
    tiler.plan(GREY.astype(np.float32), PoolingNet(), invert=True, normalise="volume")


@pytest.mark.parametrize("samples", [3, 4])
@pytest.mark.parametrize("alpha", [0, 255])
def test_a_grey_rgb_image_is_taken_as_grey(tmp_path, samples, alpha):
    colours = np.stack([GREY] * 3 + [np.full_like(GREY, alpha)] * (samples - 3), -1)
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb")
    np.testing.assert_array_equal(tiler.segment(tmp_path / "rgb.tif", PoolingNet()),
                                  tiler.segment(GREY, PoolingNet()))
    assert grey_of(open_source(tmp_path / "rgb.tif")).identity["grey"]


def test_a_coloured_image_still_needs_a_channel(tmp_path):
    colours = np.stack([GREY, GREY, 255 - GREY], -1)
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb")
    with pytest.raises(PlanError, match="3 channels"):
        tiler.plan(tmp_path / "rgb.tif", PoolingNet())
    assert tiler.segment(tmp_path / "rgb.tif", PoolingNet(), channel=2).shape == GREY.shape


def test_colour_outside_the_sample_is_refused_when_it_is_read():
    colours = np.stack([np.tile(GREY, (1, 4, 4))] * 3)
    colours[0, 0, 0, 0] ^= 1
    source = grey_of(open_source(colours, axes="czyx"))
    assert isinstance(source, Grey)
    with pytest.raises(SourceError, match=r"coloured in .*3 channels.*channel="):
        source.read(Box.between((0, 0, 0), (1, 9, 9)))


def test_a_region_of_a_grey_image_is_looked_at_as_that_of_any_other(tmp_path):
    """Whether its chunks are there, and levels and time points, belong to the file."""
    image = zarr.create_array(tmp_path / "rgb.zarr", shape=(3, 4, 30, 31), chunks=(3, 1, 30, 31), dtype="u1",
                              dimension_names=("c", "z", "y", "x"))
    image[:, :2] = np.stack([GREY[:2]] * 3)
    with pytest.raises(SourceError, match="not one chunk of the region"):
        tiler.plan(tmp_path / "rgb.zarr", PoolingNet(), roi="2:4,0:30,0:31")
    times, mask = np.stack([GREY] * 3, 1), np.zeros((3, 30, 31), np.uint8)
    mask[1] = 1
    tifffile.imwrite(tmp_path / "t.ome.tif", times, metadata={"axes": "TCYX"}, photometric="minisblack")
    tifffile.imwrite(tmp_path / "m.ome.tif", mask, metadata={"axes": "TYX"}, photometric="minisblack")
    found = [tiler.segment(tmp_path / "t.ome.tif", LabelNet(), kind="labels", roi=f"t={time}",
                           mask=tmp_path / "m.ome.tif").any() for time in range(3)]
    assert found == [False, True, False]
