"""The levels of a zarr output: which there are, what they hold, where they lie."""

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import yaozarrs
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.errors import SinkError
from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import open_sink, pyramid
from tiler.sinks.layout import Layout
from tiler.sinks.pyramid import cells, fill_level, levels_by, levels_of, mean_of, mode_of, reduced
from tiler.sources import open_source
from tiler.testing.sinks import ATTRIBUTES, EXAMPLES, blocks_of, example_values, part, written

NM = "nanometer"


def spec_of(axes, sizes, scale, units=None, *, channels=1, dtype="float32", kind="probabilities", ngff="0.5"):
    units = units or tuple("second" if axis == "t" else NM for axis in axes)
    calibration = Calibration(tuple(axes), sizes, scale, units, tuple(10.0 * (i + 1) for i in range(len(axes))))
    shape = (channels, int(np.prod(sizes[:-2])), *sizes[-2:])
    return OutputSpec(shape, np.dtype(dtype), calibration, tuple(f"class {i}" for i in range(channels)),
                      channels > 1, (4, 256, 256), (2, 128, 256), kind=kind, ngff=ngff)


@pytest.mark.parametrize(("axes", "sizes", "scale", "units", "shapes"), [
    ("yx", (512, 512), (4, 4), None, [(512, 512)]),
    ("yx", (513, 300), (4, 4), None, [(513, 300), (257, 150)]),
    ("yx", (1, 1025), (4, 4), None, [(1, 1025), (1, 513), (1, 257)]),
    ("zyx", (9, 1025, 600), (8, 8, 8), None, [(9, 1025, 600), (5, 513, 300), (3, 257, 150)]),
    ("zyx", (9, 2050, 600), (45, 8, 8), None, [(9, 2050, 600), (9, 1025, 300), (9, 513, 150), (5, 257, 75)]),
    ("zyx", (9, 1025, 600), (12, 8, 8), None, [(9, 1025, 600), (9, 513, 300), (5, 257, 150)]),
    ("zyx", (9, 1025, 600), (1, 1, 1), (None,) * 3, [(9, 1025, 600), (9, 513, 300), (9, 257, 150)]),
    ("zyx", (9, 600, 600), (1, 1, 1), ("micrometer", NM, NM), [(9, 600, 600), (9, 300, 300)]),
    ("tyx", (9, 600, 600), (1, 1, 1), None, [(9, 600, 600), (9, 300, 300)]),
    ("tzyx", (3, 2, 600, 600), (1, 4, 4, 4), None, [(3, 2, 600, 600), (3, 1, 300, 300)]),
])
def test_levels_end_with_the_first_small_plane_and_keep_thick_slices(axes, sizes, scale, units, shapes):
    spec = spec_of(axes, sizes, scale, units)
    assert [level.shape for level in levels_of(spec, Layout.of(spec))] == shapes


def test_channels_are_never_halved_and_slices_only_where_asked():
    spec = spec_of("zyx", (9, 600, 600), (4, 4, 4), channels=3)
    assert [level.factors for level in levels_of(spec, Layout.of(spec))] == [(1, 1, 1, 1), (1, 2, 2, 2)]
    assert levels_of(spec, Layout.of(spec), halve_z=False)[1].factors == (1, 1, 2, 2)


def corners_of(*values, dtype):
    return np.array(values, dtype)[:, None]


@pytest.mark.parametrize(("values", "dtype", "mean"), [
    ((0, 1, 1, 1), "uint8", 1), ((0, 0, 0, 1), "uint8", 0), ((255,) * 8, "uint8", 255), ((-3, -4), "int16", -4),
    ((0, 1), "uint8", 0), ((1, 2), "uint8", 2), ((2**31, 2**31 + 2), "uint32", 2**31 + 1),
    ((0.25, 0.5), "float32", 0.375), ((0.25, 0.5), "float16", 0.375), ((1e-300, 3e-300), "float64", 2e-300),
])
def test_mean_by_hand(values, dtype, mean):
    found = mean_of(corners_of(*values, dtype=dtype))
    assert found.dtype == dtype
    assert found[0] == np.dtype(dtype).type(mean)


