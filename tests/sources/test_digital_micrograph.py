"""DM3 and DM4 files, in both byte orders: every type of voxel, by region, with calibration."""

from __future__ import annotations

import numpy as np
import pytest
from micrographs import image_of, written

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source

SHAPE = (5, 7, 11)
VALUES = np.random.default_rng(4).integers(0, 100, SHAPE)
STEPS = [(2.0, 3.0, "\u00b5m"), (0.5, 0.0, "nm"), (0.5, -4.0, "nm")]
THUMBNAIL = image_of(np.zeros((3, 3), np.int32))
COMPLEX = image_of(np.zeros((4, 4), np.float32))
COMPLEX["ImageData"]["DataType"] = 3
FILES = [(name, order) for name in ("a.dm3", "a.dm4") for order in "<>"]


@pytest.mark.parametrize(("name", "order"), FILES)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"])
def test_every_type_is_read_by_region(tmp_path, name, order, dtype):
    values = VALUES.astype(dtype)
    source = open_source(written(tmp_path / name, [THUMBNAIL, image_of(values, STEPS)], order))
    assert source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(np.asarray(source)[0], values)
    np.testing.assert_array_equal(source.read(Box.between((1, 2, 3), (4, 7, 9)))[0], values[1:4, 2:7, 3:9])


@pytest.mark.parametrize(("name", "order"), FILES)
def test_calibration(tmp_path, name, order):
    known = open_source(written(tmp_path / name, [image_of(VALUES.astype("int16"), STEPS)], order)).calibration
    assert (known.axes, known.scale, known.offset) == (("z", "y", "x"), (2.0, 0.5, 0.5), (-6.0, 0.0, 2.0))
    assert known.units == ("micrometer", "nanometer", "nanometer")


@pytest.mark.parametrize("step", [(1.0, 0.0, "counts"), (0.0, 0.0, "nm"), (float("nan"), 0.0, "nm")])
def test_a_calibration_that_makes_no_sense_does_not_cost_the_voxels(tmp_path, step):
    values = VALUES[0].astype("uint16")
    source = open_source(written(tmp_path / "a.dm4", [image_of(values, [step, step])]))
    assert (source.calibration.axes, source.calibration.units, source.calibration.scale) == (
        ("y", "x"), (None, None), (1.0, 1.0))
    np.testing.assert_array_equal(np.asarray(source)[0, 0], values)


def test_an_image_of_one_section_is_an_image(tmp_path):
    source = open_source(written(tmp_path / "a.dm3", [image_of(VALUES[:1].astype("uint8"))]))
    assert (source.shape, source.calibration.axes) == ((1, 1, 7, 11), ("y", "x"))


@pytest.mark.parametrize(("images", "told"), [
    ([], "holds no image"), ([COMPLEX], "complex numbers, not grey values"),
    ([image_of(np.zeros(7, np.int16))], "not an image")], ids=["none", "complex", "line"])
def test_what_holds_no_grey_values_is_refused(tmp_path, images, told):
    with pytest.raises(SourceError, match=told):
        open_source(written(tmp_path / "a.dm3", images))


@pytest.mark.parametrize("name", ["a.dm3", "a.dm4"])
def test_a_file_cut_or_changed_anywhere_is_refused_in_one_line_or_whole(tmp_path, name):
    whole = written(tmp_path / name, [image_of(VALUES.astype("int16"), STEPS)]).read_bytes()
    random, refusals = np.random.default_rng(0), []
    for number in range(150):
        damaged = bytearray(whole[: random.integers(len(whole))] if number % 2 else whole)
        if damaged and not number % 2:
            damaged[random.integers(min(len(whole), 600))] = random.integers(256)
        (tmp_path / name).write_bytes(bytes(damaged))
        try:
            open_source(tmp_path / name)[0, 0, :2]
        except SourceError as error:
            refusals.append(str(error))
    assert len(refusals) > 75
    assert not [refusal for refusal in refusals if "\n" in refusal]


def test_5_gib_are_read_by_region(tmp_path):
    """The header of a small file claims 5 GiB of sections, of which a sparse file holds one."""
    large = 5 << 30
    stored = written(tmp_path / "a.dm4", [image_of(np.full((1, 64, 64), 7, np.uint8))]).read_bytes()
    place = stored.index(bytes([7]) * 4096)
    depth = stored.rindex((1).to_bytes(4, "little"), 0, stored.index(b"PixelDepth"))
    head = bytearray(stored[:place])
    head[-8:] = large.to_bytes(8, "big")
    tail = bytearray(stored[place + 4096 :])
    tail[depth - place - 4096 : depth - place - 4092] = (large // 4096).to_bytes(4, "little")
    with (tmp_path / "b.dm4").open("wb") as file:
        file.write(head)
        file.seek(place + 10**6 * 4096)
        file.write(bytes([7]) * 4096)
        file.seek(place + large)
        file.write(tail)
    source = open_source(tmp_path / "b.dm4")
    assert source.shape == (1, large // 4096, 64, 64)
    assert source.read(Box.between((10**6 - 1, 3, 3), (10**6 + 1, 9, 9))).sum() == 7 * 36
