"""HDF5 files: which dataset, which axes, which voxel size; damaged and foreign ones are refused."""

import json
import subprocess
import sys

import h5py
import numpy as np
import pytest

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source
from tiler.sources.files import split_inner


def cremi(path, resolution=(40.0, 4.0, 4.0), offset=(1520.0, 3644.0, 3644.0)):
    """The layout of https://cremi.org/data/: raw, padded, and labels inside it."""
    with h5py.File(path, "w") as file:
        raw = file.create_dataset("volumes/raw", data=np.arange(4 * 20 * 24, dtype=np.uint8).reshape(4, 20, 24))
        raw.attrs["resolution"] = resolution
        labels = file.create_dataset("volumes/labels/neuron_ids", data=np.ones((2, 10, 12), np.uint64))
        labels.attrs["resolution"] = resolution
        labels.attrs["offset"] = offset
        file["annotations/locations"] = np.zeros(3)
    return path


def test_the_cremi_layout_with_resolution_and_offset(tmp_path):
    path = cremi(tmp_path / "sample_A.hdf")
    raw, labels = open_source(f"{path}:/volumes/raw"), open_source(f"{path}:volumes/labels/neuron_ids/")
    assert (raw.shape, labels.shape, labels.dtype) == ((1, 4, 20, 24), (1, 2, 10, 12), np.uint64)
    for source in (raw, labels):
        assert source.calibration.axes == ("z", "y", "x")
        assert source.calibration.scale == (40, 4, 4)
        assert source.calibration.units == ("nanometer",) * 3
    assert raw.calibration.offset == (0, 0, 0)
    assert labels.calibration.offset == (1520, 3644, 3644)
    assert raw.name == f"{path}:/volumes/raw"


@pytest.mark.parametrize(("inner", "message"), [
    ("", r"holds 2 datasets: give one of /volumes/labels/neuron_ids, /volumes/raw, as in .*a\.h5:/volumes/raw$"),
    (":/volumes/row", "holds no dataset /volumes/row: give one of /volumes/labels/neuron_ids, /volumes/raw, "),
    (":/volumes", "holds no dataset /volumes: give one of"),
    (":/annotations/locations", "an image has at least 2"),
])
def test_another_dataset_is_refused_by_naming_those_there_are(inner, message, tmp_path):
    cremi(tmp_path / "a.h5")
    with pytest.raises(SourceError, match=message) as refusal:
        open_source(f"{tmp_path / 'a.h5'}{inner}")
    assert "\n" not in str(refusal.value)


def test_of_many_datasets_some_are_named_and_the_largest_is_proposed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for number in range(20):
            file[f"t{number:02}"] = np.zeros((2, 2 + (number == 13)))
    with pytest.raises(SourceError, match=r"holds 20 datasets: give one of /t00, .*, /t07 and 12 more, as in .*:/t13$"):
        open_source(tmp_path / "a.h5")


def test_a_file_without_images_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["numbers"] = np.zeros(3)
        file["null"] = h5py.Empty("f4")
    with pytest.raises(SourceError, match="holds no dataset of at least two dimensions"):
        open_source(tmp_path / "a.h5")


@pytest.mark.parametrize("length", [0, 100, 3000, -1])
def test_a_file_that_was_cut_is_refused_in_one_line(length, tmp_path):
    path = cremi(tmp_path / "a.h5")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(SourceError, match=r"a\.h5 is not a readable HDF5 file: ") as refusal:
        open_source(f"{path}:/volumes/raw")
    assert "\n" not in str(refusal.value)


def test_a_damaged_chunk_is_refused_in_one_line(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (4, 20, 24), np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("raw", data=values, chunks=(1, 20, 24), compression="gzip")
        at = dataset.id.get_chunk_info(2).byte_offset
    data = bytearray((tmp_path / "a.h5").read_bytes())
    data[at:at + 20] = b"\xff" * 20
    (tmp_path / "a.h5").write_bytes(data)
    source = open_source(tmp_path / "a.h5")
    np.testing.assert_array_equal(source.read(Box.of_shape((2, 20, 24)))[0], values[:2])
    with pytest.raises(SourceError, match=r"a\.h5:/raw: cannot read") as refusal:
        source.read(Box.between((2, 0, 0), (3, 20, 24)))
    assert "\n" not in str(refusal.value)


def test_a_filter_that_is_not_installed_is_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((5, 5))
        plist.set_filter(32099, h5py.h5z.FLAG_OPTIONAL, ())
        h5py.h5d.create(file.id, b"raw", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple((10, 10)), plist)
    with pytest.raises(SourceError, match="compressed by the filter 32099, which is not installed: recompress it"):
        open_source(tmp_path / "a.h5")


def described(path, shape, **attributes):
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.zeros(shape, np.uint8)).attrs.update(attributes)
    return open_source(path)


