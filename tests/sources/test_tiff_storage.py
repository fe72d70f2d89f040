"""Pages of one TIFF image that are stored in different ways: each is decoded by its own tags."""

import struct

import numpy as np
import pytest
import tifffile

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source
from tiler.testing.sources import random_boxes

VALUES = np.random.default_rng(0).integers(0, 60_000, (3, 20, 24), np.uint16)
REVERSED = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)], np.uint8)
PRIVATE, FILL_ORDER = 65000, 266
BITS_REVERSED = [(PRIVATE, "H", 1, 2, True)]
STORED = {
    "compression": {"compression": "zlib"},
    "predictor": {"compression": "zlib", "predictor": 2},
    "tiles": {"tile": (16, 16)},
    "compressed tiles": {"tile": (16, 16), "compression": "lzw"},
    "rows of a strip": {"rowsperstrip": 7},
    "rows of a compressed strip": {"rowsperstrip": 7, "compression": "zlib"},
    "photometric": {"photometric": "miniswhite"},
}
PLANES = ('<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="24" SizeY="20" SizeZ="3" SizeC="1" '
          'SizeT="1">')
OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
DESCRIBED = {
    "no description": None,
    "OME": f'<OME xmlns="{OME}"><Image ID="Image:0">'
           f'{PLANES}<Channel ID="Channel:0:0"/><TiffData/></Pixels></Image></OME>',
    "ImageJ": "ImageJ=1.11a\nimages=3\nslices=3\n",
    "tifffile": '{"shape": [3, 20, 24]}',
}


def write(path, described, options, byteorder="<"):
    """Three pages, each with its own options."""
    with tifffile.TiffWriter(path, byteorder=byteorder) as writer:
        for number, own in enumerate(options):
            values = VALUES[number]
            if own.get("extratags") == BITS_REVERSED:
                values = REVERSED[values.view(np.uint8)].view(np.uint16)
            writer.write(values, metadata=None, contiguous=False, software=False,
                         description=DESCRIBED[described] if number == 0 else None,
                         **{"photometric": "minisblack", **own})
    with tifffile.TiffFile(path) as tiff, path.open("r+b") as file:  # tifffile does not write the tag itself
        for page in (tiff.pages[number].aspage() for number in range(len(options))):
            if PRIVATE in page.tags:
                file.seek(page.tags[PRIVATE].offset)
                file.write(struct.pack("<H", FILL_ORDER))
    return path


def check(path, values=VALUES, **options):
    source = open_source(path, **options)
    assert source.shape == (1, *values.shape)
    for box in [Box.of_shape(values.shape), *random_boxes(source, 6)]:
        np.testing.assert_array_equal(source.read(box)[0], values[box.slices])


@pytest.mark.parametrize("described", DESCRIBED)
@pytest.mark.parametrize("odd", [0, 1, 2])
@pytest.mark.parametrize("stored", STORED)
def test_one_page_that_is_stored_otherwise(stored, odd, described, tmp_path):
    check(write(tmp_path / "a.tif", described, [STORED[stored] if page == odd else {} for page in range(3)]))


@pytest.mark.parametrize("described", DESCRIBED)
@pytest.mark.parametrize("odd", [0, 1, 2])
def test_one_page_with_the_bits_in_the_other_order(odd, described, tmp_path):
    options = [{"extratags": BITS_REVERSED} if page == odd else {} for page in range(3)]
    check(write(tmp_path / "a.tif", described, options))


@pytest.mark.parametrize("described", DESCRIBED)
@pytest.mark.parametrize("odd", [0, 1, 2])
def test_strips_that_do_not_lie_in_a_row(odd, described, tmp_path):
    path = write(tmp_path / "a.tif", described, [{"rowsperstrip": 5}] * 3)
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages[odd].aspage()
        offsets, counts, place = page.dataoffsets, page.databytecounts, page.tags[273].valueoffset
    with path.open("r+b") as file:
        strips = []
        for offset, count in zip(offsets, counts, strict=True):
            file.seek(offset)
            strips.append(file.read(count))
            file.seek(offset)
            file.write(bytes(count))
        ends = {}
        for number in (2, 0, 3, 1):
            ends[number] = file.seek(0, 2)
            file.write(strips[number])
        file.seek(place)
        file.write(struct.pack("<4I", *(ends[number] for number in range(4))))
    check(path)


OTHERS = {**STORED, "byte order": {}, "BigTIFF": {}}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("stored", OTHERS)
def test_files_of_a_set_that_are_stored_otherwise(stored, swapped, tmp_path):
    pages = "".join(f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{z}.ome.tif">urn:uuid:{z}</UUID>'
                    "</TiffData>" for z in range(3))
    for z in range(3):
        other = (z == 1) is not swapped
        xml = (f'<OME xmlns="{OME}" UUID="urn:uuid:{z}"><Image ID="Image:0">'
               f'{PLANES}<Channel ID="Channel:0:0"/>{pages}</Pixels></Image></OME>')
        tifffile.imwrite(tmp_path / f"{z}.ome.tif", VALUES[z], metadata=None, description=xml,
                         byteorder=">" if other and stored == "byte order" else "<",
                         bigtiff=other and stored == "BigTIFF",
                         **{"photometric": "minisblack", **(OTHERS[stored] if other else {})})
    for z in range(3):
        check(tmp_path / f"{z}.ome.tif")


def test_the_same_in_the_other_byte_order(tmp_path):
    check(write(tmp_path / "a.tif", "OME", [{}, {"compression": "zlib"}, {"tile": (16, 16)}], byteorder=">"))


@pytest.mark.parametrize("described", ["no description", "OME", "ImageJ", "tifffile"])
def test_a_page_of_another_shape_is_no_part_of_the_stack(described, tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        for number, part in enumerate((slice(0, 20), slice(0, 10), slice(0, 20))):
            writer.write(VALUES[number, part], metadata=None, contiguous=False, photometric="minisblack",
                         description=DESCRIBED[described] if number == 0 else None)
    with pytest.raises(SourceError, match=r"of shape \((2, )?20, 24\) .* of shape \(10, 24\)"):
        open_source(path)


def test_white_as_zero_is_said_and_read_as_stored(tmp_path, caplog):
    write(tmp_path / "a.tif", "no description", [{"photometric": "miniswhite"}] * 3)
    check(tmp_path / "a.tif")
    assert "says that 0 is white: its voxels are read as stored" in caplog.text


def test_the_shape_that_tifffile_tells_wins_where_a_page_lost_axes_of_one_voxel(tmp_path):
    for shape in ((3, 50, 1), (3, 1, 50), (1, 50), (50, 1), (1, 1, 1), (4, 3, 1)):
        values = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
        tifffile.imwrite(tmp_path / "a.tif", values, photometric="minisblack")
        check(tmp_path / "a.tif", values.reshape((1, *shape)[-3:]))
