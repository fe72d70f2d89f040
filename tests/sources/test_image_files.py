"""PNG, JPEG and BMP: pixels as they are stored, and never more of them than the file holds."""

import struct
import zlib

import imagecodecs
import numpy as np
import pytest
import tifffile

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source

R = np.random.default_rng(0)
VALUES = R.integers(0, 255, (16, 21), np.uint8)


def png(path, rows, bits, colour, *, size=None, extra=()):
    """A PNG whose rows are given as bytes, without filters."""
    width, height = size or (VALUES.shape[1], VALUES.shape[0])
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *extra, (b"IDAT", data), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks))
    return path


def packed(values, bits):
    """Rows of values of fewer than 8 bits, the first in the highest bits."""
    single = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(single.reshape(len(values), -1).astype(np.uint8), axis=1)


def bmp(path, values, bits, *, upwards=True, size=None, cut=None, core=False):
    height, width = values.shape[:2]
    rows = packed(values, bits) if bits <= 8 else values[..., ::-1].reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))[::-1 if upwards else 1]
    width, height = size or (width, height)
    info = (struct.pack("<IHHHH", 12, width, height, 1, bits) if core else
            struct.pack("<IiiHHIIiiII", 40, width, height if upwards else -height, 1, bits, 0, 0, 0, 0, 0, 0))
    start = 14 + len(info) + (4 << bits if bits <= 8 else 0)
    content = struct.pack("<2sIHHI", b"BM", 0, 0, 0, start) + info
    path.write_bytes((content.ljust(start, b"\7") + rows.tobytes())[:cut])
    return path


def check(path, values):
    source = open_source(path)
    expected = values[None, None] if values.ndim == 2 else values.transpose(2, 0, 1)[:, None]
    assert source.shape == expected.shape
    np.testing.assert_array_equal(source.read(Box.of_shape(source.shape[1:])), expected)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
@pytest.mark.parametrize("colour", [0, 3], ids=["grey", "palette"])
def test_samples_of_a_png_and_indices_of_its_palette_are_read_as_numbers(bits, colour, tmp_path):
    values = VALUES & (2**bits - 1)
    palette = bytes(R.integers(0, 255, 3 * 2**bits, np.uint8))
    extra = [(b"PLTE", palette), (b"tRNS", b"\0\x80")] if colour == 3 else [(b"tRNS", b"\0\1")]
    check(png(tmp_path / "a.png", packed(values, bits), bits, colour, extra=extra), values)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_colours_of_a_png_are_channels(channels, dtype, tmp_path):
    values = R.integers(0, np.iinfo(dtype).max, (16, 21, channels), dtype)
    values = values[..., 0] if channels == 1 else values
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    check(tmp_path / "a.png", values)


