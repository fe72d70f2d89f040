"""From every format to every format: voxels, axes, physical sizes and names of channels survive."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tensorstore
import tifffile
import zarr

from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.ports.units import NANOMETRES, SECONDS
from tiler.sinks import open_sink
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


def plain_zarr(folder, values):
    zarr.create_array(str(folder / "a.zarr"), data=values, dimension_names=("c", "z", "y", "x"))
    return folder / "a.zarr"


def n5(folder, values):
    spec = {"driver": "n5", "kvstore": f"file://{folder}/a.n5/raw/", "metadata": {
        "axes": ["x", "y", "z", "c"], "resolution": [4.0, 5.0, 40.0, 1.0], "units": ["nm", "nm", "nm", ""],
        "dimensions": values.shape[::-1], "blockSize": (16, 16, 4, 1), "dataType": "uint8",
        "compression": {"type": "gzip"}}}
    tensorstore.open(spec, create=True).result()[...] = values.T
    return folder / "a.n5/raw"


def precomputed(folder, values):
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{folder}/em/",
            "multiscale_metadata": {"type": "image", "num_channels": len(values), "data_type": "uint8"},
            "scale_metadata": {"size": values.shape[:0:-1], "encoding": "raw", "chunk_size": (16, 16, 4),
                               "resolution": (4, 5, 40), "voxel_offset": (10, 20, 30)}}
    tensorstore.open(spec, create=True).result()[...] = values.T
    return folder / "em"


def slices(folder, values):
    (folder / "slices").mkdir()
    for number, image in enumerate(values.transpose(1, 2, 3, 0)):
        tifffile.imwrite(folder / f"slices/{number}.tif", image, photometric="rgb", resolution=(0.25, 0.2),
                         resolutionunit="none", metadata={"axes": "YXS"})
    return folder / "slices"


READ_ONLY = {  # what each can say: sizes in nanometres of z, y, x, offset of the first voxel
    "plain zarr": (plain_zarr, None, None), "N5": (n5, (40.0, 5.0, 4.0), (0.0, 0.0, 0.0)),
    "precomputed": (precomputed, (40.0, 5.0, 4.0), (1200.0, 100.0, 40.0)), "folder": (slices, None, None)}


@pytest.mark.parametrize("given", READ_ONLY)
def test_what_can_only_be_read_survives_in_all_that_is_written(given, tmp_path):
    make, scale, offset = READ_ONLY[given]
    values = np.random.default_rng(5).integers(0, 250, (3, 5, 20, 17), dtype=np.uint8)
    source = open_source(make(tmp_path, values))
    whole = source.read(Box.of_shape(source.shape[1:]))
    np.testing.assert_array_equal(whole, values)
    if scale is not None:
        assert (source.calibration.scale, source.calibration.offset) == (scale, offset)
        assert source.calibration.units == (NM,) * 3
    names = ("red", "green", "blue")
    spec = OutputSpec(source.shape, source.dtype, source.calibration, names, True, (8, 32, 32), (8, 32, 32))
    for wanted in FORMATS:
        found = stored(tmp_path / wanted, wanted, spec, whole)
        told = found.calibration
        np.testing.assert_array_equal(found.read(Box.of_shape(found.shape[1:])), values)
        assert (told.axes, told.sizes, found.channels) == (("z", "y", "x"), (5, 20, 17), names)
        if scale is not None:
            assert physical(told, told.scale) == pytest.approx(scale, rel=1e-6)
            if wanted in WITH_OFFSET:
                assert physical(told, told.offset) == pytest.approx(offset)


def test_what_stands_beside_another_array_is_not_believed(tmp_path):
    spec = IMAGES["a stack with thick slices"]
    stored(tmp_path / "a", "npy", spec, example_values(spec))
    np.save(tmp_path / "a/a.npy", np.zeros((3, 20, 17)))
    assert open_source(tmp_path / "a/a.npy").calibration == Calibration.plain("zyx", (3, 20, 17))
    (tmp_path / "a/a.npy.tiler.json").write_text("{")
    assert open_source(tmp_path / "a/a.npy").shape == (1, 3, 20, 17)
