"""An input that changes while it is read: the output does not get its name, and is not gone on with."""

import os
import random
import shutil
import threading
import time
from collections import Counter

import dask.array as da
import h5py
import mrcfile
import numpy as np
import pytest
import tensorstore
import tifffile
import zarr
from standins import Stopping

import tiler
from tiler.errors import Interrupted, TilerError
from tiler.running.perform import Silent
from tiler.testing.predictors import PoolingNet

VALUES = np.random.default_rng(0).integers(1, 250, (6, 32, 32), np.uint8)


def tif(path, values, compression=None):
    tifffile.imwrite(path, values, photometric="minisblack", compression=compression)
    return path


def folder(path, values):
    path.mkdir(exist_ok=True)
    for number, section in enumerate(values):
        tif(path / f"{number}.tif", section)
    return path


def hdf5(path, values):
    with h5py.File(path.with_suffix(".new"), "w") as file:  # HDF5 does not write to a file that is open
        file["raw"] = values
    return path.with_suffix(".new").replace(path)


def virtual(path, values):
    layout = h5py.VirtualLayout(values.shape, "u1")
    for number in range(2):
        hdf5(path.with_name(f"part{number}.h5"), values[3 * number:3 * number + 3])
        layout[3 * number:3 * number + 3] = h5py.VirtualSource(f"part{number}.h5", "raw", (3, *values.shape[1:]))
    with h5py.File(path.with_suffix(".new"), "w", libver="latest") as file:
        file.create_virtual_dataset("raw", layout)
    return path.with_suffix(".new").replace(path)


def zarr_array(path, values):
    shutil.rmtree(path, ignore_errors=True)
    zarr.create_array(path, data=values, chunks=(1, 32, 32))
    return path


def npy(path, values):
    np.save(path, values)
    return path


def volume(driver, path, values, **metadata):
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}, "create": True,
            "delete_existing": True, **metadata}
    store = tensorstore.open(spec).result()
    store[...] = values.T if store.rank == 3 else values.T[..., None]
    return path


def n5(path, values):
    return volume("n5", path, values, metadata={"dimensions": [32, 32, 6], "blockSize": [32, 32, 1],
                                                "dataType": "uint8", "compression": {"type": "raw"}})


def precomputed(path, values):
    return volume("neuroglancer_precomputed", path, values,
                  multiscale_metadata={"type": "image", "data_type": "uint8", "num_channels": 1},
                  scale_metadata={"size": [32, 32, 6], "resolution": [4, 4, 40], "encoding": "raw",
                                  "chunk_size": [32, 32, 1]})


def mrc(path, values):
    with mrcfile.new(path, overwrite=True) as file:
        file.set_data(values)
    return path


def imaris(path, values):
    with h5py.File(path.with_suffix(".new"), "w") as file:
        group = file.create_group("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0")
        group.attrs.update({f"ImageSize{axis}": np.array(list(str(size)), "S1")
                            for axis, size in zip("ZYX", values.shape, strict=True)})
        group.create_dataset("Data", data=values, chunks=(1, 32, 32))
    return path.with_suffix(".new").replace(path)


MAKE = {"a.tif": tif, "zlib.tif": lambda path, values: tif(path, values, "zlib"), "a": folder, "a.h5": hdf5,
        "virtual.h5": virtual, "a.zarr": zarr_array, "a.npy": npy, "a.n5/raw": n5, "em": precomputed, "a.mrc": mrc,
        "a.ims": imaris}


def rewrite(path, make):
    make(path, 250 - VALUES)


def file_of(path):
    """A file that holds voxels of a later section: the last of those whose name is a number, else the file itself."""
    if path.name == "virtual.h5":
        return path.with_name("part1.h5")
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return [file for file in files if file.suffix != ".json" and file.name not in ("info", "zarr.json")][-1]


