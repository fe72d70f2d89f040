"""Every sink passes the shipped suite of the port."""

from dataclasses import replace
from pathlib import Path

import pytest

from tiler.sinks import open_sink
from tiler.sinks.tiff import TiffSink
from tiler.testing.sinks import EXAMPLES, SinkConformance, StoredSinkConformance


@pytest.fixture(params=EXAMPLES)
def spec(request):
    return EXAMPLES[request.param]


class Stored(StoredSinkConformance):
    @pytest.fixture
    def output(self, tmp_path) -> Path:
        return tmp_path / "new folder" / self.filename

    @pytest.fixture
    def make(self, output):
        return lambda spec: open_sink(output, spec)


class TestZarr(Stored):
    filename = "out.zarr"


class TestTiff(Stored):
    filename = "out.tif"


class OtherTiff(Stored):
    @pytest.fixture(params=["labels of a stack", "classes over time"])
    def spec(self, request):
        return EXAMPLES[request.param]


class TestOmeTiff(Stored):
    filename = "out.ome.tif"

    @pytest.fixture(params=["labels of a stack", "classes of an image"])
    def spec(self, request):
        return EXAMPLES[request.param]


class TestHdf5(Stored):
    filename = "out.h5"

    @pytest.fixture(params=["an image", "classes of a stack"])
    def spec(self, request):
        return EXAMPLES[request.param]


class TestOldOmeZarr(Stored):
    filename = "out.zarr"

    @pytest.fixture(params=["classes of an image", "shards"])
    def spec(self, request):
        return replace(EXAMPLES[request.param], ngff="0.4")


class TestBigTiff(OtherTiff):
    filename = "out.tif"

    @pytest.fixture
    def make(self, output):
        return lambda spec: TiffSink(output, spec, limit=1)


class TestNpy(Stored):
    filename = "out.npy"


class TestMrc(Stored):
    filename = "out.mrc"

    @pytest.fixture
    def spec(self):
        return EXAMPLES["an image"]


class TestArray(SinkConformance):
    in_memory = True

    @pytest.fixture
    def make(self):
        return lambda spec: open_sink(None, spec)
