"""A mask lies where its units and its time points say, and is opened like the volume."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
import zarr

from tiler.errors import PlanError, SourceError
from tiler.geometry import Box
from tiler.jobs.masked import Mask, part_of
from tiler.options import Options
from tiler.sources import open_source


def image(path, shape, scale, unit, axes="yx", values=None):
    """An OME-Zarr with these sides of a voxel along its axes; ``unit`` may leave some of them open."""
    group = zarr.create_group(path, overwrite=True)
    group.create_array("0", data=np.ones(shape, np.uint8) if values is None else values)
    units = dict(zip(axes, [unit] * len(axes) if isinstance(unit, str) else unit, strict=True))
    named = [{"name": axis, "type": "space", **({"unit": units[axis]} if units[axis] else {})} for axis in axes]
    step = {"type": "scale", "scale": [scale] * len(axes)}
    group.attrs["ome"] = {"version": "0.5", "multiscales": [
        {"axes": named, "datasets": [{"path": "0", "coordinateTransformations": [step]}]}]}
    return open_source(path)


@pytest.mark.parametrize(("scale", "unit"), [(40.0, "nanometer"), (0.04, "micrometer"), (4e-5, "millimeter"),
                                             (400.0, "angstrom")])
def test_units_of_length_are_converted(tmp_path, scale, unit):
    values = np.zeros((50, 50), np.uint8)
    values[:10, :10] = 1  # 400 x 400 nm, as much as the volume
    mask, volume = image(tmp_path / "m.zarr", (50, 50), scale, unit, values=values), image(
        tmp_path / "v.zarr", (100, 100), 4.0, "nanometer")
    placed = Mask.over(mask, volume)
    np.testing.assert_allclose(placed.steps[1:], 0.1)
    assert placed.read(Box.between((0, 0, 0), (1, 94, 94))).all()


@pytest.mark.parametrize("unit", ["second", "hour"])
def test_units_that_cannot_be_converted_are_refused(tmp_path, unit):
    with pytest.raises(PlanError, match=f"along y the mask is measured in {unit} and the volume in nanometer"):
        Mask.over(image(tmp_path / "m.zarr", (5, 5), 1.0, unit), image(tmp_path / "v.zarr", (9, 9), 1.0, "nanometer"))


def test_an_axis_without_units_beside_one_with_units_is_refused(tmp_path):
    volume = image(tmp_path / "v.zarr", (9, 9), 1.0, "nanometer")
    with pytest.raises(PlanError, match="not along x, where they have 5 and 9 voxels"):
        Mask.over(image(tmp_path / "m.zarr", (5, 5), 1.0, ["nanometer", None]), volume)
    same = Mask.over(image(tmp_path / "m.zarr", (9, 9), 1.0, ["nanometer", None]), volume)
    assert same.steps == (1.0, 1.0, 1.0)
    flat = Mask.over(image(tmp_path / "m.zarr", (9, 9), 1.0, "nanometer"),
                     image(tmp_path / "v.zarr", (4, 9, 9), 1.0, "nanometer", "zyx"))
    assert flat.read(Box.of_shape((4, 9, 9))).all()


MOVIE = np.zeros((5, 8, 8), np.uint8)


def at_time(mask, time, volume=MOVIE, axes="tyx"):
    options = Options(mask=mask, roi=f"t={time}").resolved()
    opened = open_source(volume, axes=axes, time=time)
    return part_of(options, opened).read(Box.of_shape(opened.shape[1:]))


@pytest.mark.parametrize("time", range(5))
def test_the_mask_is_that_of_the_chosen_time_point(tmp_path, time):
    values = np.zeros((5, 8, 8), np.uint8)
    values[3] = 1
    tifffile.imwrite(tmp_path / "m.tif", values, imagej=True, metadata={"axes": "TYX"})
    assert at_time(tmp_path / "m.tif", time).all() == at_time(tmp_path / "m.tif", time).any() == (time == 3)


def test_a_mask_that_does_not_say_which_time_point_it_holds_is_refused(tmp_path):
    with pytest.raises(PlanError, match="5 time points, of which one was chosen, so its mask has as many sections, 1"):
        at_time(np.ones((5, 8, 8), np.uint8), 2)
    tifffile.imwrite(tmp_path / "m.tif", np.ones((3, 8, 8), np.uint8), imagej=True, metadata={"axes": "TYX"})
    with pytest.raises(PlanError, match="has 3 sections"):
        at_time(tmp_path / "m.tif", 2)
    with pytest.raises(PlanError, match="has 3 sections"):
        part_of(Options(mask=tmp_path / "m.tif").resolved(), open_source(MOVIE))
    assert at_time(np.ones((8, 8), np.uint8), 2).all()
    assert at_time(np.ones((2, 8, 8), np.uint8), 2, np.zeros((5, 2, 8, 8), np.uint8), "tzyx").all()


def test_a_mask_is_opened_with_the_options_of_the_volume(tmp_path):
    absent = np.ma.MaskedArray(np.ones((1, 8, 8), np.uint8), mask=np.eye(8, dtype=bool)[None])
    volume = open_source(MOVIE[:1])
    with pytest.raises(SourceError, match="8 voxels of the array are masked"):
        part_of(Options(mask=absent).resolved(), volume)
    inside = part_of(Options(mask=absent, missing="zero").resolved(), volume).read(Box.of_shape((1, 8, 8)))
    np.testing.assert_array_equal(inside[0], ~np.eye(8, dtype=bool))


def test_a_mask_may_name_other_files_if_they_are_trusted(tmp_path):
    h5py = pytest.importorskip("h5py")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "here").mkdir()
    (elsewhere / "raw").write_bytes(bytes([1] * 64))
    with h5py.File(tmp_path / "here" / "m.h5", "w") as file:
        file.create_dataset("m", (1, 8, 8), "u1", external=[(str(elsewhere / "raw"), 0, 64)])
    options, volume = Options(mask=tmp_path / "here" / "m.h5").resolved(), open_source(MOVIE[:1])
    with pytest.raises(SourceError):
        part_of(options, volume)
    assert part_of(options, volume, trust=True).read(Box.of_shape((1, 8, 8))).all()