@pytest.mark.parametrize(("values", "mode"), [
    ((5, 7, 7, 5), 5), ((7, 5, 5, 5), 5), ((1, 2, 3, 4), 1), ((9, 2, 3, 3, 4, 4, 4, 2), 4), ((8, 8), 8),
])
def test_mode_by_hand(values, mode):
    assert mode_of(corners_of(*values, dtype="uint64"))[0] == mode


def mode_by_counting(values):
    """Among the most frequent values the first one."""
    counted = Counter(values)  # in the order of the first of each
    return max(counted, key=counted.get)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 40).flatmap(lambda length: st.lists(
    st.lists(st.integers(0, 4), min_size=length, max_size=length), min_size=1, max_size=5)),
    st.sampled_from([0, 100]))
def test_few_and_many_voxels_have_the_same_mode(groups, few):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid, "FEW", few)
        found = mode_of(np.array(groups, np.uint32).T)
    assert found.tolist() == [mode_by_counting(group) for group in groups]


def test_more_voxels_than_a_byte_counts():
    """312 of the one and 200 of the other."""
    values = np.random.default_rng(0).permutation([5] * 312 + [9] * 200).reshape(8, 8, 8)
    assert reduced(values, (8, 8, 8), mode_of).tolist() == [[[5]]]


def test_what_is_missing_at_the_end_is_repeated():
    assert reduced(np.array([[0, 2, 7]], np.uint8), (1, 2), mean_of).tolist() == [[1, 7]]
    assert reduced(np.array([[4, 6, 8]], np.uint8), (2, 2), mean_of).tolist() == [[5, 8]]


