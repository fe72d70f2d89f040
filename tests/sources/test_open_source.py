"""Inputs that `open_source` accepts and refuses."""

import os
import subprocess
import sys

import dask.array
import numpy as np
import pytest
import tifffile

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import Format, open_source


def test_a_source_passes_through():
    source = open_source(np.zeros((3, 4)))
    assert open_source(source) is source
    with pytest.raises(SourceError, match="chosen when a source is opened"):
        open_source(source, channel="0")


def test_importing_the_package_loads_no_format():
    code = ("import sys, tiler.sources, tiler.sinks\n"
            "print(*(name for name in ('torch', 'dask', 'click', 'zarr', 'tifffile') if name in sys.modules))")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(found.stdout.split()) <= {"zarr", "tifffile"}


@pytest.mark.parametrize(("array", "message"), [
    (np.zeros((3, 4), complex), "holds complex numbers"),
    (np.zeros((3, 4), object), "holds Python objects"),
    (np.zeros((3, 4), "U3"), "holds text"),
    (np.zeros((3, 4), [("a", int)]), "holds records"),
    (np.zeros((3, 4), "M8[s]"), "something else than numbers"),
    (np.zeros(3), "an image has at least 2"),
    (np.zeros((0, 4)), r"array is empty: its shape is \(0, 4\)"),
    ([[1, 2]], "a source is a path or an array with shape, dtype and slicing; got list"),
    (dask.array.ones((3, 4))[dask.array.ones(3) > 0], "a known shape"),
])
def test_what_is_no_image_is_refused(array, message):
    with pytest.raises(SourceError, match=message) as refusal:
        open_source(array)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(("name", "message"), [
    ("none.tif", "does not exist"), ("a.xyz", r"unknown format \.xyz; known are .*\.tif"),
    ("plain", "unknown format without a suffix"), ("a.zarr", "not a readable zarr"),
    ("a.npy", r"not a readable \.npy file"), ("a.png", "neither a PNG, a JPEG nor a BMP"),
])
def test_files_that_cannot_be_read_are_refused(tmp_path, name, message):
    if name != "none.tif":
        (tmp_path / name).write_bytes(b"no image at all")
    with pytest.raises(SourceError, match=message) as refusal:
        open_source(tmp_path / name)
    assert "\n" not in str(refusal.value)


def test_a_truncated_npy_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((30, 40)))
    data = (tmp_path / "a.npy").read_bytes()
    for length in (0, 40, 200, len(data) - 1):
        (tmp_path / "a.npy").write_bytes(data[:length])
        with pytest.raises(SourceError, match="not a readable"):
            open_source(tmp_path / "a.npy")


def test_npy_with_objects_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1, None]]), allow_pickle=True)
    with pytest.raises(SourceError, match="objects"):
        open_source(tmp_path / "a.npy")


def test_identity_tells_another_file_and_another_choice(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 3, 4, 5)))
    first = open_source(path).identity
    assert first["path"] == str(path)
    assert open_source(path, channel="0").identity != first
    assert open_source(path, axes="tzyx").identity != first
    np.save(path, np.ones((2, 3, 4, 5)))
    assert open_source(path).identity != first
    assert open_source(np.zeros((3, 4))).identity is None


def test_a_missing_package_is_named():
    with pytest.raises(SourceError, match="needs the package nowhere: pip install nowhere"):
        Format("nowhere:open", (), "pip install nowhere").open("a.h5")


DAMAGED = {
    "a bracket that is not closed": b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4",
    "no dictionary": b"[1, 2, 3]",
    "a NUL": b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }\0",
    "no type": b"{'descr': 'no', 'fortran_order': False, 'shape': (3, 4), }",
    "a negative size": b"{'descr': '<f4', 'fortran_order': False, 'shape': (-3, 4), }",
    "a size of 2^70": b"{'descr': '<f4', 'fortran_order': False, 'shape': (1180591620717411303424, 4), }",
    "a size of 400 digits": b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + b"9" * 400 + b", 4), }",
    "no text": b"\xff\xfe\xfd",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_npy_header_is_refused_in_one_line(damage, tmp_path):
    header = DAMAGED[damage] + b"\n"
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(48))
    with pytest.raises(SourceError, match=r"a\.npy is not a readable \.npy file") as refusal:
        open_source(tmp_path / "a.npy")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("stored", ["tif", "npy"])
@pytest.mark.parametrize("options", [{}, {"fortran": True}, {"compression": "zlib"}])
def test_a_file_that_is_cut_short_after_it_was_opened_is_an_error_and_no_crash(stored, options, tmp_path):
    values, path = np.random.default_rng(0).integers(0, 255, (20, 64, 64), np.uint8), tmp_path / f"a.{stored}"
    if stored == "npy":
        np.save(path, np.asfortranarray(values) if options else values)
    else:
        tifffile.imwrite(path, values, photometric="minisblack", compression=options.get("compression"))
    source = open_source(path)
    np.testing.assert_array_equal(source.read(Box.of_shape((20, 64, 64)))[0], values)
    with path.open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(SourceError, match="truncated"):
        source.read(Box.of_shape((20, 64, 64)))


@pytest.mark.parametrize("name", ["a\0b.tif", "a" * 5000 + ".tif", "a\ud800b.tif", "a\0b.h5:/raw", "a\0b"])
def test_what_cannot_be_a_path_is_refused_in_one_line(name):
    with pytest.raises(SourceError, match=r"is not a path|does not exist|cannot be opened") as refusal:
        open_source(name)
    assert "\n" not in str(refusal.value)
    assert "\0" not in str(refusal.value)


@pytest.mark.parametrize("size", [40, 300])
def test_the_identity_knows_content_whose_time_was_set_back(size, tmp_path):
    path, values = tmp_path / "a.npy", np.random.default_rng(0).integers(0, 255, (4, size, size), np.uint8)
    np.save(path, values)
    first, status = open_source(path).identity, path.stat()
    np.save(path, 255 - values)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = open_source(path).identity
    assert {name for name in first if first[name] != second[name]} == {"sample"}
