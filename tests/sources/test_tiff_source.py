"""TIFF files of many makers: whole and by region as tifffile reads them; damaged ones are refused."""

import logging
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source
from tiler.sources.axes import CANONICAL
from tiler.testing.sources import random_boxes

DATA = Path(__file__).parents[3] / "shared" / "data" / "formats"
FILES = sorted(file for folder in ("image-tiff", "viv")
               for file in (DATA / folder).glob("**/*.tif*") if file.is_file())


def as_volume(view, array):
    """``(c, z, y, x)`` of an array without time."""
    array = array.reshape(view.sizes)
    array = array.transpose(sorted(range(array.ndim), key=lambda i: CANONICAL.index(view.axes[i])))
    return array.reshape(view.shape)


@pytest.mark.skipif(not FILES, reason="the collection of TIFF files is not here")
@pytest.mark.parametrize("group", range(8))
def test_files_of_other_makers_read_as_tifffile_reads_them(group, caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")
    for file in FILES[group::8]:
        lonely = "multifile-Z" in file.name  # a part of a set whose description is not there
        source = open_source(f"{file}:pages" if lonely else file)
        expected = as_volume(source.view, tifffile.imread(file)).astype(source.dtype)
        for box in [Box.of_shape(source.shape[1:]), *random_boxes(source, 5)]:
            part = expected[(slice(None), *box.slices)]
            np.testing.assert_array_equal(source.read(box), part, err_msg=file.name)


STORED = {
    "in one run": {},
    "ImageJ in one run": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ImageJ as ImageJ writes it": {"imagej": True, "metadata": {"axes": "ZYX"}, "truncate": True},
    "the first page alone": {"truncate": True},
    "compressed pages": {"compression": "zlib"},
    "OME tiles": {"ome": True, "tile": (16, 16), "metadata": {"axes": "ZYX"}},
    "raw pages apart": {"rowsperstrip": 7},
}


@pytest.mark.parametrize("stored", STORED)
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.floats(0, 1))
def test_a_file_cut_anywhere_is_refused_or_whole(stored, cut, tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (5, 20, 24), np.uint8)
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, values, photometric="minisblack", **STORED[stored])
    data = file.read_bytes()
    file.write_bytes(data[:int(cut * len(data))])
    try:
        source = open_source(file)
    except SourceError as error:
        message = str(error)
    else:
        np.testing.assert_array_equal(source.read(Box.of_shape((5, 20, 24)))[0], values)
        message = ""
    assert "\n" not in message


@pytest.mark.parametrize("stored", STORED)
def test_a_file_cut_by_one_byte_of_voxels_is_called_truncated(stored, tmp_path):
    file = tmp_path / "a.tif"
    values = np.random.default_rng(0).integers(0, 255, (5, 20, 24), np.uint8)
    tifffile.imwrite(file, values, photometric="minisblack", **STORED[stored])
    with tifffile.TiffFile(file) as tiff:
        end = max(offset + count for page in tiff.pages
                  for offset, count in zip(page.dataoffsets, page.databytecounts, strict=True))
        run = tiff.series[0].dataoffset
    end = max(end, run + values.nbytes) if run else end
    file.write_bytes(file.read_bytes()[:end - 1])
    with pytest.raises(SourceError, match=r"truncated|not a readable"):
        open_source(file)


@pytest.mark.parametrize("content", [b"", b"II*\0", b"II*\0\x08\0\0\0", b"II*\0\0\0\0\0", b"no TIFF file at all"])
def test_what_is_no_tiff_is_refused_in_one_line(content, tmp_path):
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(SourceError) as refusal:
        open_source(tmp_path / "a.tif")
    assert "\n" not in str(refusal.value)


def test_only_the_tiles_that_a_box_touches_are_decoded(tmp_path, monkeypatch):
    file = tmp_path / "a.tif"
    values = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    tifffile.imwrite(file, values, tile=(16, 16), compression="zlib")
    source = open_source(file)
    assert source.read_unit == (1, 16, 16)
    series = source.raw.handle()
    calls = []

    def decode(data, number, **options):
        calls.append(number)
        return original(data, number, **options)

    original = series.first.layout.decode
    object.__setattr__(series.first.layout, "decode", decode)
    source.read(Box.between((0, 15, 32), (1, 17, 33)))
    assert calls == [2, 6]