@settings(deadline=None, max_examples=20)
@given(data=st.data(), kind=st.sampled_from(["probabilities", "labels"]))
def test_a_level_made_in_pieces_is_that_of_the_whole(data, kind):
    shape = data.draw(st.tuples(*[st.integers(1, 13)] * 3))
    steps = data.draw(st.tuples(*[st.sampled_from([1, 2, 3, 7])] * 3))
    at_once = data.draw(st.sampled_from([1, 60, 10**6]))
    chunk = data.draw(st.tuples(*[st.integers(2, 5)] * 3))
    times = data.draw(st.none() | st.tuples(*[st.integers(1, 3)] * 3))
    shards = times and tuple(a * b for a, b in zip(chunk, times, strict=True))
    values = np.random.default_rng(0).integers(0, 4, shape).astype(np.uint16)
    source = zarr.create_array({}, data=values, chunks=(3, 4, 5))
    coarse = tuple(-(-size // step) for size, step in zip(shape, steps, strict=True))
    target = zarr.create_array({}, shape=coarse, dtype=values.dtype, chunks=chunk, shards=shards)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pyramid, "AT_ONCE", at_once)
        done = sum(int(np.prod([part.stop - part.start for part in index]))
                   for index in fill_level(source, target, steps, kind))
    assert done == np.prod(coarse)
    steps = pyramid.within(shape, steps)
    np.testing.assert_array_equal(target[...], reduced(values, steps, mean_of if kind == "probabilities" else mode_of))


class Ones:
    """A level that remembers how much of it was read at once."""

    def __init__(self, shape):
        self.shape, self.reads = shape, []

    def __getitem__(self, index):
        self.reads.append(tuple(part.stop - part.start for part in index))
        return np.ones(self.reads[-1], np.uint8)


def test_memory_holds_what_one_chunk_is_made_from():
    source = Ones((64, 64, 64))
    target = zarr.create_array({}, shape=(32, 32, 32), dtype="uint8", chunks=(4, 8, 8), shards=(8, 16, 16))
    assert len(list(fill_level(source, target, (2, 2, 2), "labels"))) == 16
    assert set(source.reads) == {(8, 16, 16)}


def test_memory_does_not_grow_with_the_steps(monkeypatch):
    monkeypatch.setattr(pyramid, "AT_ONCE", 64 * 64)
    source, target = Ones((2, 512, 300)), zarr.create_array({}, shape=(2, 16, 10), dtype="uint8", chunks=(1, 16, 10))
    assert len(list(fill_level(source, target, (1, 32, 32), "labels"))) == 2
    assert max(map(math.prod, source.reads)) == 64 * 64
    assert sum(map(math.prod, source.reads)) == 2 * 512 * 300  # nothing twice
    assert target[...].min() == 1


def test_steps_longer_than_the_image_make_one_voxel_of_what_there_is():
    source, target = Ones((3, 5)), zarr.create_array({}, shape=(1, 1), dtype="uint8", chunks=(4, 4))
    assert list(fill_level(source, target, (10**12, 10**12), "labels")) == [(slice(0, 1), slice(0, 1))]
    assert source.reads == [(3, 5)]


def test_levels_that_lie_too_far_apart_are_refused():
    layout = Layout.of(spec_of("zyx", (9, 5000, 5000), (4, 4, 4)))
    near = [(1, 1, 1), (2, 64, 64), (4, 10**9, 10**9)]
    assert [level.shape for level in levels_by(layout, near)] == [(9, 5000, 5000), (5, 79, 79), (3, 1, 1)]
    with pytest.raises(SinkError, match=r"one voxel of level 1 covers 1x4100x4100 of level 0, more than 16777216"):
        levels_by(layout, [(1, 1, 1), (1, 4100, 4100)])


def test_cells_start_where_the_slice_does():
    assert [cell[0] for cell in cells((slice(6, 11),), (3,))] == [slice(6, 9), slice(9, 11)]


RAMP = spec_of("zyx", (6, 1030, 300), (3.0, 4.0, 5.0))


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
def test_every_level_lies_where_its_voxels_came_from(ngff, tmp_path):
    """Voxels that hold their own coordinate hold it still after averaging."""
    sink = open_sink(tmp_path / "out.zarr", replace(RAMP, ngff=ngff, dtype=np.dtype("float64")))
    sink.create()
    calibration = RAMP.calibration
    for block in blocks_of(RAMP):
        grids = np.meshgrid(*(np.arange(span.start, span.stop) for span in block.spans), indexing="ij")
        world = [grid * step + at for grid, step, at in zip(grids, calibration.scale, calibration.offset, strict=True)]
        sink.write(block, (world[0] + 1000 * world[1] + 7e6 * world[2])[None])
    sink.finish(ATTRIBUTES)
    for level, shape in enumerate([(6, 1030, 300), (3, 515, 150), (2, 258, 75)]):
        source = open_source(tmp_path / f"out.zarr/{level}")
        assert source.shape == (1, *shape)
        inner = Box.of_shape(tuple(size // 2 for size in shape))  # at the far faces voxels were repeated
        z, y, x = (np.arange(size) * step + at for size, step, at in zip(
            inner.shape, source.calibration.scale, source.calibration.offset, strict=True))
        expected = z[:, None, None] + 1000 * y[:, None] + 7e6 * x
        np.testing.assert_allclose(source.read(inner)[0], expected, rtol=1e-13)


@pytest.mark.parametrize("ngff", ["0.5", "0.4"])
@pytest.mark.parametrize(("channels", "dtype", "kind"), [
    (1, "float32", "probabilities"), (3, "uint8", "probabilities"), (1, "uint8", "labels"), (1, "uint32", "instances"),
])
def test_an_independent_validator_accepts_all_levels(ngff, channels, dtype, kind, tmp_path):
    spec = spec_of("zyx", (3, 520, 40), (50.0, 4.0, 4.0), channels=channels, dtype=dtype, kind=kind, ngff=ngff)
    sink, values = written(lambda spec: open_sink(tmp_path / "out.zarr", spec), spec)
    sink.finish({**ATTRIBUTES, "classes": ["membrane", "cell", "other"]})
    yaozarrs.validate_zarr_store(str(tmp_path / "out.zarr"))
    image = yaozarrs.open_group(str(tmp_path / "out.zarr")).ome_metadata()
    version = yaozarrs.v05 if ngff == "0.5" else yaozarrs.v04
    assert isinstance(image, version.Image if kind == "probabilities" else version.LabelImage)
    assert [dataset.path for dataset in image.multiscales[0].datasets] == ["0", "1"]
    np.testing.assert_array_equal(open_source(tmp_path / "out.zarr").read(Box.of_shape((3, 520, 40))), values)
    if kind == "labels":
        attributes = zarr.open_group(tmp_path / "out.zarr", mode="r").attrs
        values = attributes.get("ome", attributes)["image-label"]["properties"]
        assert values[1:] == [{"label-value": 1, "class": "cell"}, {"label-value": 2, "class": "other"}]
        assert [(color.label_value, color.rgba) for color in image.image_label.colors][1] == (1, [0, 255, 255, 255])
    if kind == "probabilities" and channels == 3:
        assert [channel.label for channel in image.omero.channels] == ["membrane", "cell", "other"]


def test_version_04_is_zarr_2_with_nested_chunks_and_no_shards(tmp_path):
    spec = replace(EXAMPLES["shards"], ngff="0.4")
    sink, _ = written(lambda spec: open_sink(tmp_path / "out.zarr", spec), spec)
    assert sink.write_unit == (4, 8, 16)
    sink.finish(ATTRIBUTES)
    assert (tmp_path / "out.zarr/0/0/0/0/0").is_file()
    assert zarr.open_array(tmp_path / "out.zarr/0", mode="r").metadata.zarr_format == 2


def test_other_versions_are_refused(tmp_path):
    with pytest.raises(SinkError, match=r"OME-NGFF is written as 0\.5 or 0\.4; got 0\.3 \(ngff=\)"):
        open_sink(tmp_path / "out.zarr", replace(EXAMPLES["a stack"], ngff="0.3"))


def test_a_crash_among_the_levels_is_mended_by_finishing_again(tmp_path, monkeypatch):
    spec = spec_of("zyx", (2, 1100, 300), (4.0, 4.0, 4.0), kind="labels", dtype="uint8")
    path = tmp_path / "out.zarr"
    sink, values = written(lambda spec: open_sink(path, spec), spec)
    pieces, original = [], pyramid.reduced

    def crash(*given):
        pieces.append(1)
        if len(pieces) == 7:
            raise KeyboardInterrupt
        return original(*given)

    with monkeypatch.context() as patch:
        patch.setattr(pyramid, "reduced", crash)
        with pytest.raises(KeyboardInterrupt):
            sink.finish(ATTRIBUTES)
    partial = path.with_name("out.zarr.partial")
    assert (partial / "1").exists()
    (partial / "1/c/0/0/0").write_bytes(b"half a chunk")
    yaozarrs.validate_zarr_store(str(partial))  # what is announced is there
    open_sink(path, spec).finish(ATTRIBUTES)
    first = reduced(values[0], (2, 2, 2), mode_of)
    for level, expected in enumerate([values[0], first, reduced(first, (1, 2, 2), mode_of)]):
        np.testing.assert_array_equal(zarr.open_array(path / str(level), mode="r")[...], expected)


def test_small_outputs_have_one_level(tmp_path):
    spec = EXAMPLES["a stack"]
    sink, _ = written(lambda spec: open_sink(tmp_path / "out.zarr", spec), spec)
    sink.finish(ATTRIBUTES)
    assert sorted(zarr.open_group(tmp_path / "out.zarr", mode="r").array_keys()) == ["0"]
    assert part(example_values(spec), next(blocks_of(spec))).any()
