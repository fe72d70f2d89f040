"""MRC outputs, read by the library mrcfile and by tiler itself."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest

from tiler.errors import SinkError
from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import open_sink
from tiler.sources import open_source

SHAPE = (3, 8, 10)
NANOMETRES = Calibration(("z", "y", "x"), SHAPE, (40.0, 4.0, 3.0), ("nanometer",) * 3, (80.0, 8.0, 6.0))


def spec(dtype="float32", calibration=NANOMETRES, channels=1):
    depth = int(np.prod(calibration.sizes[:-2]))
    size = (depth, *calibration.sizes[-2:])
    names = tuple(f"class {number}" for number in range(channels))
    return OutputSpec((channels, *size), np.dtype(dtype), calibration, names, channels > 1, size, size)


def written(path, made):
    sink = open_sink(path, made)
    values = np.random.default_rng(0).integers(0, 200, made.shape).astype(made.dtype)
    sink.create()
    sink.write(Box.of_shape(made.shape[1:]), values)
    sink.finish({})
    return values


@pytest.mark.parametrize(("dtype", "mode"), [
    ("int16", 1), ("float32", 2), ("uint16", 6), ("uint8", 6), ("float16", 12)])
def test_mrcfile_reads_values_and_calibration(tmp_path, dtype, mode):
    values = written(tmp_path / "out.mrc", spec(dtype))
    with mrcfile.open(tmp_path / "out.mrc") as file:
        assert int(file.header.mode) == mode
        np.testing.assert_array_equal(file.data, values[0])
        assert file.is_volume()
        np.testing.assert_allclose([file.voxel_size[axis] for axis in "xyz"], [30, 40, 400])
        np.testing.assert_allclose([file.header.origin[axis] for axis in "xyz"], [60, 80, 800])
    assert mrcfile.validate(tmp_path / "out.mrc")


@pytest.mark.parametrize(("axes", "sizes", "kind"), [
    ("tzyx", (2, *SHAPE), "is_volume_stack"), ("tyx", SHAPE, "is_image_stack"), ("yx", SHAPE[1:], "is_single_image")])
def test_images_and_stacks_are_what_mrcfile_takes_them_for(tmp_path, axes, sizes, kind):
    made = spec(calibration=Calibration.plain(axes, sizes))
    values = written(tmp_path / "out.mrc", made)
    with mrcfile.open(tmp_path / "out.mrc") as file:
        assert getattr(file, kind)()
        np.testing.assert_array_equal(file.data, values.reshape(sizes))


def test_tiler_reads_what_it_wrote(tmp_path):
    values = written(tmp_path / "out.mrc", spec("uint16"))
    source = open_source(tmp_path / "out.mrc")
    np.testing.assert_array_equal(source.read(Box.of_shape(SHAPE)), values)
    assert source.calibration.units == ("angstrom",) * 3


@pytest.mark.parametrize(("made", "told"), [(spec("uint32"), "uint32"), (spec(channels=2), "no channels")])
def test_what_the_format_cannot_hold_is_refused_before_the_file_is_made(tmp_path, made, told):
    with pytest.raises(SinkError, match=told):
        open_sink(tmp_path / "out.mrc", made)
    assert not list(tmp_path.iterdir())
