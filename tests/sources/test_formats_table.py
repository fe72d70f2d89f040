"""Every file of the collection: opened as what it is, voxel for voxel, or refused in one line that says why."""

import logging
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source

DATA = Path(__file__).parents[3] / "shared" / "data" / "formats"
pytestmark = [
    pytest.mark.skipif(not DATA.is_dir(), reason="the collection of files is not here"),
    # bioformats2raw wrote an empty list of filters, which zarr warns of
    pytest.mark.filterwarnings("ignore:Found an empty list of filters"),
]

VIV = "viv/packages/loaders/tests/fixtures"
AVIVATOR = "viv/sites/avivator/data"
BDV = "ilastik-hdf5/smallVideoBdv.h5"
IMAGES = "ome-zarr-examples"
NO_CHUNK = {"missing": "zero"}  # the collection leaves the chunks of these arrays out

# Path, options, shape (c, z, y, x), axes without c, dtype.
READABLE = [
    ("fib25-hdf5/test-gt.lzf.h5", {}, (1, 50, 100, 200), "zyx", "int32"),
    ("fib25-hdf5/test-image.h5", {}, (1, 50, 100, 200), "zyx", "uint8"),
    ("fib25-hdf5/train-gt.lzf.h5", {}, (1, 50, 100, 200), "zyx", "int32"),
    ("fib25-hdf5/train-image.h5:/stack", {}, (1, 50, 100, 200), "zyx", "uint8"),
    ("fib25-hdf5/train-p1.lzf.h5", {}, (1, 50, 100, 200), "zyx", "float32"),
    ("ilastik-hdf5/2d.h5", {}, (1, 1, 1024, 1344), "yx", "uint8"),
    ("ilastik-hdf5/2d3c.h5", {"axes": "yxc"}, (3, 1, 73, 187), "yx", "uint8"),
    ("ilastik-hdf5/3d.h5", {}, (1, 50, 60, 55), "zyx", "uint8"),
    ("ilastik-hdf5/3d1c.h5", {"axes": "zyxc"}, (1, 50, 60, 55), "zyx", "uint8"),
    ("ilastik-hdf5/5t3d2c.h5", {"axes": "tzyxc"}, (2, 165, 77, 45), "tzyx", "uint8"),
    (f"{BDV}:/t00000/s00/0/cells", {}, (1, 1, 408, 408), "zyx", "int16"),
    (f"{BDV}:/t00001/s00/1/cells", {}, (1, 1, 204, 204), "zyx", "int16"),
    *[(f"image-tiff/bigtiff/BigTIFF{name}.tif", {}, (3, 1, 64, 64), "yx", "uint8") for name in
      ("", "Long", "Motorola")],
    *[(f"image-tiff/gradient-{n}c-{bits}b{kind}.tiff", {}, (n, 1, 1, 256), "yx",
       f"{'float' if kind else 'uint'}{bits}") for n in (1, 3) for bits, kind in
      ((32, ""), (64, ""), (32, "-float"), (64, "-float")) if (n, bits, kind) != (3, 64, "-float")],
    ("image-tiff/hpredict-1c-12b.tiff", {}, (1, 1, 2, 4), "yx", "uint16"),
    ("image-tiff/int16.tif", {}, (1, 1, 64, 64), "yx", "int16"),
    ("image-tiff/int16_rgb.tif", {}, (3, 1, 64, 64), "yx", "int16"),
    ("image-tiff/int16_zstd.tif", {}, (1, 1, 64, 64), "yx", "int16"),
    *[(f"image-tiff/minisblack-1c-{bits}.tiff", {}, (1, 1, 151, 157), "yx", dtype) for bits, dtype in
      (("8b", "uint8"), ("16b", "uint16"), ("i8b", "int8"), ("i16b", "int16"))],
    *[(f"image-tiff/minisblack-1c-{bits}b.tiff", {}, (1, 1, 2, 8), "yx", "uint8") for bits in (3, 5, 7)],
    ("image-tiff/minisblack-2c-8b-alpha.tiff", {}, (2, 1, 64, 64), "yx", "uint8"),
    ("image-tiff/predictor-3-gray-f32.tif", {}, (1, 1, 200, 200), "yx", "float32"),
    ("image-tiff/predictor-3-rgb-f32.tif", {}, (3, 1, 200, 200), "yx", "float32"),
    ("image-tiff/quad-tile.jpg.tiff", {}, (3, 1, 384, 512), "yx", "uint8"),
    ("image-tiff/tiled-cmyk-i8.tif", {}, (4, 1, 367, 490), "yx", "int8"),
    ("image-tiff/tiled-gray-i1.tif", {}, (1, 1, 51, 37), "yx", "uint8"),
    ("image-tiff/tiled-jpeg-rgb-u8.tif", {}, (3, 1, 499, 374), "yx", "uint8"),
    ("image-tiff/tiled-jpeg-ycbcr.tif", {}, (3, 1, 499, 374), "yx", "uint8"),
    ("image-tiff/tiled-oversize-gray-i8.tif", {}, (1, 1, 374, 499), "yx", "int8"),
    ("image-tiff/tiled-rect-rgb-u8.tif", {}, (3, 1, 367, 490), "yx", "uint8"),
    ("image-tiff/tiled-rgb-u8.tif", {}, (3, 1, 499, 374), "yx", "uint8"),
    (f"{IMAGES}/image-01.zarr", NO_CHUNK, (1, 1, 1000, 1000), "yx", "float64"),
    (f"{IMAGES}/image-02.zarr", {}, (1, 1, 200, 200), "yx", "float64"),
    (f"{IMAGES}/image-03.zarr", {}, (1, 2, 100, 100), "zyx", "float64"),
    (f"{IMAGES}/image-04.zarr", NO_CHUNK, (1, 2, 64, 64), "zyx", "float64"),
    (f"{IMAGES}/image-04.zarr/1", NO_CHUNK, (1, 2, 32, 32), "zyx", "float64"),
    (f"{IMAGES}/plate-01.zarr/A/1/0", NO_CHUNK, (1, 1, 1000, 1000), "yx", "float64"),
    (f"{VIV}/ome-zarr/blobs_image_v04.ome.zarr", {}, (3, 1, 12, 12), "yx", "float64"),
    (f"{VIV}/ome-zarr/blobs_image_v05.ome.zarr", {"channel": "2,0"}, (2, 1, 12, 12), "yx", "float64"),
    (f"{VIV}/bioformats-zarr/data.zarr", {}, (3, 1, 167, 439), "tzyx", "int8"),
    (f"{VIV}/bioformats-zarr/data.zarr/0/1", {}, (3, 1, 83, 219), "tzyx", "int8"),
    *[(f"{VIV}/multi-tiff/Channel_{number}.tif", {}, (1, 1, 167, 439), "yx", "uint8") for number in range(3)],
    *[(f"{folder}/multi-channel.ome.tif", {}, (3, 1, 167, 439), "yx", "int8") for folder in (VIV, AVIVATOR)],
    # their description is in a file that is not there
    *[(f"{AVIVATOR}/multifile-Z{number}.ome.tiff:pages", {}, (1, 1, 24, 18), "yx", "uint8") for number in range(1, 6)],
]