def test_folders_of_palettes_are_read_as_indices_whatever_the_palettes(tmp_path):
    for number in range(3):
        palette = bytes(R.integers(0, 255, 768, np.uint8))
        png(tmp_path / f"{number}.png", packed(VALUES // (number + 1), 8), 8, 3, extra=[(b"PLTE", palette)])
    whole = open_source(tmp_path).read(Box.of_shape((3, *VALUES.shape)))
    np.testing.assert_array_equal(whole[0], [VALUES // (number + 1) for number in range(3)])


@pytest.mark.parametrize("core", [False, True])
@pytest.mark.parametrize("upwards", [True, False])
@pytest.mark.parametrize("bits", [1, 4, 8, 24])
def test_a_bmp(bits, upwards, core, tmp_path):
    if core and not upwards:
        pytest.skip("the old header has no sign")
    values = VALUES & (2**bits - 1) if bits <= 8 else R.integers(0, 255, (16, 21, 3), np.uint8)
    check(bmp(tmp_path / "a.bmp", values, bits, upwards=upwards, core=core), values)


@pytest.mark.parametrize("bits", [1, 4, 8, 24])
@pytest.mark.parametrize(("size", "cut"), [
    ((80, 20_000), None), ((21, 17), None), (None, -1), (None, 60), ((0, 5), None), ((2**31 - 1, 2**31 - 1), None)])
def test_a_bmp_that_claims_more_than_its_file_holds(size, cut, bits, tmp_path):
    values = VALUES & (2**bits - 1) if bits <= 8 else R.integers(0, 255, (16, 21, 3), np.uint8)
    with pytest.raises(SourceError, match=r"truncated|is empty"):
        open_source(bmp(tmp_path / "a.bmp", values, bits, size=size, cut=cut))


@pytest.mark.parametrize("size", [(80, 2_000_000), (2**31 - 1, 2**31 - 1), (0, 4)])
def test_a_png_that_claims_more_than_its_file_holds(size, tmp_path):
    with pytest.raises(SourceError, match=r"for which the file is too small|is empty"):
        open_source(png(tmp_path / "a.png", packed(VALUES, 8), 8, 0, size=size))


@pytest.mark.parametrize("size", [(21, 17), (22, 16), (5, 5)])
def test_a_png_whose_pixels_are_not_those_that_it_claims(size, tmp_path):
    path = png(tmp_path / "a.png", packed(VALUES, 8), 8, 0, size=size)
    try:
        found = open_source(path)
        whole = found.read(Box.of_shape(found.shape[1:]))
    except SourceError as error:
        message = str(error)
    else:
        assert size == (5, 5)
        assert whole.shape == (1, 1, 5, 5)
        message = ""
    assert "\n" not in message


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.1, 0.5, 0.9, 0.999])
def test_a_file_that_is_cut_short_is_refused(kind, share, tmp_path):
    image = np.kron(VALUES, np.ones((4, 4), np.uint8))
    path = tmp_path / f"a.{kind}"
    if kind == "bmp":
        bmp(path, image, 8)
    else:
        path.write_bytes(imagecodecs.png_encode(image) if kind == "png" else imagecodecs.jpeg_encode(image))
    path.write_bytes(path.read_bytes()[:int(share * path.stat().st_size)])
    with pytest.raises(SourceError) as refusal:
        open_source(path).read(Box.of_shape((1, *image.shape)))
    assert "\n" not in str(refusal.value)


def test_ink_of_a_cmyk_jpeg(tmp_path):
    values = np.kron(R.integers(0, 255, (2, 3, 4), np.uint8), np.ones((16, 16, 1), np.uint8))
    data = imagecodecs.jpeg8_encode(values, colorspace="CMYK", outcolorspace="CMYK", level=100)
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"
    stored = imagecodecs.jpeg_decode(data).astype(int)
    (tmp_path / "a.jpg").write_bytes(data)
    marked = b"\xff\xee" in data[:200]
    check(tmp_path / "a.jpg", (255 - stored if marked else stored).astype(np.uint8))
    if not marked:
        (tmp_path / "b.jpg").write_bytes(data[:2] + adobe + data[2:])
        check(tmp_path / "b.jpg", (255 - stored).astype(np.uint8))


NUMBERED = {
    ("z-2", "z-1", "z0", "z1"): ("z-2", "z-1", "z0", "z1"),
    ("z-1", "z-2", "z-10"): ("z-1", "z-2", "z-10"),
    ("z1", "z2", "z10"): ("z1", "z2", "z10"),
    ("-3", "-2", "1"): ("-3", "-2", "1"),
    ("a-1", "b2"): ("a-1", "b2"),
}


@pytest.mark.parametrize("names", NUMBERED)
def test_a_minus_sign_counts_where_some_names_have_none(names, tmp_path):
    for name in sorted(names):
        png(tmp_path / f"{name}.png", packed(np.full_like(VALUES, names.index(name)), 8), 8, 0)
    whole = open_source(tmp_path).read(Box.of_shape((len(names), *VALUES.shape)))
    assert [names[int(number)] for number in whole[0, :, 0, 0]] == list(NUMBERED[names])


@pytest.mark.parametrize(("names", "message"), [
    (("z1", "z2", "z4", "z5"), r"numbers are missing between z2\.png and z4\.png"),
    (("z10", "z20", "z40"), r"numbers are missing between z20\.png and z40\.png"),
    (("z1", "z01", "z2"), r"the same number is in z1\.png and z01\.png"),
    (("z1", "z2", "z3"), ""), (("z0.0", "z0.5", "z1.0"), ""), (("c0_z0", "c0_z1", "c1_z0", "c1_z1"), ""),
])
def test_gaps_and_repeats_in_the_numbers_are_said(names, message, tmp_path, caplog):
    for name in names:
        png(tmp_path / f"{name}.png", packed(VALUES, 8), 8, 0)
    assert open_source(tmp_path).shape == (1, len(names), *VALUES.shape)
    assert bool(message) == bool(caplog.text)
    assert message.replace("\\", "") in caplog.text


def test_a_link_to_nothing_is_refused(tmp_path):
    png(tmp_path / "z1.png", packed(VALUES, 8), 8, 0)
    (tmp_path / "z2.png").symlink_to(tmp_path / "nothing.png")
    with pytest.raises(SourceError, match=r"z2\.png is a link to .*nothing\.png, which does not exist"):
        open_source(tmp_path)


@pytest.mark.parametrize("change", ["smaller", "gone", "cut"])
def test_a_slice_that_changes_while_it_is_read(change, tmp_path):
    for number in range(3):
        png(tmp_path / f"{number}.png", packed(VALUES, 8), 8, 0)
    source = open_source(tmp_path)
    if change == "gone":
        (tmp_path / "1.png").unlink()
    elif change == "cut":
        (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:100])
    else:
        png(tmp_path / "1.png", packed(VALUES[:5], 8), 8, 0, size=(21, 5))
    with pytest.raises(SourceError):
        source.read(Box.of_shape((3, *VALUES.shape)))


def test_a_folder_of_volumes_says_what_to_type(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 8, 8), np.uint8), photometric="minisblack")
    with pytest.raises(SourceError, match=r"each file is a stack of its own, name the files: '.*\*\.tif'"):
        open_source(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    np.save(other / "a.npy", np.zeros((2, 3)))
    with pytest.raises(SourceError, match=r"holds 1 volumes of other formats, which have to be named: '.*\*\.npy'"):
        open_source(other)
