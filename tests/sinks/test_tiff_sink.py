"""The TIFF output as others see it: ImageJ, OME or plain, its voxel size, its limits."""

from dataclasses import replace

import numpy as np
import pytest
import tifffile

from tiler.geometry import Box
from tiler.ports.units import NANOMETRES, SECONDS
from tiler.sinks import open_sink
from tiler.sinks.tiff import CLASSIC_LIMIT, TiffSink
from tiler.sources import open_source
from tiler.testing.sinks import ATTRIBUTES, EXAMPLES, written


def finished(path, spec, limit=CLASSIC_LIMIT):
    sink, values = written(lambda spec: TiffSink(path, spec, limit), spec)
    sink.finish(ATTRIBUTES)
    return values


@pytest.mark.parametrize(("example", "name", "limit", "kind", "big"), [
    ("an image", "a.tif", CLASSIC_LIMIT, "imagej", False),
    ("a stack", "a.tiff", CLASSIC_LIMIT, "imagej", False),
    ("shards", "a.tif", CLASSIC_LIMIT, "imagej", False),
    ("labels of a stack", "a.tif", CLASSIC_LIMIT, "ome", False),
    ("a stack", "a.tif", 7 * 20 * 16 - 1, "ome", True),
    ("a stack", "a.tif", 7 * 20 * 16, "imagej", False),
    ("classes of a stack", "a.tif", CLASSIC_LIMIT, "shaped", False),
    ("classes of a stack", "a.tif", 1, "shaped", True),
])
def test_the_description_suits_type_and_size(example, name, limit, kind, big, tmp_path):
    values = finished(tmp_path / name, EXAMPLES[example], limit)
    with tifffile.TiffFile(tmp_path / name) as tiff:
        assert tiff.series[0].kind == kind
        assert tiff.is_bigtiff == big
        assert tiff.series[0].axes == "".join(axis for axis in ("ZCYX" if "c" in open_sink(
            tmp_path / name, EXAMPLES[example]).layout.axes else "ZYX") if axis != "Z" or values.shape[1] > 1)
        assert tiff.pages[0].compression == 1
        np.testing.assert_array_equal(tiff.asarray(), values.swapaxes(0, 1).squeeze())


@pytest.mark.parametrize(("example", "name"), [
    ("a stack", "a.tif"), ("classes over time", "a.tif"), ("classes of an image", "a.tif"),
    ("labels of a stack", "a.tif"), ("classes of a stack", "a.tif"),
])
def test_it_reads_back_as_a_source_with_its_voxel_size(example, name, tmp_path):
    spec = EXAMPLES[example]
    values = finished(tmp_path / name, spec)
    source = open_source(tmp_path / name)
    np.testing.assert_array_equal(source.read(Box.of_shape(spec.shape[1:])), values)
    assert lengths(source.calibration) == pytest.approx(lengths(spec.calibration))
    assert source.calibration.axes == spec.calibration.axes
    assert source.channels == spec.classes


def lengths(calibration):
    """In nanometres or seconds."""
    factors = {**NANOMETRES, **SECONDS, None: 1}
    return [scale * factors[unit] for scale, unit in zip(calibration.scale, calibration.units, strict=True)]


def test_imagej_finds_unit_spacing_and_interval(tmp_path):
    finished(tmp_path / "a.tif", EXAMPLES["classes over time"])
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        metadata = tiff.imagej_metadata
        assert (metadata["unit"], metadata["spacing"], metadata["finterval"]) == ("micron", 0.003, 2)
        assert (metadata["frames"], metadata["slices"], metadata["channels"]) == (2, 6, 2)
        width, per = tiff.pages[0].tags["XResolution"].value
        assert per / width == pytest.approx(0.005)


def calibrated(scale, units):
    spec = EXAMPLES["a stack"]
    return replace(spec, calibration=replace(spec.calibration, scale=scale, units=units))


@pytest.mark.parametrize(("scale", "units", "found", "unit"), [
    ((0.05, 4.0, 4.0), ("micrometer", "nanometer", "nanometer"), (0.05, 0.004, 0.004), "micrometer"),
    ((50.0, 40.0, 20.0), ("nanometer", "angstrom", "angstrom"), (0.05, 0.004, 0.002), "micrometer"),
    ((50.0, 4.0, 0.004), ("nanometer", "nanometer", "micrometer"), (0.05, 0.004, 0.004), "micrometer"),
])
def test_imagej_knows_one_unit_so_others_are_converted(scale, units, found, unit, tmp_path):
    finished(tmp_path / "a.tif", calibrated(scale, units))
    calibration = open_source(tmp_path / "a.tif").calibration
    assert calibration.scale == pytest.approx(found)
    assert calibration.units == (unit,) * 3


def test_without_units_imagej_is_told_no_sizes(tmp_path):
    finished(tmp_path / "a.tif", calibrated((2.0, 3.0, 4.0), (None,) * 3))
    assert open_source(tmp_path / "a.tif").calibration.scale == (1, 1, 1)


def test_imagej_shows_the_name_of_the_class_of_each_slice(tmp_path):
    finished(tmp_path / "a.tif", EXAMPLES["classes over time"])
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.imagej_metadata["Labels"] == ["class 0", "class 1"] * 12


@pytest.mark.parametrize(("values", "most"), [(0, 1), (2, 1), (5, 4)])
def test_labels_spread_over_the_grey_values_of_imagej(values, most, tmp_path):
    finished(tmp_path / "a.tif", replace(EXAMPLES["a stack"], dtype=np.dtype("uint8"), kind="labels", values=values))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert (tiff.imagej_metadata["min"], tiff.imagej_metadata["max"]) == (0, most)


@pytest.mark.parametrize(("example", "name"), [("labels of a stack", "a.tif"), ("classes of a stack", "a.tif"),
                                               ("labels of a stack", "a.ome.tif")])
def test_programs_that_read_no_xml_find_the_voxel_size(example, name, tmp_path):
    sink, _ = written(lambda spec: open_sink(tmp_path / name, spec), EXAMPLES[example])
    sink.finish(ATTRIBUTES)
    with tifffile.TiffFile(tmp_path / name) as tiff:
        assert tiff.pages.first.tags["ResolutionUnit"].value == 3  # centimetres
        voxels, centimetres = tiff.pages.first.tags["XResolution"].value
        assert centimetres / voxels * 1e7 == pytest.approx(lengths(EXAMPLES[example].calibration)[-1])


def test_instances_in_uint16_are_an_image_of_imagej(tmp_path):
    finished(tmp_path / "a.tif", replace(EXAMPLES["labels of a stack"], dtype=np.dtype("uint16")))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_imagej
        assert tiff.imagej_metadata["unit"] == "micron"


def test_the_image_in_ome_xml_bears_the_name_of_the_input(tmp_path):
    for name in ("a.tif", "a.ome.tif"):
        spec = replace(EXAMPLES["labels of a stack"], title="brain")
        sink, _ = written(lambda spec, name=name: open_sink(tmp_path / name, spec), spec)
        sink.finish(ATTRIBUTES)
        with tifffile.TiffFile(tmp_path / name) as tiff:
            assert 'Name="brain"' in tiff.ome_metadata