def test_several_images_in_a_file_are_named_and_one_is_chosen(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (30, 40), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(values)
        writer.write(np.zeros((10, 12), np.uint16))
    message = r"holds 2 images: 0 of shape \(30, 40\) and dtype uint8; 1 of shape \(10, 12\) and dtype uint16: choose"
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / "a.tif")
    with pytest.raises(SourceError, match="not image 2"):
        open_source(f"{tmp_path}/a.tif:2")
    np.testing.assert_array_equal(open_source(f"{tmp_path}/a.tif:0").read(Box.of_shape((1, 30, 40)))[0, 0], values)
    assert open_source(f"{tmp_path}/a.tif:1").shape == (1, 1, 10, 12)


def test_unknown_axes_are_refused_and_can_be_named(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 20, 24), np.uint8), photometric="minisblack",
                     metadata={"axes": "HYX"})
    with pytest.raises(SourceError, match=r"axes 'HYX' .*\(axes=\)"):
        open_source(tmp_path / "a.tif")
    assert open_source(tmp_path / "a.tif", axes="cyx").shape == (4, 1, 20, 24)


@pytest.mark.parametrize(("options", "scale", "units"), [
    ({"imagej": True, "resolution": (1 / 4, 1 / 5), "metadata": {"axes": "ZYX", "unit": "nm", "spacing": 50.0}},
     (50.0, 5.0, 4.0), ("nanometer",) * 3),
    ({"imagej": True, "resolution": (2, 2), "metadata": {"axes": "TYX", "unit": "\\u00B5m", "finterval": 0.5}},
     (0.5, 0.5, 0.5), ("second", "micrometer", "micrometer")),
    ({"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 4.0, "PhysicalSizeXUnit": "nm",
                                "PhysicalSizeY": 0.1, "PhysicalSizeZ": 40.0, "PhysicalSizeZUnit": "Å"}},
     (40.0, 0.1, 4.0), ("angstrom", "micrometer", "nanometer")),
    ({"resolution": (10000, 5000), "resolutionunit": "CENTIMETER", "metadata": {"axes": "ZYX"}},
     (1.0, 2.0, 1.0), (None, "micrometer", "micrometer")),
    ({"resolution": (72, 72), "resolutionunit": "INCH", "metadata": {"axes": "ZYX"}}, (1.0,) * 3, (None,) * 3),
    ({"metadata": {"axes": "ZYX"}}, (1.0,) * 3, (None,) * 3),
])
def test_voxel_sizes(options, scale, units, tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 20, 24), np.uint8), photometric="minisblack", **options)
    calibration = open_source(tmp_path / "a.tif").calibration
    assert calibration.scale == pytest.approx(scale)
    assert calibration.units == units


def test_an_ome_tiff_of_several_files(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (2, 20, 24), np.uint8)
    names = ["first.ome.tif", "second.ome.tif"]
    tiff_data = "".join(f'<TiffData FirstZ="{z}" IFD="0" PlaneCount="1"><UUID FileName="{name}">'
                        f"urn:uuid:{z}</UUID></TiffData>" for z, name in enumerate(names))
    for z, name in enumerate(names):
        xml = (f'<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:{z}">'
               '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" SizeX="24" '
               f'SizeY="20" SizeZ="2" SizeC="1" SizeT="1"><Channel ID="Channel:0:0"/>{tiff_data}'
               "</Pixels></Image></OME>")
        tifffile.imwrite(tmp_path / name, values[z], description=xml, metadata=None)
    source = open_source(tmp_path / names[0])
    np.testing.assert_array_equal(source.read(Box.of_shape((2, 20, 24)))[0], values)
    assert [other["path"] for other in source.identity["others"]] == [str(tmp_path / names[1])]


def test_a_page_that_cannot_be_decoded_is_refused_in_one_line(tmp_path):
    file = tmp_path / "a.tif"
    tifffile.imwrite(file, np.arange(400, dtype=np.uint8).reshape(20, 20), compression="zlib")
    with tifffile.TiffFile(file) as tiff:
        offset = tiff.pages[0].dataoffsets[0]
    data = bytearray(file.read_bytes())
    data[offset:offset + 10] = b"\xff" * 10
    file.write_bytes(data)
    with pytest.raises(SourceError, match="cannot read") as refusal:
        open_source(file).read(Box.of_shape((1, 20, 20)))
    assert "\n" not in str(refusal.value)
