"""From every format to every format: voxels, axes, physical sizes and names of channels survive."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import open_sink
from tiler.sinks.units import NANOMETRES, SECONDS
from tiler.sources import open_source
from tiler.testing.sinks import ATTRIBUTES, blocks_of, example_values, part

FORMATS = {"zarr 0.5": ("a.zarr", "0.5"), "zarr 0.4": ("a.ome.zarr", "0.4"), "ImageJ": ("a.tif", "0.5"),
           "OME-TIFF": ("a.ome.tif", "0.5"), "HDF5": ("a.h5", "0.5"), "npy": ("a.npy", "0.5")}
WITH_OFFSET = ("zarr 0.5", "zarr 0.4", "HDF5", "npy")


def spec_of(axes, sizes, scale, units, channels):
    offset = tuple(0.0 if axis == "t" else 100.0 * (i + 1) for i, axis in enumerate(axes))
    calibration = Calibration(tuple(axes), sizes, scale, units, offset)
    names = ("membrane", "cell")[:channels]
    return OutputSpec((channels, math.prod(sizes[:-2]), *sizes[-2:]), np.dtype("uint8"), calibration, names,
                      channels > 1, (8, 32, 32), (8, 32, 32))


NM = "nanometer"
IMAGES = {
    "an image": spec_of("yx", (20, 17), (4.0, 5.0), (NM, NM), 1),
    "a stack with thick slices": spec_of("zyx", (5, 20, 17), (0.05, 4.0, 5.0), ("micrometer", NM, NM), 2),
    "a movie of stacks": spec_of("tzyx", (2, 3, 20, 17), (0.5, 40.0, 4.0, 4.0), ("minute", NM, NM, NM), 2),
}


def stored(folder, format_name, spec, values):
    """A finished output, opened as an input."""
    name, ngff = FORMATS[format_name]
    folder.mkdir()
    sink = open_sink(folder / name, replace(spec, ngff=ngff))
    sink.create()
    for block in blocks_of(spec):
        sink.write(block, part(values, block))
    sink.finish(ATTRIBUTES)
    return open_source(folder / name)


def physical(calibration, lengths):
    """Scales or offsets in nanometres and seconds."""
    factors = {**NANOMETRES, **SECONDS}
    return [length * factors[unit] for length, unit in zip(lengths, calibration.units, strict=True)]


@pytest.mark.parametrize("image", IMAGES)
@pytest.mark.parametrize("given", FORMATS)
def test_what_is_known_of_an_input_is_known_of_its_output(image, given, tmp_path):
    spec = IMAGES[image]
    values, known = example_values(spec), spec.calibration
    source = stored(tmp_path / "input", given, spec, values)
    for wanted in FORMATS:
        again = replace(spec, calibration=source.calibration, classes=source.channels)
        found = stored(tmp_path / wanted, wanted, again, source.read(Box.of_shape(source.shape[1:])))
        told = found.calibration
        np.testing.assert_array_equal(found.read(Box.of_shape(found.shape[1:])), values)
        assert (told.axes, told.sizes, found.channels) == (known.axes, known.sizes, spec.classes)
        assert physical(told, told.scale) == pytest.approx(physical(known, known.scale), rel=1e-6)
        if {given, wanted} <= set(WITH_OFFSET):
            assert physical(told, told.offset) == pytest.approx(physical(known, known.offset))


def test_what_stands_beside_another_array_is_not_believed(tmp_path):
    spec = IMAGES["a stack with thick slices"]
    stored(tmp_path / "a", "npy", spec, example_values(spec))
    np.save(tmp_path / "a/a.npy", np.zeros((3, 20, 17)))
    assert open_source(tmp_path / "a/a.npy").calibration == Calibration.plain("zyx", (3, 20, 17))
    (tmp_path / "a/a.npy.tiler.json").write_text("{")
    assert open_source(tmp_path / "a/a.npy").shape == (1, 3, 20, 17)
