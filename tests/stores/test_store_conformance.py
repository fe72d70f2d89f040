"""Sources and sinks on an object store pass the shipped suites, and what differs there from a disk is held here."""

from dataclasses import replace

import numpy as np
import pytest
import zarr

from tiler.errors import SinkError, SourceError
from tiler.geometry import Box
from tiler.sinks import discard_unfinished, is_unfinished, is_whole, open_finished, open_sink
from tiler.sources import open_source
from tiler.stores import asking
from tiler.stores.address import Address
from tiler.testing.sinks import ATTRIBUTES, EXAMPLES, SinkConformance, blocks_of, example_values, part, written
from tiler.testing.sources import SourceConformance, refused

STACK = EXAMPLES["classes of a stack"]


def stored(address, values, **options):
    """An array on the server, written by zarr through tiler's store."""
    store = asking("zarr_store").zarr_store(Address.parse(address), read_only=False)
    array = zarr.create_array(store, shape=values.shape, dtype=values.dtype, chunks=(3, 16, 16), **options)
    array[:] = values
    return address


class TestSource(SourceConformance):
    @pytest.fixture
    def expected(self):
        return np.random.default_rng(3).integers(0, 250, (1, 7, 37, 53)).astype("uint16")

    @pytest.fixture
    def source(self, root, expected):
        return open_source(stored(f"{root}/a.zarr", expected[0]))


def test_http_reads_the_same_and_cannot_list(server, root):
    values = np.random.default_rng(3).integers(0, 250, (7, 37, 53)).astype("uint16")
    address = stored(f"{root}/group/a.zarr", values).replace("s3:/", server.url)
    found = open_source(address)
    np.testing.assert_array_equal(found.read(Box.of_shape(values.shape))[0], values)
    assert "listing" not in found.identity
    zarr.create_group(asking("zarr_store").zarr_store(Address.parse(f"{root}/group"), read_only=False))
    assert "cannot be listed" in refused(SourceError, lambda: open_source(address.removesuffix("/a.zarr")))


class TestSink(SinkConformance):
    @pytest.fixture
    def spec(self):
        return EXAMPLES["shards"]

    @pytest.fixture
    def make(self, root):
        return lambda spec: open_sink(f"{root}/out.zarr", spec)


@pytest.fixture(params=["0.5", "0.4"])
def spec(request):
    return replace(STACK, ngff=request.param)


@pytest.fixture
def output(root):
    return Address.parse(f"{root}/out.zarr")


def test_what_is_not_finished_is_no_input_and_no_image(spec, output):
    sink, values = written(lambda spec: open_sink(output, spec), spec)
    assert is_unfinished(output)
    assert not is_whole(output)
    for place in (output, output / "0"):
        assert "is not finished" in refused(SourceError, lambda place=place: open_source(place))
    attributes = zarr.open_group(asking("zarr_store").zarr_store(output, read_only=True), mode="r").attrs
    assert set(attributes) == {"tiler"}
    sink.finish(ATTRIBUTES)
    assert is_whole(output)
    assert not is_unfinished(output)
    assert open_finished(output)["model"] == "example"
    found = open_source(output)
    assert found.channels == spec.classes
    assert found.calibration == spec.calibration
    np.testing.assert_array_equal(found.read(Box.of_shape(found.shape[1:])), values)


def test_another_sink_goes_on_and_finishes(spec, output):
    values = example_values(spec)
    open_sink(output, spec).create()
    for block in blocks_of(spec):
        open_sink(output, spec).write(block, part(values, block))
    open_sink(output, spec).finish(ATTRIBUTES)
    open_sink(output, spec).finish(ATTRIBUTES)
    np.testing.assert_array_equal(open_sink(output, spec).read(Box.of_shape(values.shape[1:])), values)
    block = next(blocks_of(spec))
    refused(SinkError, lambda: open_sink(output, spec).write(block, part(values, block)))


def test_a_new_output_replaces_all_of_an_older_one(output):
    older, _ = written(lambda spec: open_sink(output, spec), replace(STACK, ngff="0.4"))
    older.finish(ATTRIBUTES)
    newer, values = written(lambda spec: open_sink(output, spec), STACK)
    newer.finish(ATTRIBUTES)
    assert not [each for each in asking().listing(output) if each.key.startswith(".z")]
    np.testing.assert_array_equal(open_source(output).read(Box.of_shape(values.shape[1:])), values)


def test_only_what_is_not_finished_is_discarded(output):
    sink, _ = written(lambda spec: open_sink(output, spec), STACK)
    sink.finish(ATTRIBUTES)
    discard_unfinished(output)
    assert is_whole(output)
    sink.create()
    discard_unfinished(output)
    assert not asking().exists(output)


def test_without_create_there_is_nothing_to_write_to(output):
    block = next(blocks_of(STACK))
    refused(SinkError, lambda: open_sink(output, STACK).write(block, part(example_values(STACK), block)))
    refused(SinkError, lambda: open_sink(output, STACK).finish(ATTRIBUTES))
    assert not asking().exists(output)


def test_levels_are_stored_and_read_by_name(output):
    sizes = (2, 64, 1100)
    calibration = replace(STACK.calibration, sizes=sizes)
    wide = replace(STACK, shape=(1, *sizes), block=sizes, chunk=sizes, channel_axis=False, classes=("cell",),
                   dtype=np.dtype("uint8"), calibration=calibration)
    sink, values = written(lambda spec: open_sink(output, spec), wide)
    sink.finish(ATTRIBUTES)
    coarse = open_source(output / "1")
    assert (coarse.shape, coarse.calibration.scale) == ((1, 1, 32, 550), (4.0, 6.0, 8.0))
    means = values.reshape(1, 1, 2, 32, 2, 550, 2).mean((2, 4, 6))
    np.testing.assert_array_equal(coarse.read(Box.of_shape(coarse.shape[1:])), np.rint(means))


def test_an_input_is_known_by_what_is_stored(root):
    values = np.arange(7 * 37 * 53, dtype="uint16").reshape(7, 37, 53)
    before = open_source(stored(f"{root}/a.zarr", values)).identity
    assert open_source(f"{root}/a.zarr").identity == before
    stored(f"{root}/a.zarr", values + np.uint16(1), overwrite=True)
    assert open_source(f"{root}/a.zarr").identity != before


@pytest.mark.parametrize(("output", "told"), [("s3://lab/out.tif", "are .zarr; got .tif"),
                                              ("s3://lab/out", "are .zarr; got no suffix"),
                                              ("https://example.org/out.zarr", "read, not written")])
def test_what_cannot_be_written_there_is_refused(output, told):
    assert told in refused(SinkError, lambda: open_sink(output, STACK))


@pytest.mark.parametrize("name", ["a.tif", "a.h5", "a.zarr.zip"])
def test_only_zarr_is_read_from_there(name):
    assert "only zarr is read" in refused(SourceError, lambda: open_source(f"s3://lab/{name}"))
