"""The viewer in a browser, drawn in software: layers arrive, shaders compile, regions lie where they should."""

from __future__ import annotations

import io
import threading
from concurrent.futures import Future
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from browser import WEBGL, browsing, executable
from PIL import Image

from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import open_sink
from tiler.viewing.layers import layers_of
from tiler.viewing.server import serving

neuroglancer = pytest.importorskip("neuroglancer", reason="neuroglancer is not installed")
needs_browser = pytest.mark.skipif(executable() is None, reason="no chromium is installed (apt-get install chromium)")
SIZE = (700, 500)
RED, GREY = np.array([255, 64, 64]), np.array([64, 64, 64])
ZOOM = 64 / 300


def write(path, values, kind="probabilities", offset=(0.0, 0.0, 0.0)):
    """An output of 4 nm voxels."""
    calibration = Calibration(("z", "y", "x"), values.shape, (4.0,) * 3, ("nanometer",) * 3, offset)
    spec = OutputSpec(shape=(1, *values.shape), dtype=values.dtype, calibration=calibration, classes=("object",),
                      channel_axis=False, block=values.shape, chunk=values.shape, kind=kind)
    sink = open_sink(path, spec)
    sink.create()
    sink.write(Box.of_shape(values.shape), values[None])
    sink.finish({})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A dark image of 64 x 64, probabilities in a quarter of it, two segments in another."""
    folder = tmp_path_factory.mktemp("view")
    image = np.full((2, 64, 64), 50, np.uint8)
    image[:, :, :2], image[:, :, -2:] = 0, 200  # so that 50 is drawn as a quarter
    ones, ids = np.zeros((2, 32, 32), np.float32), np.full((2, 32, 32), 7, np.uint32)
    ones[:, :, :8] = 1
    ids[:, 16:] = 8
    np.save(folder / "image.npy", image)
    write(folder / "whole.zarr", np.zeros((2, 64, 64), np.float32))
    write(folder / "p.zarr", ones)
    write(folder / "i.zarr", ids, "instances", (0.0, 128.0, 128.0))
    return folder


@pytest.fixture(scope="module")
def served(folder):
    names = (("image.npy", True), ("whole.zarr", False), ("p.zarr", False), ("i.zarr", False))
    with serving([layer for name, image in names for layer in layers_of(folder / name, image=image)]) as served:
        yield served


@pytest.fixture(scope="module")
def page(served):
    with browsing(*SIZE, graphics=WEBGL) as page:
        page.visit(served.address)
        yield page
        assert [entry for entry in page.complaints if entry.get("source") != "network"] == []
        assert all(url.startswith(("http://127.0.0.1:", "data:", "blob:")) for url in page.requests)


def picture(page, viewer):
    """Wait until everything visible is drawn and return the colour at a voxel of the image."""
    taken = Future()
    viewer.async_screenshot(taken.set_result)
    while not taken.done():
        page.run("new Promise(done => setTimeout(done, 50))")
    drawn = np.asarray(Image.open(io.BytesIO(taken.result().screenshot.image)).convert("RGB")).astype(int)

    def at(x, y):
        height, width = drawn.shape[:2]
        return drawn[int(height / 2 + (y - 32) / ZOOM), int(width / 2 + (x - 32) / ZOOM)]

    return at


@needs_browser
def test_layers_lie_over_each_other_in_their_colours(page, served):
    with served.viewer.txn() as state:
        state.position, state.cross_section_scale = [32, 32, 0.5], ZOOM
        state.selected_layer.visible = False
    color = picture(page, served.viewer)
    for x, y in ((48, 8), (8, 48), (24, 24)):
        np.testing.assert_allclose(color(x, y), GREY, atol=2)
    np.testing.assert_allclose(color(5, 8), 0.3 * GREY + 0.7 * RED, atol=4)
    upper, lower = color(40, 40), color(40, 56)
    assert np.abs(upper - lower).max() > 30
    assert min(np.ptp(upper), np.ptp(lower)) > 30
    assert [layer.name for layer in served.viewer.state.layers] == ["image", "whole P(object)", "p P(object)", "i"]


class Shared(SimpleHTTPRequestHandler):
    """Files for pages of any origin."""

    def end_headers(self):
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def shared_folder(folder):
    """Address of a plain web server of the folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Shared, directory=folder)) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@needs_browser
def test_neuroglancer_opens_the_zarr_itself(page, served, shared_folder):
    """It has a reader of OME-Zarr of its own, which has to understand what tiler writes: axes, units, offsets."""
    before = served.viewer.state
    with served.viewer.txn() as state:
        state.layers.clear()
        state.layers["p"] = neuroglancer.ImageLayer(source=f"zarr://{shared_folder}/p.zarr")
        state.layers["i"] = neuroglancer.SegmentationLayer(source=f"zarr://{shared_folder}/i.zarr")
        state.position, state.cross_section_scale = [32, 32, 0.5], ZOOM
    color = picture(page, served.viewer)
    served.viewer.set_state(before)
    np.testing.assert_array_equal(color(5, 8), [255, 255, 255])
    np.testing.assert_array_equal(color(24, 8), [0, 0, 0])
    assert np.abs(color(40, 40) - color(40, 56)).max() > 30
    assert np.ptp(color(40, 40)) > 30