def truncate(path, make):
    os.truncate(file_of(path), file_of(path).stat().st_size // 2)


def move(path, make):
    path.rename(path.with_name("elsewhere"))


def remove(path, make):
    file_of(path).unlink()


class Changing(Silent):
    """Changes the input after the second block."""

    def __init__(self, change):
        self.change, self.blocks = change, 0

    def finished_block(self, index, voxels):
        self.blocks += 1
        if self.blocks == 2:
            self.change()


CHOICES = {"tile": (1, 34, 34), "block": (1, 32, 32), "executor": "serial"}


@pytest.mark.parametrize("change", [rewrite, truncate, move, remove])
@pytest.mark.parametrize("name", MAKE)
def test_no_result_of_an_input_that_changes(name, change, tmp_path):
    make, path, output = MAKE[name], tmp_path / name, tmp_path / "out.zarr"
    path.parent.mkdir(exist_ok=True)
    make(path, VALUES)
    listener = Changing(lambda: change(path, make))
    with pytest.raises(TilerError) as refusal:
        tiler.segment(path, PoolingNet(), output, listener=listener, **CHOICES)
    assert listener.blocks >= 2
    assert not isinstance(refusal.value, Interrupted)
    assert "\n" not in str(refusal.value)
    assert not (output / "zarr.json").exists()
    with pytest.raises(TilerError):
        tiler.segment(path, PoolingNet(), output, resume=True, **CHOICES)
    assert not (output / "zarr.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("change", [rewrite, truncate, move, remove])
@pytest.mark.parametrize("name", MAKE)
def test_no_result_that_mixes_inputs_whenever_one_changes(name, change, tmp_path):
    """Changes at 20 random moments, from before the run to after it: a result is of the input as it was or as it is."""
    make, path, output = MAKE[name], tmp_path / name, tmp_path / "out.npy"
    path.parent.mkdir(exist_ok=True)
    results, took = [], []
    for values in (VALUES, 250 - VALUES):
        make(path, values)
        begun = time.perf_counter()
        tiler.segment(path, PoolingNet(), output, overwrite=True, **CHOICES)
        took.append(time.perf_counter() - begun)
        results.append(np.load(output))
    draw, outcomes = random.Random(f"{name} {change.__name__}"), Counter()
    for _ in range(20):
        _remove(path, output)
        make(path, VALUES)
        timer = threading.Timer(draw.uniform(0, 1.2 * took[1]), change, (path, make))
        timer.start()
        try:
            tiler.segment(path, PoolingNet(), output, overwrite=True, **CHOICES)
        except TilerError:
            outcomes["refused"] += 1
        else:
            found = np.load(output)
            timer.join()
            if not any(np.array_equal(found, expected) for expected in results):  # it had changed before the run began
                np.testing.assert_array_equal(found, np.squeeze(tiler.segment(path, PoolingNet(), **CHOICES)))
            outcomes["whole"] += 1
        timer.join()
    print(name, change.__name__, dict(outcomes))


def _remove(*paths):
    for path in (*paths, *(path.with_name("elsewhere") for path in paths)):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("name", MAKE)
def test_no_array_of_an_input_that_changes(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    MAKE[name](path, VALUES)
    with pytest.raises(TilerError, match="has changed while it was read"):
        tiler.segment(path, PoolingNet(), listener=Changing(lambda: rewrite(path, MAKE[name])), **CHOICES)


@pytest.mark.parametrize("name", MAKE)
def test_an_input_that_stays_the_same(name, tmp_path):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    MAKE[name](path, VALUES)
    found = tiler.segment(path, PoolingNet(), **CHOICES)
    np.testing.assert_array_equal(np.squeeze(found), tiler.segment(VALUES, PoolingNet(), **CHOICES))


@pytest.mark.parametrize("wrapped", [np.asarray, da.asarray])
def test_arrays_are_gone_on_with_only_where_sampled_blocks_agree(tmp_path, wrapped):
    output, stop = tmp_path / "out.zarr", Stopping(after=5)
    with pytest.raises(Interrupted):
        tiler.segment(wrapped(VALUES), PoolingNet(), output, block="1x16x16", executor="serial", listener=stop,
                      stop=stop.stop)
    for array in (VALUES, 255 - VALUES):
        with pytest.raises(TilerError, match="same_input=True compares sampled blocks"):
            tiler.segment(wrapped(array), PoolingNet(), output, resume=True)
    with pytest.raises(TilerError, match="source"):
        tiler.segment(wrapped(255 - VALUES), PoolingNet(), output, resume=True, same_input=True)
    tiler.segment(wrapped(VALUES), PoolingNet(), output, resume=True, same_input=True)
    np.testing.assert_array_equal(zarr.open(output / "0")[:], tiler.segment(VALUES, PoolingNet()))
