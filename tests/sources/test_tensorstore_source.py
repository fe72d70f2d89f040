"""N5 and precomputed volumes, written by tensorstore itself and by hand."""

import gzip
import json

import imagecodecs
import numpy as np
import pytest
import tensorstore

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.opening import describe_source
from tiler.ports import Calibration
from tiler.sources import open_source
from tiler.testing.sources import SourceConformance, refused

VALUES = np.random.default_rng(3).integers(0, 250, (2, 7, 37, 53)).astype("uint16")
SIZES = (7, 37, 53)


def n5(folder, values, **metadata):
    """``values`` (z, y, x) as a dataset of an N5 container."""
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{folder}/"},
            "metadata": {"dimensions": values.shape[::-1], "blockSize": (16,) * values.ndim,
                         "dataType": values.dtype.name, "compression": {"type": "gzip"}, **metadata}}
    tensorstore.open(spec, create=True).result()[...] = values.T
    return folder


def precomputed(folder, values, offset=(0, 0, 0), **encoding):
    """``values`` (c, z, y, x) in two scales, the second of every other voxel."""
    for step in (1, 2):
        level = values[:, ::step, ::step, ::step].T
        spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{folder}/"},
                "multiscale_metadata": {"type": "image", "num_channels": len(values),
                                        "data_type": values.dtype.name},
                "scale_metadata": {"size": level.shape[:3], "encoding": "raw", "chunk_size": (16, 16, 4),
                                   "resolution": (4 * step, 5 * step, 40 * step), "voxel_offset": offset, **encoding}}
        tensorstore.open(spec, open=True, create=True).result()[...] = level
    return folder


def whole(source):
    return source.read(Box.of_shape(source.shape[1:]))


class TestN5(SourceConformance):
    @pytest.fixture
    def expected(self):
        return VALUES[:1]

    @pytest.fixture
    def source(self, tmp_path):
        return open_source(n5(tmp_path / "a.n5/volumes/raw", VALUES[0]))


class TestPrecomputed(SourceConformance):
    @pytest.fixture
    def expected(self):
        return VALUES

    @pytest.fixture
    def source(self, tmp_path):
        return open_source(precomputed(tmp_path / "em", VALUES, offset=(100, 200, 5)))


def test_sizes_of_n5_are_those_of_the_dataset(tmp_path):
    named = n5(tmp_path / "a.n5/raw", VALUES[0], axes=["x", "y", "z"], resolution=[4.0, 5.0, 40.0],
               units=["nm", "nm", "nm"])
    nm = ("nanometer",) * 3
    assert open_source(named).calibration == Calibration(("z", "y", "x"), SIZES, (40.0, 5.0, 4.0), nm, (0.0,) * 3)
    pixels = n5(tmp_path / "b.n5/raw", VALUES[0], pixelResolution={"dimensions": [4, 5, 40], "unit": "um"})
    assert open_source(pixels).calibration.units == ("micrometer",) * 3


def test_levels_of_an_n5_group_take_its_sizes(tmp_path):
    group = tmp_path / "a.n5/em"
    n5(group / "s0", VALUES[0])
    n5(group / "s1", VALUES[0, ::2, ::2, ::2], downsamplingFactors=[2, 2, 2])
    (group / "attributes.json").write_text(json.dumps({"pixelResolution": {"dimensions": [4, 5, 40], "unit": "nm"}}))
    np.testing.assert_array_equal(whole(open_source(group)), VALUES[:1])
    assert open_source(group).calibration.scale == (40.0, 5.0, 4.0)
    assert open_source(group / "s1").calibration.scale == (80.0, 10.0, 8.0)


def test_further_axes_of_n5_are_channels_and_time(tmp_path):
    np.testing.assert_array_equal(whole(open_source(n5(tmp_path / "a.n5/c", VALUES))), VALUES)
    movie = np.stack([VALUES, VALUES + np.uint16(1)])
    found = open_source(n5(tmp_path / "a.n5/t", movie), time=1)
    np.testing.assert_array_equal(whole(found), movie[1])


def test_a_relative_folder_is_remembered_as_an_absolute_one(tmp_path, monkeypatch):
    precomputed(tmp_path / "em", VALUES)
    monkeypatch.chdir(tmp_path)
    told = describe_source("precomputed://em")
    assert told == f"precomputed://{tmp_path}/em"
    assert open_source(told).identity == open_source("precomputed://em").identity
    assert describe_source("em") == str(tmp_path / "em")


