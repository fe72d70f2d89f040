"""The zarr output as others see it: OME-NGFF 0.5, chunks, shards, names."""

from dataclasses import replace

import numpy as np
import pytest
import yaozarrs
import zarr

from tiler.geometry import Box
from tiler.sinks import open_sink
from tiler.sources import open_source
from tiler.testing.sinks import ATTRIBUTES, EXAMPLES, written


def finished(path, spec):
    sink, values = written(lambda spec: open_sink(path, spec), spec)
    sink.finish(ATTRIBUTES)
    return values


@pytest.mark.parametrize("example", EXAMPLES)
def test_it_is_valid_ome_ngff(example, tmp_path):
    finished(tmp_path / "out.ome.zarr", EXAMPLES[example])
    yaozarrs.validate_zarr_store(str(tmp_path / "out.ome.zarr"))
    image = yaozarrs.open_group(str(tmp_path / "out.ome.zarr")).ome_metadata()
    assert isinstance(image, yaozarrs.v05.Image)


def test_metadata_say_what_the_voxels_are(tmp_path):
    spec = EXAMPLES["classes over time"]
    spec = replace(spec, calibration=replace(spec.calibration, offset=(1.0, 2.0, 3.0, 4.0)))
    finished(tmp_path / "out.ome.zarr", spec)
    group = zarr.open_group(tmp_path / "out.ome.zarr", mode="r")
    image = group.attrs["ome"]["multiscales"][0]
    assert image["name"] == "out"
    assert [(axis["name"], axis["type"], axis.get("unit")) for axis in image["axes"]] == [
        ("t", "time", "second"), ("c", "channel", None), ("z", "space", "nanometer"), ("y", "space", "nanometer"),
        ("x", "space", "nanometer")]
    scale, translation = image["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == [2, 1, 3, 4, 5]
    assert translation["translation"] == [1, 0, 2, 3, 4]
    assert [channel["label"] for channel in group.attrs["ome"]["omero"]["channels"]] == ["class 0", "class 1"]
    assert group.attrs["tiler"]["model"] == "example"
    assert group["0"].metadata.dimension_names == ("t", "c", "z", "y", "x")


def test_what_a_killed_run_was_writing_to_is_removed(tmp_path):
    sink, values = written(lambda spec: open_sink(tmp_path / "out.zarr", spec), EXAMPLES["a stack"])
    (chunk,) = {file.parent for file in (tmp_path / "out.zarr.partial").rglob("c/0/0/0")}
    (chunk / "0.8e23ed22488d417389704a09eecb4305.partial").write_bytes(b"half")
    sink.finish(ATTRIBUTES)
    assert not [*tmp_path.rglob("*.partial")]
    assert np.array_equal(zarr.open_array(tmp_path / "out.zarr/0", mode="r"), values[0])


def test_labels_name_their_classes_without_display_settings(tmp_path):
    finished(tmp_path / "out.zarr", EXAMPLES["labels of a stack"])
    attributes = zarr.open_group(tmp_path / "out.zarr", mode="r").attrs
    assert "omero" not in attributes["ome"]
    assert attributes["tiler"]["kind"] == "instances"


@pytest.mark.parametrize(("example", "chunks", "shards"), [
    ("an image", (8, 16), None), ("a stack", (4, 8, 16), None), ("classes of a stack", (1, 4, 8, 16), None),
    ("classes over time", (1, 1, 2, 8, 16), None), ("shards", (1, 4, 8, 16), (2, 4, 16, 16)),
])
def test_chunks_and_shards(example, chunks, shards, tmp_path):
    spec = EXAMPLES[example]
    finished(tmp_path / "out.zarr", spec)
    array = zarr.open_array(tmp_path / "out.zarr/0", mode="r")
    assert array.chunks == chunks
    assert array.shards == shards
    assert open_sink(tmp_path / "out.zarr", spec).write_unit == (
        {"classes over time": (2, 8, 16), "shards": (4, 16, 16)}.get(example, (4, 8, 16)))


def test_no_two_blocks_share_a_chunk_where_time_is_folded(tmp_path):
    spec = EXAMPLES["classes over time"]
    sink = open_sink(tmp_path / "out.zarr", spec)
    sink.create()
    depth, chunk = spec.calibration.sizes[1], sink.write_unit[0]
    starts = range(0, spec.shape[1], chunk)
    assert all(start // depth == (min(start + chunk, spec.shape[1]) - 1) // depth for start in starts)


@pytest.mark.parametrize("example", ["a stack", "classes over time", "classes of an image", "shards"])
def test_it_reads_back_as_a_source(example, tmp_path):
    spec = EXAMPLES[example]
    values = finished(tmp_path / "out.zarr", spec)
    source = open_source(tmp_path / "out.zarr")
    assert source.calibration == spec.calibration
    np.testing.assert_array_equal(source.read(Box.of_shape(spec.shape[1:])), values)


def test_zarr_2_names_its_dimensions_as_xarray_does(tmp_path):
    sink, _ = written(lambda spec: open_sink(tmp_path / "out.zarr", spec), replace(EXAMPLES["a stack"], ngff="0.4"))
    sink.finish(ATTRIBUTES)
    group = zarr.open_group(tmp_path / "out.zarr", mode="r")
    for level in group.array_keys():
        assert group[level].attrs["_ARRAY_DIMENSIONS"] == ["z", "y", "x"]


def test_background_is_clear_in_labels(tmp_path):
    sink, _ = written(lambda spec: open_sink(tmp_path / "out.zarr", spec),
                      replace(EXAMPLES["a stack"], dtype=np.dtype("uint8"), kind="labels"))
    sink.finish({**ATTRIBUTES, "classes": ["membrane", "cell"]})
    colors = zarr.open_group(tmp_path / "out.zarr", mode="r").attrs["ome"]["image-label"]["colors"]
    assert [(entry["label-value"], entry["rgba"][3]) for entry in colors] == [(0, 0), (1, 255)]
