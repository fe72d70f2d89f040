"""N5 and precomputed outputs: what tensorstore and tiler read of them is what was written, with sizes and levels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tensorstore

from tiler.errors import SinkError
from tiler.geometry import Box, Grid
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import open_sink
from tiler.sources import open_source
from tiler.testing.sinks import EXAMPLES, StoredSinkConformance


class Stored(StoredSinkConformance):
    @pytest.fixture
    def output(self, tmp_path) -> Path:
        return tmp_path / "new folder" / self.filename

    @pytest.fixture
    def make(self, output):
        return lambda spec: open_sink(output, spec)


class TestN5(Stored):
    filename = "out.n5"

    @pytest.fixture(params=["an image", "labels of a stack", "classes over time"])
    def spec(self, request):
        return EXAMPLES[request.param]


class TestPrecomputed(Stored):
    filename = "out.precomputed"

    @pytest.fixture(params=["an image", "labels of a stack", "classes of an image"])
    def spec(self, request):
        return EXAMPLES[request.param]


def written(path, shape, dtype="uint16", kind="probabilities", channels=1):
    """An output in blocks of two chunks, at 30 x 4 x 3 nm and an offset of whole voxels."""
    calibration = Calibration(("z", "y", "x"), shape, (30.0, 4.0, 3.0), ("nanometer",) * 3, (60.0, 8.0, 9.0))
    names = tuple(f"class {number}" for number in range(channels))
    spec = OutputSpec((channels, *shape), np.dtype(dtype), calibration, names, channels > 1, (4, 512, 600),
                      (2, 512, 300), kind=kind)
    values = np.random.default_rng(1).integers(0, 9, spec.shape).astype(dtype)
    sink = open_sink(path, spec)
    sink.create()
    for block in Grid(Box.of_shape(shape), spec.block):
        sink.write(block, values[(slice(None), *block.slices)])
    sink.finish({})
    return values


def opened(driver, path, **more):
    spec = {"driver": driver, "kvstore": {"driver": "file", "path": f"{path}/"}, **more}
    return tensorstore.open(spec, open=True).result()


@pytest.mark.parametrize(("name", "dtype", "kind", "channels"), [
    ("out.n5", "uint16", "probabilities", 2), ("out.n5", "uint32", "instances", 1),
    ("out.precomputed", "float32", "probabilities", 2), ("out.precomputed", "uint32", "instances", 1),
    ("out.precomputed", "uint8", "labels", 1)])
def test_tiler_reads_what_it_wrote(tmp_path, name, dtype, kind, channels):
    values = written(tmp_path / name, (5, 700, 530), dtype, kind, channels)
    source = open_source(tmp_path / name)
    np.testing.assert_array_equal(source.read(Box.of_shape(source.shape[1:])), values)
    assert source.calibration.scale == (30.0, 4.0, 3.0)
    assert source.calibration.units == ("nanometer",) * 3
    if name == "out.precomputed":
        assert source.calibration.offset == (60.0, 8.0, 9.0)


def test_levels_of_n5(tmp_path):
    values = written(tmp_path / "out.n5", (4, 700, 530))
    level = opened("n5", tmp_path / "out.n5" / "s1")
    assert level.shape == (265, 350, 4)
    assert json.loads((tmp_path / "out.n5/s1/attributes.json").read_text())["downsamplingFactors"] == [2, 2, 1]
    means = np.rint(values[0].reshape(4, 350, 2, 265, 2).mean((2, 4)))
    np.testing.assert_array_equal(level.read().result().T, means)


def test_scales_of_a_precomputed_volume(tmp_path):
    written(tmp_path / "out.precomputed", (4, 700, 530), "uint64", "instances")
    info = json.loads((tmp_path / "out.precomputed/info").read_text())
    assert (info["type"], info["data_type"], info["num_channels"]) == ("segmentation", "uint64", 1)
    assert [scale["key"] for scale in info["scales"]] == ["3_4_30", "6_8_30"]
    assert {scale["encoding"] for scale in info["scales"]} == {"compressed_segmentation"}
    assert [scale["size"] for scale in info["scales"]] == [[530, 700, 4], [265, 350, 4]]


def test_what_a_killed_writer_left_does_not_stay(tmp_path):
    shape = (4, 700, 530)
    calibration = Calibration.plain("zyx", shape)
    spec = OutputSpec((1, *shape), np.dtype("uint8"), calibration, ("a",), False, shape, (2, 512, 300))
    sink = open_sink(tmp_path / "out.n5", spec)
    sink.create()
    (tmp_path / "out.n5.partial" / "s0" / "0.__lock").write_bytes(b"half")
    sink.finish({})
    assert not list((tmp_path / "out.n5").rglob("*.__lock"))


@pytest.mark.parametrize(("name", "example", "told"), [
    ("out.n5", "classes of a stack", "float16"), ("out.precomputed", "one voxel", "float64"),
    ("out.precomputed", "classes over time", "no time")])
def test_what_a_format_cannot_hold_is_refused_before_anything_is_made(tmp_path, name, example, told):
    with pytest.raises(SinkError, match=told):
        open_sink(tmp_path / name, EXAMPLES[example])
    assert not list(tmp_path.iterdir())