@pytest.mark.parametrize("encoding", [
    {}, {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": [8, 8, 8]}],
    ids=["raw", "compressed"])
def test_scales_of_a_precomputed_volume(tmp_path, encoding):
    values = VALUES[:1].astype("uint32")
    folder = precomputed(tmp_path / "seg", values, (100, 200, 5), **encoding)
    found = open_source(f"precomputed://{folder}")
    assert found.calibration == Calibration(("z", "y", "x"), SIZES, (40.0, 5.0, 4.0), ("nanometer",) * 3,
                                            (200.0, 1000.0, 400.0))
    coarse = open_source(folder / "8_10_80")
    assert coarse.calibration.scale == (80.0, 10.0, 8.0)
    np.testing.assert_array_equal(whole(coarse), values[:, ::2, ::2, ::2])


def test_a_chunk_that_cannot_be_read_is_an_error(tmp_path):
    for folder, chunk in ((n5(tmp_path / "a.n5/raw", VALUES[0]), "0/0/0"),
                          (precomputed(tmp_path / "em", VALUES) / "4_5_40", "0-16_0-16_0-4")):
        source = open_source(folder)
        (folder / chunk).write_bytes(b"no chunk")
        refused(SourceError, lambda source=source: whole(source))


def test_what_changes_the_voxels_changes_the_identity(tmp_path):
    folder = precomputed(tmp_path / "em", VALUES)
    before = open_source(folder).identity
    precomputed(folder, VALUES + np.uint16(1))
    assert open_source(folder).identity != before


def test_what_is_no_volume_is_one_line(tmp_path):
    n5(tmp_path / "a.n5/raw", VALUES[0])
    (tmp_path / "em").mkdir()
    (tmp_path / "em/info").write_text('{"scales": []}')
    (tmp_path / "empty.n5").mkdir()
    for given, told in ((tmp_path / "a.n5", f"give one of {tmp_path / 'a.n5/raw'}"),
                        (tmp_path / "empty.n5", "there is none below it"),
                        (tmp_path / "a.n5/none", "does not exist"),
                        (tmp_path / "em", "names no scales"),
                        ("precomputed://nothing", "does not exist"),
                        ("precomputed://gs://bucket/em", "from local folders")):
        assert told in refused(SourceError, lambda given=given: open_source(given))
    (tmp_path / "em/info").write_text('"scales"')
    assert "makes no sense" in refused(SourceError, lambda: open_source(tmp_path / "em"))
    (tmp_path / "a.n5/raw/attributes.json").write_text('{"dimensions": [1, 2], "blockSize": "?"}')
    assert "cannot be read" in refused(SourceError, lambda: open_source(tmp_path / "a.n5/raw"))


@pytest.mark.parametrize("encoding", [
    {}, {"encoding": "compressed_segmentation", "compressed_segmentation_block_size": [8, 8, 8]}],
    ids=["raw", "compressed"])
@pytest.mark.parametrize("suffix", [".gz", ".br"])
@pytest.mark.parametrize("some", [slice(None), slice(None, None, 2)], ids=["all", "some"])
def test_chunks_of_a_precomputed_volume_that_are_packed(tmp_path, encoding, suffix, some):
    values = VALUES[:1].astype("uint32")
    folder = precomputed(tmp_path / "seg", values, (100, 200, 5), **encoding)
    for chunk in sorted((folder / "4_5_40").iterdir())[some]:
        pack = gzip.compress if suffix == ".gz" else imagecodecs.brotli_encode
        chunk.with_name(chunk.name + suffix).write_bytes(pack(chunk.read_bytes()))
        chunk.unlink()
    source = open_source(folder)
    np.testing.assert_array_equal(whole(source), values)
    box = Box.between((1, 5, 20), (6, 30, 40))
    np.testing.assert_array_equal(source.read(box), values[(slice(None), *box.slices)])


def test_a_packed_chunk_that_inflates_to_more_than_a_chunk_is_refused(tmp_path):
    folder = precomputed(tmp_path / "em", VALUES[:1])
    chunk = folder / "4_5_40/0-16_0-16_0-4"
    chunk.unlink()
    chunk.with_name(f"{chunk.name}.gz").write_bytes(gzip.compress(bytes(50_000_000)))
    assert "inflates to more than" in refused(SourceError, lambda: whole(open_source(folder)))


def test_the_largest_scale_is_read_wherever_it_is_listed(tmp_path, caplog):
    folder = precomputed(tmp_path / "em", VALUES)
    info = json.loads((folder / "info").read_text())
    info["scales"].reverse()
    (folder / "info").write_text(json.dumps(info))
    np.testing.assert_array_equal(whole(open_source(folder)), VALUES)
    assert "is larger than 8_10_80, which is listed first" in caplog.text


ODD = [None, "4,4,40", [4, 4], [4, 4, None], [0, 4, 4], ["a", "b", "c"], {}, 5, [4, 4, float("nan")], []]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("name", ["resolution", "units", "axes", "pixelResolution", "downsamplingFactors", "offset"])
def test_attributes_of_n5_that_make_no_sense_do_not_cost_the_voxels(tmp_path, name, odd):
    folder = n5(tmp_path / "a.n5/raw", VALUES[0])
    attributes = json.loads((folder / "attributes.json").read_text())
    told = {**attributes, "resolution": [4, 5, 40], "units": "nm", name: odd}
    (folder / "attributes.json").write_text(json.dumps(told))
    source = open_source(folder)
    np.testing.assert_array_equal(whole(source), VALUES[:1])
    json.dumps(source.calibration.scale, allow_nan=False)


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize("name", ["resolution", "voxel_offset"])
def test_info_of_a_precomputed_volume_that_makes_no_sense_does_not_cost_the_voxels(tmp_path, name, odd):
    folder = precomputed(tmp_path / "em", VALUES)
    info = json.loads((folder / "info").read_text())
    info["scales"][0][name] = odd
    info["scales"][1:] = [None, {"key": 5}]
    if name != "voxel_offset" or odd not in ([4, 4, None], [0, 4, 4], [4, 4, ODD[8][2]]):  # the chunks are called by it
        (folder / "info").write_text(json.dumps(info))
    source = open_source(folder)
    np.testing.assert_array_equal(whole(source), VALUES)
    assert all(np.isfinite([*source.calibration.scale, *source.calibration.offset]))
