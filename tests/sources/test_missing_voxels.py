"""What a file promises and does not hold: refused, or zeros by consent, which the identity then says."""

import logging
import os
import shutil

import h5py
import mrcfile
import numpy as np
import pytest
import tensorstore
import tifffile
import zarr

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source

VALUES = np.random.default_rng(0).integers(1, 255, (4, 20, 24), np.uint8)
OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"


def read(source):
    return source.read(Box.of_shape(source.shape[1:]))[0]


def check_refused_or_zero(path, message, expected):
    """Refused without consent; with it, read with zeros in place of what is not there."""
    with pytest.raises(SourceError, match=message) as refusal:
        open_source(path)
    assert "\n" not in str(refusal.value)
    assert 'missing="zero"' in str(refusal.value)
    source = open_source(path, missing="zero")
    np.testing.assert_array_equal(read(source), expected)
    assert source.identity["missing"]


def without(planes):
    """The values with zeros in some planes."""
    values = VALUES.copy()
    values[planes] = 0
    return values


def ome_xml(planes, data, uuid=""):
    return (f'<OME xmlns="{OME}"{uuid and f" UUID={uuid!r}"}><Image ID="Image:0" Name="a"><Pixels ID="Pixels:0" '
            f'DimensionOrder="XYZCT" Type="uint8" SizeX="24" SizeY="20" SizeZ="{planes}" SizeC="1" SizeT="1">'
            f'<Channel ID="Channel:0:0"/>{data}</Pixels></Image></OME>')


def write_pages(path, pages, xml):
    with tifffile.TiffWriter(path) as writer:
        for number, page in enumerate(pages):
            writer.write(page, metadata=None, contiguous=False, photometric="minisblack",
                         description=xml if number == 0 else None)
    return path


def test_an_ome_tiff_with_fewer_pages_than_it_promises(tmp_path):
    path = write_pages(tmp_path / "a.ome.tif", VALUES[:3], ome_xml(4, "<TiffData/>"))
    check_refused_or_zero(path, "promises 4 planes, 3 of them are there", without([3]))
    np.testing.assert_array_equal(read(open_source(f"{path}:pages")), VALUES[:3])


@pytest.mark.parametrize("gap", range(4))
def test_a_plane_that_no_tiff_data_names(gap, tmp_path):
    there = [z for z in range(4) if z != gap]
    data = "".join(f'<TiffData IFD="{i}" FirstZ="{z}" PlaneCount="1"/>' for i, z in enumerate(there))
    path = write_pages(tmp_path / "a.ome.tif", VALUES[there], ome_xml(4, data))
    check_refused_or_zero(path, "promises 4 planes, 3 of them are there", without([gap]))


@pytest.mark.parametrize("data", ["<TiffData/>", '<TiffData IFD="0" PlaneCount="2"/>', ""])
def test_pages_that_the_xml_does_not_name_are_an_image_of_their_own(data, tmp_path):
    path = write_pages(tmp_path / "a.ome.tif", VALUES, ome_xml(2, data))
    with pytest.raises(SourceError, match=r"holds 2 images: 0 \(a\) of shape \(2, 20, 24\) .*; 1 \(pages that the "
                                          r"OME-XML does not name\) of shape \(2, 20, 24\)"):
        open_source(path)
    np.testing.assert_array_equal(read(open_source(f"{path}:0")), VALUES[:2])
    np.testing.assert_array_equal(read(open_source(f"{path}:1")), VALUES[2:])
    np.testing.assert_array_equal(read(open_source(f"{path}:pages")), VALUES)


@pytest.fixture
def ome_set(tmp_path):
    """Four files of one plane each, which a companion file describes."""
    data = "".join(f'<TiffData IFD="0" FirstZ="{z}" PlaneCount="1"><UUID FileName="{z}.ome.tif">urn:uuid:{z}</UUID>'
                   "</TiffData>" for z in range(4))
    (tmp_path / "set.companion.ome").write_text(ome_xml(4, data))
    for z in range(4):
        xml = (f'<OME xmlns="{OME}" UUID="urn:uuid:{z}"><BinaryOnly MetadataFile="set.companion.ome" '
               'UUID="urn:uuid:c"/></OME>')
        write_pages(tmp_path / f"{z}.ome.tif", VALUES[z:z + 1], xml)
    return tmp_path