REFUSED = [
    *[(f"{AVIVATOR}/multifile-Z{number}.ome.tiff", r"a set which multifile\.companion\.ome describes, and that file "
       r"is not there or not readable; .*:pages reads") for number in range(1, 6)],
    ("fib25-hdf5/groundtruth.h5.gz", "is compressed as a whole, so no region of it can be read: decompress it first"),
    (BDV, r"holds 16 datasets: give one of .* and 8 more, as in .*smallVideoBdv\.h5:/t00000/s00/0/cells"),
    (f"{BDV}:/cells", r"holds no dataset /cells: give one of /s00/resolutions, "),
    ("ilastik-hdf5/smallVideoBdv.xml", r"unknown format \.xml; known are \.zarr"),
    ("image-tiff/minisblack-1c-8b.pgm", r"unknown format \.pgm; known are"),
    (f"{IMAGES}/plate-01.zarr", "is a plate of 4 wells: give one image of it, such as "),
    (f"{IMAGES}/plate-01.zarr/A/1", "is a well of 1 images: give one, such as "),
    (f"{IMAGES}/image-02.zarr/labels", "is a group of labels that holds no images"),
    (f"{IMAGES}/image-02.zarr/7", "does not exist"),
    (f"{VIV}/bioformats-zarr/METADATA.ome.xml", r"unknown format \.xml"),
    (f"{VIV}/ome-zarr/blobs_image_v04.ome.zarr.json", r"unknown format \.json"),
    (f"{VIV}/ome-zarr/blobs_image_v05.ome.zarr.json", r"unknown format \.json"),
]


