"""How inputs are shown, and where they lie: by what tiler wrote of them, else by their metadata and values."""

from __future__ import annotations

import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import open_sink
from tiler.viewing.layers import MOST_CHANNELS, grey_window, layers_of
from tiler.viewing.space import place

STACK = np.random.default_rng(1).integers(40, 200, (3, 48, 56), dtype=np.uint8)
REGION = Box.between((1, 8, 16), (3, 40, 56))
PLAN = {"region": [REGION.start, REGION.stop], "essence": {"model": {"names": ["membrane", "cell"]}}}


def write(path, dtype, kind="probabilities", classes=("object",), box=REGION, value=0):
    """An output as the engine leaves it, of a region of a stack of 50 x 4 x 4 nm."""
    scale = (50.0, 4.0, 4.0)
    offset = tuple(at * step for at, step in zip(box.start, scale, strict=True))
    spec = OutputSpec(shape=(len(classes), *box.shape), dtype=np.dtype(dtype), classes=classes, kind=kind,
                      calibration=Calibration(("z", "y", "x"), box.shape, scale, ("nanometer",) * 3, offset),
                      channel_axis=len(classes) > 1, block=box.shape, chunk=box.shape)
    sink = open_sink(path, spec)
    sink.create()
    sink.write(Box.of_shape(box.shape), np.full(spec.shape, value, dtype))
    sink.finish({"plan": PLAN})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A stack, and results of a region of it."""
    folder = tmp_path_factory.mktemp("layers")
    np.save(folder / "stack.npy", STACK)
    write(folder / "p.zarr", np.float32)
    write(folder / "cell.zarr", np.float32, classes=("cell",), value=0.6)
    write(folder / "both.zarr", np.float32, classes=("membrane", "cell"))
    write(folder / "quantised.tif", np.uint8)
    write(folder / "l.zarr", np.uint8, "labels", ("classes",))
    write(folder / "i.zarr", np.uint32, "instances")
    return folder


def only(path, **settings):
    (layer,) = layers_of(path, **{"image": False, **settings})
    return layer


def test_the_image_is_grey_between_all_but_its_rarest_values(folder):
    layer = only(folder / "stack.npy", image=True)
    assert (layer.name, layer.kind, layer.color, layer.array.shape) == ("stack", "image", "#ffffff", (3, 48, 56))
    low, high = layer.window
    assert 40 <= low < 45
    assert 195 < high < 200


@pytest.mark.parametrize(("name", "kind", "top"), [
    ("p.zarr", "probabilities", 1.0), ("quantised.tif", "probabilities", 255.0), ("i.zarr", "labels", 1.0)])
def test_results_are_shown_as_their_provenance_says(folder, name, kind, top):
    layer = only(folder / name)
    assert (layer.kind, layer.window) == (kind, (0.0, top))
    assert only(folder / name, image=True).kind == kind  # also where it stands in the image's place


def test_classes_are_known_by_name_number_and_colour(folder):
    labels = only(folder / "l.zarr")
    assert (labels.kind, labels.values) == ("labels", (1,))
    assert labels.colors == {0: "#ffffff"}
    both = layers_of(folder / "both.zarr", image=False)
    assert [(layer.name, layer.inverted) for layer in both] == [("both P(membrane)", False), ("both P(cell)", False)]
    assert len({layer.color for layer in both}) == 2


def test_what_covers_most_of_an_image_is_shown_by_its_complement(folder):
    layer = only(folder / "cell.zarr")
    assert (layer.name, layer.inverted) == ("cell 1 - P(cell)", True)
    assert not only(folder / "p.zarr").inverted


@pytest.mark.parametrize(("values", "kind"), [
    (np.linspace(0, 1, 400).reshape(20, 20), "probabilities"), (np.linspace(0, 7, 400).reshape(20, 20), "image"),
    (np.arange(400).reshape(20, 20) % 5, "labels"), (np.arange(400, dtype=np.uint8).reshape(20, 20), "probabilities"),
])
def test_foreign_results_are_shown_by_their_values(tmp_path, values, kind):
    np.save(tmp_path / "a.npy", values)
    assert only(tmp_path / "a.npy").kind == kind


def test_channels_are_layers_with_colours_and_not_too_many(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 2, 9, 9), np.uint8))
    layers = layers_of(tmp_path / "a.npy", image=True)
    assert [layer.name for layer in layers] == ["a 0", "a 1", "a 2"]
    assert [layer.color for layer in layers] == ["#ff0000", "#00ff00", "#0000ff"]
    assert {layer.window for layer in layers} == {(0.0, 255.0)}
    assert len(layers_of(np.zeros((20, 2, 9, 9)), image=True)) == MOST_CHANNELS


@pytest.mark.parametrize(("sample", "window"), [
    (np.full((4, 4), np.nan), (0.0, 1.0)), (np.zeros((4, 4)), (0.0, 1.0)), (np.full((4, 4), 7, np.uint8), (7.0, 8.0)),
    (np.array([[0.5, np.inf], [0.5, -0.5]]), pytest.approx((-0.49, 0.5))),
])
def test_a_window_is_never_empty(sample, window):
    assert grey_window(sample) == window


def test_a_region_lies_where_it_was_cut_out(folder):
    write(folder / "whole.zarr", np.float32, box=Box.of_shape(STACK.shape))
    image, result = place([only(folder / name).calibration for name in ("whole.zarr", "p.zarr")])
    assert image.units == result.units == ("m", "m", "m")
    assert image.scale == pytest.approx((50e-9, 4e-9, 4e-9))
    assert image.shift == pytest.approx((0, 0, 0))
    assert result.shift == pytest.approx((1, 8, 16))


def calibration(scale, unit="nanometer", offset=(0.0, 0.0), axes=("y", "x")):
    return Calibration(axes, (9,) * len(axes), scale, (unit,) * len(axes), offset)


def test_what_knows_no_unit_takes_the_voxels_of_the_first_layer_that_does():
    plain = Calibration(("y", "x"), (9, 9), (1.0, 1.0), (None, None), (2.0, 3.0))
    found = place([plain, calibration((4.0, 8.0)), calibration((2.0, 2.0))])
    assert found[0].scale == pytest.approx((4e-9, 8e-9))
    assert found[0].units == ("m", "m")
    assert found[0].shift == pytest.approx((2, 3))
    assert found[2].scale == pytest.approx((2e-9, 2e-9))
    assert place([plain])[0] == place([plain, plain])[1]
    assert place([plain])[0].units == ("", "")


def test_levels_of_one_image_share_their_faces():
    coarse = calibration((8.0, 8.0), offset=(2.0, 2.0))  # the middle of the first two voxels of 4 nm
    fine, twice = place([calibration((4.0, 4.0)), coarse])
    assert fine.shift == pytest.approx((0, 0))
    assert twice.shift == pytest.approx((0, 0))


def test_time_is_in_seconds():
    movie = Calibration(("t", "y", "x"), (3, 9, 9), (2.0, 4.0, 4.0), ("minute", "micrometer", None), (0.0,) * 3)
    (placed,) = place([movie])
    assert placed.units == ("s", "m", "")
    assert placed.scale == pytest.approx((120.0, 4e-6, 4.0))


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_results_on_a_server_are_shown_as_those_on_a_disk(folder):
    pytest.importorskip("obstore", reason="obstore is not installed")
    write(folder / "large.zarr", np.uint32, "instances", box=Box.between((0, 0, 0), (1, 600, 520)))
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Silent, directory=folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        for name in ("cell.zarr", "l.zarr", "large.zarr"):
            there, here = only(f"http://127.0.0.1:{server.server_port}/{name}"), only(folder / name)
            assert [level.factors for level in there.levels] == [level.factors for level in here.levels]
            for field in ("name", "kind", "inverted", "colors", "values", "window", "calibration"):
                assert getattr(there, field) == getattr(here, field), field
        server.shutdown()
    assert len(here.levels) == 2
