"""MRC files: every mode, byte order and header that programs write, against the library mrcfile."""

from __future__ import annotations

import mrcfile
import numpy as np
import pytest

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source
from tiler.sources.mrc import HEADER, IMOD
from tiler.sources.positions import FileBytes

SHAPE = (5, 7, 11)
VALUES = np.random.default_rng(4).integers(0, 100, SHAPE)


def written(path, values, **changes):
    """A file of mrcfile's, with words of its header changed."""
    with mrcfile.new(path, values) as file:
        for name, value in changes.items():
            file.header[name] = value
    return path


def read(source):
    return source.read(Box.of_shape(source.shape[1:]))


@pytest.mark.parametrize("dtype", ["int8", "int16", "float32", "uint16", "float16"])
def test_every_mode_is_read(tmp_path, dtype):
    values = VALUES.astype(dtype)
    source = open_source(written(tmp_path / "volume.mrc", values))
    assert source.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(read(source)[0], values)
    np.testing.assert_array_equal(source.read(Box.between((1, 2, 3), (4, 7, 9)))[0], values[1:4, 2:7, 3:9])


@pytest.mark.parametrize("suffix", [".mrc", ".rec", ".map", ".st", ".MRC"])
def test_every_suffix_is_known(tmp_path, suffix):
    path = written(tmp_path / "volume.mrc", VALUES.astype("i2"))
    assert open_source(path.rename(tmp_path / f"volume{suffix}")).shape == (1, *SHAPE)


@pytest.mark.parametrize("stamped", [True, False])
def test_big_endian_files_are_read_with_or_without_their_stamp(tmp_path, stamped):
    path = tmp_path / "volume.mrc"
    with mrcfile.new(path) as file:
        file.set_data(VALUES.astype(">i2"))
    assert path.read_bytes()[212:214] == b"\x11\x11"
    if not stamped:
        stored = bytearray(path.read_bytes())
        stored[212:216] = bytes(4)
        path.write_bytes(stored)
    np.testing.assert_array_equal(read(open_source(path))[0], VALUES)


def test_voxel_size_and_origin_are_in_angstrom(tmp_path):
    path = tmp_path / "volume.mrc"
    with mrcfile.new(path, VALUES.astype("i2")) as file:
        file.voxel_size = (2.5, 3.5, 40)
        file.header.origin = (10, 20, 30)
    found = open_source(path).calibration
    assert (found.axes, found.units) == (("z", "y", "x"), ("angstrom",) * 3)
    np.testing.assert_allclose((found.scale, found.offset), ((40, 3.5, 2.5), (30, 20, 10)), rtol=1e-6)


def test_a_cell_of_nothing_is_no_calibration(tmp_path):
    found = open_source(written(tmp_path / "volume.mrc", VALUES.astype("i2"), cella=(0, 0, 0))).calibration
    assert (found.scale, found.units) == ((1, 1, 1), (None,) * 3)


def test_an_extended_header_is_skipped(tmp_path):
    path = tmp_path / "volume.mrc"
    with mrcfile.new(path, VALUES.astype("i2")) as file:
        file.set_extended_header(np.frombuffer(b"notes " * 13, "V1"))
    np.testing.assert_array_equal(read(open_source(path))[0], VALUES)


@pytest.mark.parametrize(("flags", "dtype"), [(0, "uint8"), (1, "int8")])
def test_bytes_of_imod_are_signed_only_where_it_says_so(tmp_path, flags, dtype):
    path = written(tmp_path / "volume.mrc", np.full(SHAPE, -3, "i1"))
    stored = bytearray(path.read_bytes())
    stored[152:160] = np.array([IMOD, flags], "<u4").tobytes()
    path.write_bytes(stored)
    source = open_source(path)
    assert source.dtype == np.dtype(dtype)
    assert (read(source) == (253 if dtype == "uint8" else -3)).all()


def test_columns_rows_and_sections_may_be_any_axes(tmp_path):
    path = written(tmp_path / "volume.mrc", VALUES.astype("i2"), mapc=3, mapr=1, maps=2)
    np.testing.assert_array_equal(read(open_source(path))[0], VALUES.transpose(2, 0, 1))  # stored as y, x, z


def test_a_stack_of_volumes_has_time(tmp_path):
    path = tmp_path / "volumes.mrc"
    values = np.arange(2 * 3 * 4 * 5, dtype="i2").reshape(2, 3, 4, 5)
    with mrcfile.new(path, values) as file:
        assert file.is_volume_stack()
    source = open_source(path)
    assert source.calibration.axes == ("t", "z", "y", "x")
    np.testing.assert_array_equal(read(source)[0], values.reshape(6, 4, 5))
    np.testing.assert_array_equal(read(open_source(path, time=1))[0], values[1])


def test_five_gigabytes_are_read_by_region(tmp_path):
    sides = {"nx": 4096, "ny": 4096, "nz": 320, "mx": 4096, "my": 4096, "mz": 320}
    path = written(tmp_path / "large.mrc", np.zeros((1, 1, 1), "i1"), **sides)
    with path.open("r+b") as file:
        file.truncate(HEADER + 4096 * 4096 * 320)
        file.seek(HEADER + 4096 * 4096 * 300 + 4096 * 7 + 9)
        file.write(b"\x05")
    assert open_source(path).read(Box.between((300, 6, 8), (301, 8, 10)))[0].tolist() == [[[0, 0], [0, 5]]]


@pytest.mark.parametrize(("changes", "told"), [
    ({"mode": 4}, "complex numbers"), ({"mode": 101}, "4-bit"), ({"mode": 77}, "no MRC header"),
    ({"nz": 6}, "truncated"), ({"nx": -1}, "no MRC header"), ({"mapc": 2}, "1, 2 and 3"), ({"nsymbt": -9}, "no MRC")])
def test_what_cannot_be_read_is_refused_before_a_voxel_is_read(tmp_path, changes, told):
    with pytest.raises(SourceError, match=told):
        open_source(written(tmp_path / "volume.mrc", VALUES.astype("i2"), **changes))


def test_a_file_shorter_than_a_header_is_refused(tmp_path):
    (tmp_path / "volume.mrc").write_bytes(bytes(100))
    with pytest.raises(SourceError, match="100 bytes"):
        open_source(tmp_path / "volume.mrc")


def test_5_gib_are_read_by_region(tmp_path, monkeypatch):
    """A sparse file; no more than the region is read."""
    small = written(tmp_path / "a.mrc", np.full((1, 64, 64), 7, np.int8)).read_bytes()
    depth = (5 << 30) // 4096
    with (tmp_path / "b.mrc").open("wb") as file:
        file.write(small[:8] + depth.to_bytes(4, "little") + small[12:HEADER])
        file.seek(HEADER + 10**6 * 4096)
        file.write(bytes([7]) * 4096)
        file.truncate(HEADER + depth * 4096)
    taken, read_bytes = [], FileBytes.read
    monkeypatch.setattr(FileBytes, "read", lambda self, at, count: taken.append(count) or read_bytes(self, at, count))
    source = open_source(tmp_path / "b.mrc")
    assert source.shape == (1, depth, 64, 64)
    assert source.read(Box.between((10**6 - 1, 3, 3), (10**6 + 1, 9, 9))).sum() == 7 * 36
    assert sum(taken) < 2**17
