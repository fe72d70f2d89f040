"""Conformance suite for sinks: subclass it, define the fixtures, and pytest runs the tests.

>>> class TestMySink(StoredSinkConformance):         # doctest: +SKIP
...     @pytest.fixture
...     def output(self, tmp_path): ...              # final path of the output
...     @pytest.fixture
...     def make(self, output): ...                  # OutputSpec -> a new sink for that output
...     @pytest.fixture(params=EXAMPLES)
...     def spec(self, request): return EXAMPLES[request.param]
"""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from tiler.errors import SinkError
from tiler.geometry import Box, Grid
from tiler.ports import Array, Calibration, OutputSpec, Sink
from tiler.testing.sources import refused

Make = Callable[[OutputSpec], Sink]
ATTRIBUTES = {"model": "example", "plan": {"tile": [1, 572, 572]}}


class Stopped(Exception):
    """Raised by the watch to stop the work."""


class Counting:
    """A watch that counts, and stops the work after some pieces."""

    def __init__(self, after: int | None = None) -> None:
        self.total, self.pieces, self.voxels, self.after = 0, 0, 0, after

    def begin(self, total: int) -> None:
        self.total = total

    def made(self, voxels: int) -> None:
        self.pieces, self.voxels = self.pieces + 1, self.voxels + voxels
        if self.pieces == self.after:
            raise Stopped


class SinkConformance:
    """Tests for every `tiler.ports.Sink`.

    Attributes
    ----------
    in_memory
        Whether the output uses no disk space.
    """

    in_memory = False

    def test_it_is_a_sink(self, make: Make, spec: OutputSpec) -> None:
        assert isinstance(make(spec), Sink)

    def test_blocks_are_whole_write_units(self, make: Make, spec: OutputSpec) -> None:
        assert all(block % unit == 0 for block, unit in zip(spec.block, make(spec).write_unit, strict=True))

    def test_what_it_takes_of_the_disk_is_told_before_it_is_made(self, make: Make, spec: OutputSpec) -> None:
        room, voxels = make(spec).room, example_values(spec).nbytes
        assert room.output == (0 if self.in_memory else voxels)  # the examples are too small for levels
        assert room.temporary in (0, voxels)

    def test_blocks_in_any_order(self, make: Make, spec: OutputSpec) -> None:
        sink, values = created(make, spec), example_values(spec)
        blocks = list(blocks_of(spec))
        for i in np.random.default_rng(1).permutation(len(blocks)):
            sink.write(blocks[i], part(values, blocks[i]))
        _assert_holds(sink, values)

    def test_blocks_from_threads(self, make: Make, spec: OutputSpec) -> None:
        sink, values = created(make, spec), example_values(spec)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda block: sink.write(block, part(values, block)), blocks_of(spec)))
        _assert_holds(sink, values)

    def test_a_block_can_be_read_and_written_again(self, make: Make, spec: OutputSpec) -> None:
        sink, values = created(make, spec), example_values(spec)
        for block in blocks_of(spec):
            sink.write(block, part(values, block))
            np.testing.assert_array_equal(sink.read(block), part(values, block))
            sink.write(block, part(values, block)[:, ::-1, ::-1, ::-1])
            np.testing.assert_array_equal(sink.read(block), part(values, block)[:, ::-1, ::-1, ::-1])

    def test_zeros_are_stored_and_unwritten_voxels_are_zero(self, make: Make, spec: OutputSpec) -> None:
        sink, values = created(make, spec), example_values(spec)
        first = next(blocks_of(spec))
        sink.write(first, part(values, first))
        sink.write(first, np.zeros_like(part(values, first)))
        _assert_holds(sink, np.zeros_like(values))

    def test_finished_it_holds_the_same(self, make: Make, spec: OutputSpec) -> None:
        sink, values = written(make, spec)
        sink.finish(ATTRIBUTES)
        _assert_holds(sink, values)

    def test_finish_may_be_called_again(self, make: Make, spec: OutputSpec) -> None:
        sink, values = written(make, spec)
        sink.finish(ATTRIBUTES)
        sink.finish(ATTRIBUTES)
        _assert_holds(sink, values)

    def test_finishing_is_told_stopped_after_a_piece_and_begun_again(self, make: Make, spec: OutputSpec) -> None:
        sink, values = written(make, spec)
        stopped, watch = Counting(after=1), Counting()
        try:
            sink.finish(ATTRIBUTES, stopped)
        except Stopped:
            assert stopped.pieces == 1
        else:
            assert stopped.total == 0  # nothing had to be made
        _assert_holds(sink, values)
        sink.finish(ATTRIBUTES, watch)
        assert watch.pieces == watch.total == stopped.total
        _assert_holds(sink, values)

    def test_a_finished_output_is_not_written(self, make: Make, spec: OutputSpec) -> None:
        sink, values = written(make, spec)
        sink.finish(ATTRIBUTES)
        first = next(blocks_of(spec))
        refused(SinkError, lambda: sink.write(first, part(values, first)))

    def test_creating_again_starts_anew(self, make: Make, spec: OutputSpec) -> None:
        sink, values = written(make, spec)
        sink.create()
        _assert_holds(sink, np.zeros_like(values))

    def test_a_pickled_copy_writes_to_the_same_output(self, make: Make, spec: OutputSpec) -> None:
        sink, values = created(make, spec), example_values(spec)
        for block in blocks_of(spec):
            copy = pickle.loads(pickle.dumps(sink))
            assert copy.name == sink.name
            copy.write(block, part(values, block))
        _assert_holds(sink, values)

    def test_what_does_not_fit_is_refused(self, make: Make, spec: OutputSpec) -> None:
        sink, values = created(make, spec), example_values(spec)
        whole = Box.of_shape(spec.shape[1:])
        refused(SinkError, lambda: sink.write(whole, values[:, :, :, :-1]))
        refused(SinkError, lambda: sink.write(whole, values.astype(np.complex64)))
        refused(SinkError, lambda: sink.write(whole.shift((0, 0, 1)), values))
        refused(SinkError, lambda: sink.read(whole.shift((0, 0, 1))))


