"""HDF5 output as others see it: where the dataset is, how it is stored, what its attributes say."""

import subprocess
import sys
from dataclasses import replace

import h5py
import numpy as np
import pytest

from tiler.ports import UNWATCHED
from tiler.sinks import open_sink
from tiler.sinks.hdf5 import Hdf5Sink
from tiler.testing.sinks import ATTRIBUTES, EXAMPLES, written


def finished(path, spec):
    sink, values = written(lambda spec: open_sink(path, spec), spec)
    sink.finish(ATTRIBUTES)
    return values


@pytest.mark.parametrize(("kind", "name"), [
    ("probabilities", "volumes/probabilities"), ("labels", "volumes/labels/classes"),
    ("instances", "volumes/labels/neuron_ids"),
])
def test_the_dataset_has_its_place_in_the_cremi_layout(kind, name, tmp_path):
    spec = replace(EXAMPLES["a stack"], kind=kind)
    values = finished(tmp_path / "a.hdf", spec)
    with h5py.File(tmp_path / "a.hdf") as file:
        np.testing.assert_array_equal(file[name], values[0])
        assert (file[name].chunks, file[name].compression, file[name].shuffle) == ((4, 8, 16), "gzip", True)


def test_attributes_are_those_of_cremi_in_nanometres(tmp_path):
    spec = EXAMPLES["a stack"]
    known = replace(spec.calibration, scale=(0.04, 4.0, 20.0), units=("micrometer", "nanometer", "angstrom"),
                    offset=(1.0, 8.0, 5.0))
    finished(tmp_path / "a.h5", replace(spec, calibration=known))
    with h5py.File(tmp_path / "a.h5") as file:
        attributes = dict(file["volumes/probabilities"].attrs)
    np.testing.assert_allclose(attributes["resolution"], (40, 4, 2))
    np.testing.assert_allclose(attributes["offset"], (1000, 8, 0.5))
    assert list(attributes["channel_names"]) == ["class 0"]
    assert "time_interval" not in attributes


def test_axes_channels_and_time(tmp_path):
    finished(tmp_path / "a.h5", EXAMPLES["classes over time"])
    with h5py.File(tmp_path / "a.h5") as file:
        dataset = file["volumes/probabilities"]
        assert [dimension.label for dimension in dataset.dims] == ["t", "c", "z", "y", "x"]
        assert dataset.shape == (2, 2, 6, 9, 21)
        assert dataset.attrs["time_interval"] == 2
        assert dataset.attrs["resolution"].tolist() == [3, 4, 5]


def test_without_units_there_is_no_resolution(tmp_path):
    spec = EXAMPLES["a stack"]
    finished(tmp_path / "a.h5", replace(spec, calibration=replace(spec.calibration, units=(None,) * 3)))
    with h5py.File(tmp_path / "a.h5") as file:
        assert "resolution" not in file["volumes/probabilities"].attrs


def test_one_chunk_is_read_at_a_time(tmp_path):
    sink, _ = written(lambda spec: Hdf5Sink(tmp_path / "a.h5", spec), EXAMPLES["shards"])
    (array,), reads = sink.stage.build(sink.levels(), UNWATCHED), []

    class Counting:
        shape, chunks = array.shape, array.chunks

        def __getitem__(self, index):
            reads.append(array[index])
            return reads[-1]

    sink.convert([Counting()], tmp_path / "b.h5", UNWATCHED)
    assert max(read.size for read in reads) == 4 * 8 * 16


def test_the_same_voxels_give_the_same_file(tmp_path):
    for name in ("a.h5", "b.h5"):
        finished(tmp_path / name, EXAMPLES["a stack"])
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_without_h5py_the_extra_is_named(tmp_path):
    code = ("import sys; sys.modules['h5py'] = None\n"
            "from tiler.sinks import open_sink\n"
            "from tiler.testing.sinks import EXAMPLES\n"
            f"try: open_sink({str(tmp_path / 'a.h5')!r}, EXAMPLES['a stack'])\n"
            "except Exception as error: print(type(error).__name__, error)")
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.startswith("SinkError")
    assert "needs the package h5py: pip install em-tiler[hdf5]" in found