def named(name):
    """Parse the name of a file of the sequence: ``seq-3c-12b-planar-....tiff``, ``seq-1c-i8-....tiff``."""
    count, signed, bits, kind = re.match(r"seq-(\d)c-(i?)(\d+)(b|f|)-", name).groups()
    whole = next(size for size in (8, 16, 32, 64) if size >= int(bits))
    dtype = f"{'float' if kind == 'f' else 'int' if signed else 'uint'}{whole}"
    return (int(count), 3 if "multipage" in name else 1, 16, 16), "zyx" if "multipage" in name else "yx", dtype


def whole(path, source):
    """The voxels as the format's own library reads them, ``(c, z, y, x)``."""
    file, _, inner = str(path).partition(":")
    if ".h5" in str(path):
        with h5py.File(file) as found:
            array = found[inner or next(iter(found))][...]
    elif "tif" in path.suffix:
        array = tifffile.imread(file)
    else:
        array = zarr.open_array(source.raw.path, mode="r")[...]
    view = source.view
    order = sorted(range(len(view.axes)), key=lambda i: "cstzyx".index(view.axes[i]))
    array = array.reshape(view.sizes).transpose(order)
    return array.reshape(view.count, -1, *source.shape[2:])[list(view.channels)]


def check(path, options, shape, axes, dtype):
    source = open_source(path, **options)
    assert (source.shape, "".join(source.calibration.axes), source.dtype.name) == (shape, axes, dtype)
    expected = whole(path, source)
    np.testing.assert_array_equal(source.read(Box.of_shape(shape[1:])), expected)
    inner = Box.between([size // 3 for size in shape[1:]], [size // 3 + (size + 1) // 2 for size in shape[1:]])
    np.testing.assert_array_equal(source.read(inner), expected[(slice(None), *inner.slices)])


@pytest.mark.parametrize(("name", "options", "shape", "axes", "dtype"), READABLE,
                         ids=[f"{row[0]}" for row in READABLE])
def test_readable_files_open_as_what_they_are(name, options, shape, axes, dtype, caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")
    check(DATA / name, options, shape, axes, dtype)


def test_the_sequence_of_tiffs_opens_as_its_names_say(caplog):
    caplog.set_level(logging.CRITICAL, "tifffile")
    files = sorted((DATA / "image-tiff/seq").iterdir())
    assert files
    for file in files:
        check(file, {}, *named(file.name))


@pytest.mark.parametrize(("name", "message"), REFUSED, ids=[name for name, _ in REFUSED])
def test_others_are_refused_in_one_line(name, message):
    with pytest.raises(SourceError, match=message) as refusal:
        open_source(DATA / name)
    assert "\n" not in str(refusal.value)


def images(folder):
    """Files and zarr groups of a folder, but for what describes it."""
    for path in folder.iterdir():
        if path.is_dir() and path.suffix != ".zarr":
            yield from images(path)
        elif path.suffix not in (".md", ".origin") and not path.name.startswith("."):
            yield path


def test_the_table_is_complete():
    told = {name.partition(":")[0] for name, *_ in (*READABLE, *REFUSED)}
    missing = {path for path in images(DATA) if path.parent.name != "seq"
               and path.relative_to(DATA).as_posix() not in told
               and not any(other.startswith(f"{path.relative_to(DATA).as_posix()}/") for other in told)}
    assert not missing
