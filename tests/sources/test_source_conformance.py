"""Every source passes the shipped suite of the port, whatever the format and the way it is stored."""
# ruff: noqa: RUF012  (no case changes its class attributes)

import dask.array
import h5py
import imagecodecs
import numpy as np
import pytest
import tifffile
import zarr

from tiler.sources import open_source
from tiler.testing.sources import SourceConformance

SHAPES = {"image": (37, 53), "stack": (7, 37, 53), "channels": (3, 7, 37, 53), "movie": (2, 3, 4, 37, 53)}


def voxels(shape, dtype="uint16"):
    return np.random.default_rng(3).integers(0, 250, shape).astype(dtype)


def volume(array):
    """Expected volume of the sources below for an array yx, zyx, czyx or tczyx."""
    if array.ndim == 5:
        t, c, z, y, x = array.shape
        return array.transpose(1, 0, 2, 3, 4).reshape(c, t * z, y, x)
    return array.reshape((1,) * (4 - array.ndim) + array.shape)


class Suite(SourceConformance):
    """The source is made by `write` from `stored`; both are methods, so that a case is a few lines."""

    shape = SHAPES["stack"]
    dtype = "uint16"
    options = {}

    def stored(self):
        return voxels(self.shape, self.dtype)

    @pytest.fixture
    def expected(self):
        return volume(self.stored())

    @pytest.fixture
    def source(self, tmp_path):
        return open_source(self.write(tmp_path), **self.options)


class TestNumpy(Suite):
    def write(self, folder):
        return self.stored()


class TestImage(TestNumpy):
    shape = SHAPES["image"]


class TestMovie(TestNumpy):
    shape = SHAPES["movie"]


class TestChosenChannels(TestNumpy):
    shape = SHAPES["movie"]
    options = {"channel": "2,0"}

    @pytest.fixture
    def expected(self):
        return volume(self.stored())[[2, 0]]


class TestChosenTime(TestNumpy):
    shape = SHAPES["movie"]
    options = {"time": 1}

    @pytest.fixture
    def expected(self):
        return self.stored()[1]


class TestTransposed(TestNumpy):
    options = {"axes": "xzy"}

    @pytest.fixture
    def expected(self):
        return self.stored().transpose(1, 2, 0)[None]


class TestBool(TestNumpy):
    dtype = "bool"

    @pytest.fixture
    def expected(self):
        return volume(self.stored()).astype(np.uint8)


class TestBigEndian(TestNumpy):
    dtype = ">i4"

    @pytest.fixture
    def expected(self):
        return volume(self.stored()).astype("=i4")


class TestDask(Suite):
    shape = SHAPES["channels"]

    def write(self, folder):
        return dask.array.from_array(self.stored(), chunks=(1, 3, 16, 20))


class TestNpy(Suite):
    def write(self, folder):
        np.save(folder / "a.npy", np.asfortranarray(self.stored()))
        return folder / "a.npy"


class TestZarr3Shards(Suite):
    shape = SHAPES["channels"]

    def write(self, folder):
        zarr.create_array(folder / "a.zarr", data=self.stored(), chunks=(1, 2, 16, 16), shards=(1, 4, 32, 32))
        return folder / "a.zarr"


class TestZarr2(Suite):
    def write(self, folder):
        zarr.create_array(folder / "a.zarr", data=self.stored(), chunks=(2, 16, 16), zarr_format=2)
        return str(folder / "a.zarr")


class TestZarrWithMissingChunks(Suite):
    def stored(self):
        values = np.full(self.shape, 9, self.dtype)
        values[:4, :16, :16] = voxels((4, 16, 16))
        return values

    def write(self, folder):
        array = zarr.create_array(folder / "a.zarr", shape=self.shape, dtype=self.dtype, chunks=(4, 16, 16),
                                  fill_value=9)
        array[:4, :16, :16] = self.stored()[:4, :16, :16]
        return folder / "a.zarr"


class TestZarrInMemory(Suite):
    def write(self, folder):
        return zarr.create_array({}, data=self.stored(), chunks=(2, 16, 16))


class TestOpenZarrArray(Suite):
    def write(self, folder):
        return zarr.create_array(folder / "a.zarr", data=self.stored(), chunks=(2, 16, 16))