def test_axes_of_ilastik(tmp_path):
    tags = {"axes": [{"key": key, "typeFlags": 2} for key in "tzyxc"]}
    source = described(tmp_path / "a.h5", (2, 3, 20, 24, 4), axistags=json.dumps(tags), element_size_um=(0.04, 1, 2))
    assert source.shape == (4, 6, 20, 24)
    assert source.calibration.axes == ("t", "z", "y", "x")
    assert source.calibration.scale == (1, 0.04, 1, 2)
    assert source.calibration.units == (None, "micrometer", "micrometer", "micrometer")


def test_axes_by_the_labels_of_the_dimensions(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        dataset = file.create_dataset("data", data=np.zeros((20, 24, 3), np.uint8))
        for dimension, label in zip(dataset.dims, "yxC", strict=True):
            dimension.label = label
        dataset.attrs.update(resolution=(8, 4), channel_names=["a", "b", "c"], time_interval=2.0)
    source = open_source(tmp_path / "a.h5", channel="c,a")
    assert source.shape == (2, 1, 20, 24)
    assert source.calibration.scale == (8, 4)
    assert source.channels == ("c", "a")


@pytest.mark.parametrize(("shape", "attributes", "axes", "scale"), [
    ((2, 5, 20, 24), {"resolution": (40, 8, 4)}, ("z", "y", "x"), (40, 8, 4)),
    ((5, 20, 24), {"resolution": (40, 8)}, ("z", "y", "x"), (1, 40, 8)),
    ((20, 24), {"resolution": (8, 4)}, ("y", "x"), (8, 4)),
    ((20, 24), {"resolution": (40, 8, 4)}, ("y", "x"), (1, 1)),
    ((5, 20, 24), {"resolution": (0, 0, 0)}, ("z", "y", "x"), (1, 1, 1)),
    ((5, 20, 24), {"resolution": 4.0}, ("z", "y", "x"), (1, 1, 1)),
])
def test_a_resolution_belongs_to_the_axes_of_space(shape, attributes, axes, scale, tmp_path):
    calibration = described(tmp_path / "a.h5", shape, **attributes).calibration
    assert (calibration.axes, calibration.scale) == (axes, scale)


def test_identity_tells_datasets_and_changes_apart(tmp_path):
    path = cremi(tmp_path / "a.h5")
    raw, labels = (open_source(f"{path}:/volumes/{name}").identity for name in ("raw", "labels/neuron_ids"))
    assert (raw["kind"], raw["dataset"]) == ("hdf5", "/volumes/raw")
    assert {**raw, "dataset": labels["dataset"], "shape": labels["shape"], "dtype": labels["dtype"]} == labels != raw
    with h5py.File(path, "a") as file:
        file["more"] = np.zeros(100)
    assert open_source(f"{path}:/volumes/raw").identity["size"] != raw["size"]


@pytest.mark.parametrize(("given", "expected"), [
    ("a.h5:/volumes/raw", ("a.h5", "volumes/raw")), ("a/b.HDF5:raw", ("a/b.HDF5", "raw")), ("a.h5", ("a.h5", None)),
    ("a.h5:/b.h5:/c/", ("a.h5:/b.h5", "c")), ("a.tif:/raw", ("a.tif:/raw", None)), ("a.h5:", ("a.h5:", None)),
])
def test_a_path_and_the_dataset_after_it(given, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file, inner = split_inner(tmp_path / given)
    assert (str(file.relative_to(tmp_path)), inner) == expected


def test_a_file_whose_name_looks_like_one_inside_another(tmp_path):
    cremi(tmp_path / "b.h5:raw.h5")
    with pytest.raises(SourceError, match="holds 2 datasets"):
        open_source(tmp_path / "b.h5:raw.h5")
    assert open_source(f"{tmp_path / 'b.h5:raw.h5'}:/volumes/raw").shape == (1, 4, 20, 24)


@pytest.mark.parametrize("suffix", [".h5.gz", ".tif.zip", ".nii.bz2"])
def test_files_compressed_as_a_whole_are_refused_with_a_hint(suffix, tmp_path):
    (tmp_path / f"a{suffix}").write_bytes(b"")
    with pytest.raises(SourceError, match="compressed as a whole, so no region of it can be read: decompress it first"):
        open_source(tmp_path / f"a{suffix}")


def test_without_h5py_the_extra_is_named(tmp_path):
    cremi(tmp_path / "a.h5")
    code = ("import sys; sys.modules['h5py'] = None\n"
            "from tiler.sources import open_source\n"
            f"try: open_source({str(tmp_path / 'a.h5')!r})\n"
            "except Exception as error: print(type(error).__name__, error)")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("SourceError")
    assert "needs the package h5py: pip install em-tiler[hdf5]" in found
