"""What `open_source` takes and what it refuses."""

import subprocess
import sys

import dask.array
import numpy as np
import pytest

from tiler.errors import SourceError
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