class Hdf5(Suite):
    stored_as = {}

    def write(self, folder):
        with h5py.File(folder / "a.h5", "w") as file:
            file.create_dataset("volumes/raw", data=self.stored(), **self.stored_as)
        return folder / "a.h5"


class TestHdf5Contiguous(Hdf5):
    pass


class TestHdf5Chunks(Hdf5):
    shape = SHAPES["movie"]
    stored_as = {"chunks": (1, 2, 3, 16, 20), "compression": "gzip", "shuffle": True}


class TestHdf5BigEndianLzf(Hdf5):
    dtype = ">i4"
    stored_as = {"chunks": (2, 16, 20), "compression": "lzf"}

    @pytest.fixture
    def expected(self):
        return volume(self.stored()).astype("=i4")


class TestHdf5Bool(Hdf5):
    dtype = "bool"

    @pytest.fixture
    def expected(self):
        return volume(self.stored()).astype(np.uint8)


class TestHdf5OneOfSeveral(Hdf5):
    def write(self, folder):
        path = super().write(folder)
        with h5py.File(path, "a") as file:
            file["volumes/labels/neuron_ids"] = np.zeros((3, 4, 5), np.uint64)
        return f"{path}:/volumes/raw"


class Tiff(Suite):
    written = {}

    def write(self, folder):
        tifffile.imwrite(folder / "a.tif", self.stored(), photometric="minisblack", **self.written)
        return folder / "a.tif"


class TestTiffContiguous(Tiff):
    pass


class TestTiffStrips(Tiff):
    written = {"compression": "zlib", "rowsperstrip": 5, "predictor": True}


class TestTiffTiles(Tiff):
    written = {"compression": "lzw", "tile": (16, 32)}


class TestTiffRawTiles(Tiff):
    written = {"tile": (16, 16)}


class TestTiffBigEndian(Tiff):
    written = {"byteorder": ">", "bigtiff": True}


class TestTiffFloatPredictor(Tiff):
    dtype = "float32"
    written = {"compression": "zstd", "predictor": 3, "rowsperstrip": 7}


class TestTiffVolumetric(Tiff):
    shape = (16, 37, 53)
    written = {"volumetric": True, "tile": (16, 16, 16), "compression": "zlib"}


class TestTiffTime(Tiff):
    shape = (2, 4, 3, 37, 53)
    written = {"imagej": True, "metadata": {"axes": "TZCYX"}}

    @pytest.fixture
    def expected(self):
        return volume(self.stored().swapaxes(1, 2))


class TestTiffImageJSeveralPages(TestTiffTime):
    written = {**TestTiffTime.written, "compression": "zlib"}


class TestTiffOme(Tiff):
    shape = SHAPES["movie"]
    written = {"ome": True, "metadata": {"axes": "TCZYX"}, "compression": "zlib"}


class Colours(Tiff):
    shape = (37, 53, 3)
    dtype = "uint8"

    @pytest.fixture
    def expected(self):
        return self.stored().transpose(2, 0, 1)[:, None]


class TestTiffColours(Colours):
    def write(self, folder):
        tifffile.imwrite(folder / "a.tif", self.stored(), photometric="rgb", compression="zlib", rowsperstrip=8)
        return folder / "a.tif"


class TestTiffColourPlanes(Colours):
    def write(self, folder):
        planes = self.stored().transpose(2, 0, 1)
        tifffile.imwrite(folder / "a.tif", planes, photometric="rgb", planarconfig="separate", tile=(16, 16))
        return folder / "a.tif"


class TestFolderOfTiffs(Suite):
    def write(self, folder):
        for z, plane in enumerate(self.stored()):
            tifffile.imwrite(folder / f"slice{z + 7}.tif", plane, compression="zlib", rowsperstrip=8)
        return folder


class TestFolderOfPngs(Suite):
    shape = (4, 37, 53, 3)
    dtype = "uint8"

    @pytest.fixture
    def expected(self):
        return self.stored().transpose(3, 0, 1, 2)

    def write(self, folder):
        for z, plane in enumerate(self.stored()):
            imagecodecs.imwrite(folder / f"{z + 8}.png", plane)
        return folder


class TestPng(Suite):
    shape = SHAPES["image"]

    def write(self, folder):
        imagecodecs.imwrite(folder / "a.PNG", self.stored(), codec="png")
        return folder / "a.PNG"