def test_a_set_is_read_from_any_of_its_files(ome_set):
    files = [ome_set / f"{z}.ome.tif" for z in range(4)]
    for path in (*files, ome_set / "set.companion.ome", ome_set):
        source = open_source(path)
        np.testing.assert_array_equal(read(source), VALUES)
        told = {source.identity["path"], *(other["path"] for other in source.identity["others"])}
        assert told >= {str(file) for file in (*files, ome_set / "set.companion.ome")}


def test_a_file_of_a_set_that_is_not_there(ome_set):
    (ome_set / "2.ome.tif").unlink()
    check_refused_or_zero(ome_set / "0.ome.tif", r"3 of them are there \(missing: 2\.ome\.tif\)", without([2]))


def test_a_set_whose_description_is_not_there(ome_set):
    (ome_set / "set.companion.ome").unlink()
    with pytest.raises(SourceError, match=r"set\.companion\.ome describes, and that file is not there"):
        open_source(ome_set / "1.ome.tif")
    np.testing.assert_array_equal(read(open_source(f"{ome_set}/1.ome.tif:pages")), VALUES[1:2].reshape(1, 20, 24))


def test_a_set_does_not_reach_out_of_its_folder(ome_set):
    companion = ome_set / "set.companion.ome"
    (ome_set / "in").mkdir()
    for file in [companion, *ome_set.glob("*.tif")]:
        if not file.name.startswith("3"):
            shutil.move(file, ome_set / "in")
    moved = ome_set / "in/set.companion.ome"
    moved.write_text(moved.read_text().replace('"3.ome.tif"', '"../3.ome.tif"'))
    with pytest.raises(SourceError, match=r"names '.*3\.ome\.tif', which does not lie in the same folder .*trust=True"):
        open_source(ome_set / "in/0.ome.tif")
    np.testing.assert_array_equal(read(open_source(ome_set / "in/0.ome.tif", trust=True)), VALUES)


