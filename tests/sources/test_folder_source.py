"""Folders of 2-D images: their order, and what does not belong together."""

import imagecodecs
import numpy as np
import pytest
import tifffile

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source
from tiler.sources.folder_order import natural


def test_names_are_in_natural_order():
    names = ["z10.png", "z2.png", "Z1.png", "a3.png", "10.png", "9.png"]
    assert sorted(names, key=natural) == ["9.png", "10.png", "a3.png", "Z1.png", "z2.png", "z10.png"]


def test_slices_lie_in_natural_order_and_other_files_are_ignored(tmp_path):
    for number in (10, 9, 100):
        imagecodecs.imwrite(tmp_path / f"s{number}.png", np.full((6, 7), number, np.uint8))
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / ".hidden.png").write_bytes(b"")
    (tmp_path / "sub.png").mkdir()
    source = open_source(tmp_path)
    assert source.read(Box.of_shape((3, 1, 1)))[0, :, 0, 0].tolist() == [9, 10, 100]
    assert source.calibration.axes == ("z", "y", "x")
    assert source.read_unit == (1, 6, 7)
    assert [name for name, *_ in source.identity["files"]] == ["s9.png", "s10.png", "s100.png"]


@pytest.mark.parametrize("suffix", ["jpg", "bmp"])
def test_other_formats(tmp_path, suffix):
    image = np.full((16, 24), 77, np.uint8)
    data = imagecodecs.jpeg8_encode(image) if suffix == "jpg" else imagecodecs.bmp_encode(image)
    for name in "ab":
        (tmp_path / f"{name}.{suffix}").write_bytes(data)
    source = open_source(tmp_path)
    assert source.shape == (1, 2, 16, 24)
    np.testing.assert_allclose(source.read(Box.of_shape((2, 16, 24))), 77, atol=1)
    assert open_source(tmp_path / f"a.{suffix}").shape == (1, 1, 16, 24)


def write_png(path, shape, dtype):
    imagecodecs.imwrite(path, np.zeros(shape, dtype))


def write_tiff(path, shape, dtype):
    tifffile.imwrite(path, np.zeros(shape, dtype), photometric="minisblack")


def write_jpeg(path, shape, dtype):
    path.write_bytes(imagecodecs.jpeg8_encode(np.zeros(shape, dtype)))


def write_bmp(path, shape, dtype):
    path.write_bytes(imagecodecs.bmp_encode(np.zeros(shape, dtype)))


@pytest.mark.parametrize(("suffix", "write", "other", "message"), [
    ("png", write_png, ((6, 8), np.uint8), "7 x 6, 8 bits.*8 x 6, 8 bits"),
    ("png", write_png, ((6, 7), np.uint16), "8 bits.*16 bits"),
    ("png", write_png, ((6, 7, 3), np.uint8), "colour type 0.*colour type 2"),
    ("tif", write_tiff, ((6, 8), np.uint8), r"\(6, 7\).*\(6, 8\)"),
    ("tif", write_tiff, ((6, 7), np.float32), "uint8.*float32"),
    ("jpg", write_jpeg, ((5, 7), np.uint8), "7 x 6.*7 x 5"),
    ("bmp", write_bmp, ((6, 9), np.uint8), "7 x 6.*9 x 6"),
])
def test_images_that_differ_are_refused_by_naming_both(tmp_path, suffix, write, other, message):
    write(tmp_path / f"a.{suffix}", (6, 7), np.uint8)
    write(tmp_path / f"b.{suffix}", *other)
    with pytest.raises(SourceError, match=rf"a\.{suffix} is .*{message}"):
        open_source(tmp_path)


def test_an_image_that_changed_since_is_refused(tmp_path):
    write_png(tmp_path / "a.png", (6, 7), np.uint8)
    source = open_source(tmp_path)
    write_png(tmp_path / "a.png", (9, 9), np.uint8)
    with pytest.raises(SourceError, match="as when it was opened"):
        source.read(Box.of_shape((1, 6, 7)))


def test_what_is_no_stack_is_refused(tmp_path):
    with pytest.raises(SourceError, match="holds no images"):
        open_source(tmp_path)
    write_tiff(tmp_path / "a.tif", (4, 6, 7), np.uint8)
    with pytest.raises(SourceError, match="the images of a folder are 2-D"):
        open_source(tmp_path)


@pytest.mark.parametrize("length", [1, 3, 20])
def test_images_cut_short_are_refused_in_one_line(tmp_path, length):
    write_png(tmp_path / "a.png", (6, 7), np.uint8)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:length])
    with pytest.raises(SourceError) as refusal:
        open_source(tmp_path)
    assert "\n" not in str(refusal.value)
