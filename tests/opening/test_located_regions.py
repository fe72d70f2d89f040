"""Regions in units of length, from the end, and in voxels of another level."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import zarr

import tiler
from tiler.errors import PlanError, TilerError
from tiler.geometry import Box
from tiler.opening.regions import located
from tiler.options.regions import parse_roi
from tiler.ports import OutputSpec
from tiler.sinks import open_sink
from tiler.sources import open_source
from tiler.testing.predictors import PoolingNet

SHAPE, SCALE, OFFSET = (6, 41, 30), (40.0, 4.0, 5.0), (400.0, -8.0, 0.0)


def make(path, offsets=True, unit="nanometer"):
    """Three levels, each of half the voxels along y and x, the last voxel of y covering what is left over."""
    values = np.random.default_rng(0).integers(0, 255, SHAPE, dtype=np.uint8)
    group, datasets = zarr.create_group(path), []
    for level, factor in enumerate((1, 2, 4)):
        group.create_array(str(level), data=values[:, ::factor, ::factor], chunks=(2, 16, 16))
        scale = [SCALE[0], SCALE[1] * factor, SCALE[2] * factor]
        shift = (factor - 1) / 2 if offsets else 0
        offset = [OFFSET[0], *(at + step * shift for at, step in zip(OFFSET[1:], SCALE[1:], strict=True))]
        datasets.append({"path": str(level), "coordinateTransformations": [
            {"type": "scale", "scale": scale}, {"type": "translation", "translation": offset}]})
    axes = [{"name": axis, "type": "space", **({"unit": unit} if unit else {})} for axis in "zyx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    return path


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return make(tmp_path_factory.mktemp("image") / "image.zarr")


def box_of(roi, path):
    return str(located(parse_roi(roi), open_source(path)))


@pytest.mark.parametrize(("roi", "box"), [
    ("z=400nm:480nm", "[0:2, 0:41, 0:30]"), ("z=0.4um:0.48um", "[0:2, 0:41, 0:30]"),
    ("z=440nm:,x=:25nm", "[1:6, 0:41, 0:5]"), ("y=-8nm:0nm", "[0:6, 0:2, 0:30]"), ("y=-8:12nm", "[0:6, 0:5, 0:30]"),
    ("y=-4nm:0.1um,x=10:20", "[0:6, 1:27, 10:20]"), ("x=0:0.1\u00b5m", "[0:6, 0:41, 0:20]"),
    ("x=1:49.9nm", "[0:6, 0:41, 1:10]"), ("x=0.00001mm:1e-4mm", "[0:6, 0:41, 2:20]"),
    ("z=-2:", "[4:6, 0:41, 0:30]"), ("z=-1", "[5:6, 0:41, 0:30]"), ("y=5:-5,x=-10:-5", "[0:6, 5:36, 20:25]")])
def test_coordinates_and_voxels_from_the_end(image, roi, box):
    assert box_of(roi, image) == box
    assert box_of(str(parse_roi(roi)), image) == box


@pytest.mark.parametrize(("given", "roi", "box"), [
    ("0", "y=2:4,x=1:3@1", "[0:6, 4:8, 2:6]"), ("0", "y=20:21@1", "[0:6, 40:41, 0:30]"),
    ("0", "1:2,0:3,2:4@2", "[1:2, 0:12, 8:16]"), ("1", "y=3:6,x=4:8@0", "[0:6, 1:3, 2:4]"),
    ("2", "y=3:6@1", "[0:6, 1:3, 0:8]"), ("1", "y=3:6@1", "[0:6, 3:6, 0:15]"),
    ("0", "y=-1:@1", "[0:6, 40:41, 0:30]"), ("0", "x=0nm:20nm@1", "[0:6, 0:41, 0:4]")])
@pytest.mark.parametrize("offsets", [True, False])
@pytest.mark.parametrize("unit", ["nanometer", None])
def test_voxels_of_another_level(tmp_path, given, roi, box, offsets, unit):
    path = make(tmp_path / "image.zarr", offsets, unit) / given
    if unit is None and "nm" in roi:
        with pytest.raises(PlanError, match="does not say how large its voxels are along x: give voxels"):
            box_of(roi, path)
    else:
        assert box_of(roi, path) == box


@pytest.mark.parametrize(("name", "inner", "level"), [("out.n5", "s0", "1"), ("out.precomputed", "5_4_40", "10_8_40")])
def test_levels_of_other_formats(tmp_path, image, name, inner, level):
    opened = open_source(image)
    spec = OutputSpec(opened.shape, opened.dtype, opened.calibration, ("a",), False, SHAPE, (2, 16, 16),
                      storage={"levels": 2, "downsample": (1, 2, 2)})
    sink = open_sink(tmp_path / name, spec)
    sink.create()
    sink.write(Box.of_shape(SHAPE), opened.read(Box.of_shape(SHAPE)))
    sink.finish({})
    assert box_of(f"y=2:4,x=1:3@{level}", tmp_path / name) == "[0:6, 4:8, 2:6]"
    with pytest.raises(TilerError, match=f"has no level 9: beside it lie .*{inner}"):
        box_of("y=2:4@9", tmp_path / name)


@pytest.mark.parametrize(("roi", "told"), [
    ("z=0:2um", r"z=0.0um:2.0um is voxels -10:40 of 6: .* lies from 400 to 640 nanometer along z"),
    ("z=0.4um:2um", "voxels 0:40 of 6"), ("z=440nm:440nm", "is voxels 1:1 of 6"), ("y=5:3", "y=5:3"),
    ("y=-3:3", "which is 38:3 of 41"), ("y=0:25@1", "ends at voxel 25 of y, level 1 has 21"),
    ("y=0:5@7", "has no level 7: its levels are 0, 1, 2"), ("z=2um", "cannot be read"), ("z=1:2kg", "cannot be read"),
    ("z=1:2s", "cannot be read"), ("z=0.5:2", "cannot be read")])
def test_what_lies_elsewhere_is_refused(image, roi, told):
    with pytest.raises(TilerError, match=told):
        tiler.plan(image, PoolingNet(), roi=roi)


def test_volumes_without_levels(tmp_path):
    np.save(tmp_path / "in.npy", np.zeros(SHAPE, np.uint8))
    for source in (tmp_path / "in.npy", np.zeros(SHAPE, np.uint8)):
        with pytest.raises(TilerError, match="no levels that a region could refer to"):
            tiler.plan(source, PoolingNet(), roi="y=0:5@1")


def test_two_ranges_of_a_stack_say_which_axes_they_are(image, caplog):
    with caplog.at_level(logging.WARNING):
        tiler.plan(image, PoolingNet(), roi="3:20,4:25")
        assert "are y and x: y=3:20,x=4:25 of all 6 sections" in caplog.text
        caplog.clear()
        tiler.plan(image, PoolingNet(), roi="y=3:20,x=4:25")
        tiler.plan(image, PoolingNet(), roi="0:2,3:20,4:25")
        tiler.plan(np.zeros(SHAPE[1:], np.uint8), PoolingNet(), roi="3:20,4:25")
    assert not caplog.records


@pytest.mark.parametrize("roi", ["y=8nm:72nm,x=20nm:100nm", "y=4:20,x=4:20@0"])
def test_a_run_on_level_1_is_aligned_to_level_0(tmp_path, image, roi):
    path = tiler.segment(f"{image}/1", PoolingNet(), tmp_path / "out.zarr", roi=roi)
    full, coarse, result = (open_source(each).calibration for each in (image, f"{image}/1", path))
    assert result.scale == coarse.scale == (40.0, 8.0, 10.0)
    assert result.units == full.units
    voxels = located(parse_roi(roi), open_source(f"{image}/1"))
    faces = [at - scale / 2 for at, scale in zip(result.offset, result.scale, strict=True)]
    expected = [full.offset[axis] - full.scale[axis] / 2 + span.start * coarse.scale[axis]
                for axis, span in enumerate(voxels.spans)]
    assert faces == pytest.approx(expected)
    np.testing.assert_array_equal(np.asarray(tiler.open_volume(path))[0],
                                  tiler.segment(f"{image}/1", PoolingNet())[voxels.slices])