@pytest.mark.parametrize("described", ['{"shape": [4, 20, 24]}', "ImageJ=1.11a\nimages=4\nslices=4\n"])
@pytest.mark.parametrize("stored", [None, "zlib"])
def test_a_tiff_whose_description_promises_more_slices_than_there_are(described, stored, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for page in VALUES[:3]:
            writer.write(page, metadata=None, contiguous=False, photometric="minisblack", compression=stored,
                         description=described)
            described = None
    with pytest.raises(SourceError, match="promises 4 slices, the file holds 3"):
        open_source(tmp_path / "a.tif")
    np.testing.assert_array_equal(read(open_source(f"{tmp_path}/a.tif:pages")), VALUES[:3])


@pytest.fixture
def virtual(tmp_path):
    layout = h5py.VirtualLayout(VALUES.shape, "u1")
    for z in range(4):
        with h5py.File(tmp_path / f"part{z}.h5", "w") as file:
            file["x"] = VALUES[z]
        layout[z] = h5py.VirtualSource(f"part{z}.h5", "x", (20, 24))
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("raw", layout, fillvalue=0)
    return tmp_path / "a.h5"


def test_a_virtual_dataset_whose_file_is_gone(virtual):
    np.testing.assert_array_equal(read(open_source(virtual)), VALUES)
    (virtual.parent / "part1.h5").unlink()
    check_refused_or_zero(virtual, r"parts of its voxels are in other files: part1\.h5 does not exist", without([1]))


def test_a_virtual_dataset_whose_file_holds_something_else(virtual):
    with h5py.File(virtual.parent / "part1.h5", "w") as file:
        file["y"] = VALUES[0]
    check_refused_or_zero(virtual, r"part1\.h5 holds no dataset x", without([1]))


def test_the_files_of_a_virtual_dataset_belong_to_its_identity(virtual):
    first = open_source(virtual).identity
    with h5py.File(virtual.parent / "part3.h5", "a") as file:
        file["x"][...] = 7
        file["y"] = np.zeros(3)
    assert open_source(virtual).identity != first


@pytest.mark.parametrize(("left", "message"), [(0, "does not exist"), (500, "is truncated: 1920 bytes are needed")])
def test_external_storage_that_is_gone_or_cut_short(left, message, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        elsewhere = [(str(tmp_path / "a.raw"), 0, VALUES.size)]
        file.create_dataset("raw", VALUES.shape, "u1", external=elsewhere)[...] = VALUES
    np.testing.assert_array_equal(read(open_source(tmp_path / "a.h5")), VALUES)
    if left:
        with (tmp_path / "a.raw").open("r+b") as raw:
            raw.truncate(left)
    else:
        (tmp_path / "a.raw").unlink()
    with pytest.raises(SourceError, match=message):
        open_source(tmp_path / "a.h5")


def zarr_array(path, version, separator):
    encoding = {"name": "v2" if version == 2 else "default", "separator": separator}
    array = zarr.create_array(path, shape=VALUES.shape, dtype="u1", chunks=(2, 16, 16), zarr_format=version,
                              chunk_key_encoding=encoding)
    array[...] = VALUES
    return path


def rename_chunks(path, version, separator, some=None):
    """Give the chunks names with the other separator."""
    other = "/" if separator == "." else "."
    start = "" if version == 2 else "c"
    for number, cell in enumerate(np.ndindex(2, 2, 2)):
        if some is None or number in some:
            old, new = (path / sign.join([*start, *map(str, cell)]) for sign in (separator, other))
            new.parent.mkdir(parents=True, exist_ok=True)
            old.rename(new)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("separator", ["/", "."])
def test_zarr_chunks_under_names_with_another_separator_are_read(version, separator, tmp_path, caplog):
    path = zarr_array(tmp_path / "a.zarr", version, separator)
    rename_chunks(path, version, separator)
    np.testing.assert_array_equal(read(open_source(path)), VALUES)
    assert "its chunks are called like" in caplog.text


@pytest.mark.parametrize("version", [2, 3])
def test_zarr_chunks_under_names_of_two_kinds_are_refused(version, tmp_path):
    path = zarr_array(tmp_path / "a.zarr", version, ".")
    rename_chunks(path, version, ".", some={1, 2})
    with pytest.raises(SourceError, match=r"some of its chunks are called like .* and others like"):
        open_source(path)


@pytest.mark.parametrize("version", [2, 3])
def test_a_zarr_array_without_a_single_chunk(version, tmp_path):
    zarr.create_array(tmp_path / "a.zarr", shape=(4, 20, 24), dtype="u1", chunks=(2, 16, 16), zarr_format=version)
    check_refused_or_zero(tmp_path / "a.zarr", "not one chunk of the array is there", without(slice(None)))


def test_an_empty_output_of_tiler_is_whole(tmp_path, caplog):
    group = zarr.create_group(tmp_path / "a.zarr", attributes={"tiler": {"versions": {}}})
    group.create_array("0", data=np.zeros((4, 20, 24), np.uint8))
    assert not read(open_source(tmp_path / "a.zarr/0")).any()


def test_a_zarr_array_that_vanishes_while_it_is_read(tmp_path):
    path = zarr_array(tmp_path / "a.zarr", 3, "/")
    source = open_source(path)
    read(source)
    shutil.rmtree(path)
    with pytest.raises(SourceError, match="has vanished while it was read"):
        read(source)


def test_a_chunk_that_is_not_there_stays_the_fill_value(tmp_path, caplog):
    path = zarr_array(tmp_path / "a.zarr", 3, "/")
    (path / "c/1/0/0").unlink()
    expected = VALUES.copy()
    expected[2:, :16, :16] = 0
    with caplog.at_level(logging.WARNING):
        np.testing.assert_array_equal(read(open_source(path)), expected)
    assert not caplog.text


def n5(path):
    store = tensorstore.open({"driver": "n5", "kvstore": {"driver": "file", "path": f"{path}/"}, "create": True,
                              "metadata": {"dimensions": [24, 20, 4], "blockSize": [16, 16, 2], "dataType": "uint8",
                                           "compression": {"type": "gzip"}}}).result()
    store[...] = VALUES.T
    return path


def precomputed(path, encoding="raw"):
    store = tensorstore.open({
        "driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{path}/"}, "create": True,
        "multiscale_metadata": {"type": "image", "data_type": "uint8", "num_channels": 1},
        "scale_metadata": {"size": [24, 20, 4], "resolution": [4, 4, 40], "encoding": encoding,
                           "chunk_size": [16, 16, 2]}}).result()
    store[..., 0] = VALUES.T
    return path


@pytest.mark.parametrize("make", [n5, precomputed])
def test_a_volume_in_blocks_without_a_single_block(make, tmp_path):
    path = make(tmp_path / "a.n5" / "raw" if make is n5 else tmp_path / "a")
    np.testing.assert_array_equal(read(open_source(path)), VALUES)
    for file in path.rglob("*"):
        if file.is_file() and file.name not in ("info", "attributes.json"):
            file.unlink()
    check_refused_or_zero(path, "not one chunk of the array is there", without(slice(None)))


def test_what_missing_may_be(tmp_path):
    with pytest.raises(SourceError, match=r"give one of refuse, zero, not 'maybe' \(missing=\)"):
        open_source(zarr_array(tmp_path / "a.zarr", 3, "/"), missing="maybe")


@pytest.mark.parametrize("version", [2, 3])
def test_a_region_of_a_zarr_without_a_single_chunk(version, tmp_path):
    path = zarr_array(tmp_path / "a.zarr", version, "/")
    for cell in np.ndindex(2, 2):
        (path / ("c" if version == 3 else "") / "1" / "/".join(map(str, cell))).unlink()
    source = open_source(path)
    source.check_region(Box.between((0, 0, 0), (3, 20, 24)))
    with pytest.raises(SourceError, match=r"not one chunk of the region .* is there"):
        source.check_region(Box.between((2, 0, 0), (4, 20, 24)))
    source.check_region(Box.between((2, 0, 0), (4, 20, 24)), missing="zero")


def test_masked_voxels_of_an_array_are_not_there(tmp_path):
    masked = np.ma.masked_array(VALUES, VALUES > 250)
    with pytest.raises(SourceError, match=r"voxels of the array are masked \(array\.filled\(\.\.\.\) gives them"):
        open_source(masked)
    expected = np.where(VALUES > 250, 0, VALUES)
    np.testing.assert_array_equal(read(open_source(masked, missing="zero")), expected)
    np.testing.assert_array_equal(read(open_source(np.ma.masked_array(VALUES, False))), VALUES)


@pytest.mark.parametrize("lost", [1, 480, 700])
def test_an_mrc_file_with_fewer_sections_than_it_promises(lost, tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(VALUES)
    os.truncate(tmp_path / "a.mrc", os.path.getsize(tmp_path / "a.mrc") - 2 * lost)  # uint8 is stored in 16 bits
    gone = -(-lost // 480)
    check_refused_or_zero(tmp_path / "a.mrc", f"is truncated.*{4 - gone} of 4 sections", without(range(4 - gone, 4)))


def test_parts_of_a_virtual_dataset_that_are_in_no_file_are_said(tmp_path, caplog):
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["raw"] = VALUES[:3]
    layout = h5py.VirtualLayout(VALUES.shape, "u1")
    layout[:3] = h5py.VirtualSource("part.h5", "raw", VALUES[:3].shape)
    with h5py.File(tmp_path / "a.h5", "w", libver="latest") as file:
        file.create_virtual_dataset("raw", layout)
    np.testing.assert_array_equal(read(open_source(tmp_path / "a.h5")), without([3]))
    assert "480 of its 1920 voxels are in no file" in caplog.text
