"""OME-TIFF as others see it: tiles, compression, levels, names and sizes."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
import tifffile

from tiler.errors import SinkError
from tiler.geometry import Box
from tiler.ports import UNWATCHED, Calibration, OutputSpec
from tiler.sinks import open_sink
from tiler.sinks.ome_tiff import OmeTiffSink
from tiler.sinks.pyramid import mean_of, mode_of, reduced
from tiler.sources import open_source
from tiler.testing.sinks import ATTRIBUTES, EXAMPLES, written


def finished(path, spec):
    sink, values = written(lambda spec: open_sink(path, spec), spec)
    sink.finish(ATTRIBUTES)
    return values


def large(kind, dtype, channels=2):
    calibration = Calibration(("z", "y", "x"), (2, 300, 2100), (4.0, 4.0, 4.0), ("nanometer",) * 3, (0.0,) * 3)
    return OutputSpec((channels, 2, 300, 2100), np.dtype(dtype), calibration,
                      tuple(f"class {i}" for i in range(channels)), channels > 1, (2, 300, 2100), (2, 300, 700),
                      kind=kind)


@pytest.mark.parametrize(("kind", "dtype", "channels", "method"), [
    ("probabilities", "float32", 2, mean_of), ("instances", "uint32", 1, mode_of)])
def test_large_planes_have_coarser_levels_as_subifds(kind, dtype, channels, method, tmp_path):
    values = finished(tmp_path / "a.ome.tif", large(kind, dtype, channels))
    expected = values.swapaxes(0, 1)  # pages lie in the order z, c
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        (series,) = tiff.series
        assert (series.kind, series.axes) == ("ome", "ZCYX" if channels > 1 else "ZYX")
        assert not tiff.is_bigtiff
        assert [level.shape[-2:] for level in series.levels] == [(300, 2100), (150, 1050), (75, 525), (38, 263)]
        for level in series.levels:
            np.testing.assert_array_equal(level.asarray().reshape(expected.shape), expected)
            page = level.keyframe
            assert (page.compression, page.is_tiled, page.is_reduced) == (8, True, level is not series.levels[0])
            expected = reduced(expected, (1, 1, 2, 2), method)


def test_small_planes_have_none(tmp_path):
    values = finished(tmp_path / "a.ome.tif", EXAMPLES["a stack"])
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert len(tiff.series[0].levels) == 1
        np.testing.assert_array_equal(tiff.asarray(), values[0])


@pytest.mark.parametrize("spec", [large("probabilities", "uint8"), large("labels", "uint8", 1)])
def test_a_region_of_a_finished_output_is_that_part(spec, tmp_path):
    values = finished(tmp_path / "a.ome.tif", spec)
    for source in (open_sink(tmp_path / "a.ome.tif", spec), open_source(tmp_path / "a.ome.tif")):
        for box in (Box.between((1, 299, 511), (2, 300, 513)), Box.between((0, 17, 1024), (2, 100, 2100))):
            np.testing.assert_array_equal(source.read(box), values[(slice(None), *box.slices)])


def test_ome_xml_tells_axes_sizes_and_names(tmp_path):
    spec = EXAMPLES["classes over time"]
    finished(tmp_path / "a.ome.tiff", spec)
    with tifffile.TiffFile(tmp_path / "a.ome.tiff") as tiff:
        pixels = ElementTree.fromstring(tiff.ome_metadata).find(".//{*}Pixels")
    sizes = {name: float(value) for name, value in pixels.attrib.items() if name.startswith(("Size", "Phys", "Time"))
             and not name.endswith("Unit")}
    assert sizes == {"SizeX": 21, "SizeY": 9, "SizeC": 2, "SizeZ": 6, "SizeT": 2, "PhysicalSizeX": 5,
                     "PhysicalSizeY": 4, "PhysicalSizeZ": 3, "TimeIncrement": 2}
    assert {pixels.get(f"PhysicalSize{axis}Unit") for axis in "XYZ"} == {"nm"}
    assert (pixels.get("DimensionOrder"), pixels.get("Type")) == ("XYCZT", "float")
    assert [channel.get("Name") for channel in pixels.findall("{*}Channel")] == ["class 0", "class 1"]


def test_large_files_are_bigtiff(tmp_path, monkeypatch):
    monkeypatch.setattr("tiler.sinks.ome_tiff.CLASSIC_LIMIT", 10)
    values = finished(tmp_path / "a.ome.tif", EXAMPLES["a stack"])
    with tifffile.TiffFile(tmp_path / "a.ome.tif") as tiff:
        assert tiff.is_bigtiff
        np.testing.assert_array_equal(tiff.asarray(), values[0])


def test_one_band_of_a_page_is_read_at_a_time(tmp_path):
    spec = replace(large("labels", "uint8", 1), shape=(1, 2, 2100, 300), block=(2, 2100, 300), chunk=(2, 700, 300))
    spec = replace(spec, calibration=replace(spec.calibration, sizes=(2, 2100, 300)))
    sink, _ = written(lambda spec: OmeTiffSink(tmp_path / "a.ome.tif", spec), spec)
    (array, *_), reads = sink.stage.build(sink.levels(), UNWATCHED), []

    class Counting:
        shape, chunks, dtype = array.shape, array.chunks, array.dtype

        def __getitem__(self, index):
            reads.append(array[index])
            return reads[-1]

    sink.convert([Counting()], tmp_path / "b.ome.tif", UNWATCHED)
    assert {read.shape for read in reads} == {(512, 300), (52, 300)}


@pytest.mark.parametrize("dtype", ["float16", "uint64", "int64"])
def test_a_dtype_that_ome_does_not_know_is_refused(dtype, tmp_path):
    with pytest.raises(SinkError, match=rf"OME-TIFF holds .*; got {dtype}: write \.tif, \.h5 or \.zarr \(output=\)"):
        open_sink(tmp_path / "a.ome.tif", replace(EXAMPLES["a stack"], dtype=np.dtype(dtype)))