class StoredSinkConformance(SinkConformance):
    """Further tests for sinks whose output outlives the process."""

    def test_nothing_partial_bears_the_final_name(self, make: Make, spec: OutputSpec, output: Path) -> None:
        sink, _ = written(make, spec)
        assert not output.exists()
        sink.finish(ATTRIBUTES)
        assert output.exists()
        assert not [file for file in output.parent.iterdir() if file.name.endswith((".partial", ".replaced"))]

    def test_an_unfinished_output_is_resumed(self, make: Make, spec: OutputSpec) -> None:
        values = example_values(spec)
        created(make, spec)
        for block in blocks_of(spec):
            make(spec).write(block, part(values, block))
        make(spec).finish(ATTRIBUTES)
        make(spec).finish(ATTRIBUTES)
        _assert_holds(make(spec), values)

    def test_another_sink_may_finish_it(self, make: Make, spec: OutputSpec) -> None:
        sink, values = written(make, spec)
        make(spec).finish(ATTRIBUTES)
        _assert_holds(sink, values)
        block = next(blocks_of(spec))
        refused(SinkError, lambda: sink.write(block, part(values, block)))

    def test_an_older_output_stays_until_the_end(self, make: Make, spec: OutputSpec, output: Path) -> None:
        older, values = written(make, spec)
        older.finish(ATTRIBUTES)
        newer, block = created(make, spec), next(blocks_of(spec))
        newer.write(block, part(values, block))
        assert output.exists()
        newer.finish(ATTRIBUTES)
        kept = np.zeros_like(values)
        kept[(slice(None), *block.slices)] = part(values, block)
        _assert_holds(make(spec), kept)

    def test_without_create_there_is_nothing_to_write_to(self, make: Make, spec: OutputSpec, output: Path) -> None:
        output.parent.mkdir(parents=True, exist_ok=True)
        block = next(blocks_of(spec))
        refused(SinkError, lambda: make(spec).write(block, part(example_values(spec), block)))
        refused(SinkError, lambda: make(spec).finish(ATTRIBUTES))
        assert not list(output.parent.iterdir())


def _spec(sizes: dict[str, int], channels: int, dtype: str, *, channel_axis: bool = True,
          kind: str = "probabilities") -> OutputSpec:
    axes, lengths = tuple(sizes), tuple(sizes.values())
    units = tuple("second" if axis == "t" else "nanometer" for axis in axes)
    calibration = Calibration(axes, lengths, tuple(2.0 + i for i in range(len(axes))), units, (0.0,) * len(axes))
    shape = (channels, math.prod(lengths[:-2]), lengths[-2], lengths[-1])
    return OutputSpec(shape=shape, dtype=np.dtype(dtype), calibration=calibration,
                      classes=tuple(f"class {i}" for i in range(channels)), channel_axis=channel_axis,
                      block=(4, 16, 16), chunk=(4, 8, 16), kind=kind)


EXAMPLES = {
    "an image": _spec({"y": 20, "x": 16}, 1, "float32", channel_axis=False),
    "a stack": _spec({"z": 7, "y": 20, "x": 16}, 1, "uint8", channel_axis=False),
    "labels of a stack": _spec({"z": 7, "y": 20, "x": 16}, 1, "uint32", channel_axis=False, kind="instances"),
    "classes of an image": _spec({"y": 20, "x": 16}, 3, "uint8"),
    "classes of a stack": _spec({"z": 7, "y": 20, "x": 16}, 2, "float16"),
    "classes over time": _spec({"t": 2, "z": 6, "y": 9, "x": 21}, 2, "float32"),
    "shards": replace(_spec({"z": 7, "y": 20, "x": 16}, 2, "uint16"), shard=(4, 16, 16)),
    "one voxel": _spec({"z": 1, "y": 1, "x": 1}, 1, "float64", channel_axis=False),
}


def created(make: Make, spec: OutputSpec) -> Sink:
    """Return a new sink with an empty output."""
    sink = make(spec)
    sink.create()
    return sink


def written(make: Make, spec: OutputSpec) -> tuple[Sink, Array]:
    """Return a sink with all blocks written, and the values that it then holds."""
    sink, values = created(make, spec), example_values(spec)
    for block in blocks_of(spec):
        sink.write(block, part(values, block))
    return sink, values


def blocks_of(spec: OutputSpec) -> Iterator[Box]:
    """Yield the blocks of an output."""
    return iter(Grid(Box.of_shape(spec.shape[1:]), spec.block))


def part(values: Array, box: Box) -> Array:
    """Return the part ``(c, *box.shape)`` of an array ``(c, z, y, x)``."""
    found: Array = values[(slice(None), *box.slices)]
    return found


def example_values(spec: OutputSpec) -> Array:
    """Return random values ``(c, z, y, x)`` from 1 to 199."""
    return np.random.default_rng(7).integers(1, 200, spec.shape).astype(spec.dtype)


def _assert_holds(sink: Sink, values: Array) -> None:
    found = sink.read(Box.of_shape(values.shape[1:]))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
