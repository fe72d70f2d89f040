"""The plugin in napari, offscreen. napari and Qt take 900 MB, so the test extra leaves them out; to run this:

    pip install -c constraints.txt -e '.[test,napari]' PyQt6
    QT_QPA_PLATFORM=offscreen python -m pytest -n 0 -W default tests/napari_plugin
"""

from __future__ import annotations

import time

import numpy as np
import pytest

pytest.importorskip("napari", reason="napari is not installed (pip install 'em-tiler[napari]' PyQt6)")
pytest.importorskip("PyQt6", reason="no Qt is installed (pip install PyQt6)")

from napari.components import ViewerModel
from napari.layers import Layer
from qtpy.QtWidgets import QApplication

from tiler.napari_plugin import work
from tiler.napari_plugin.reader import read
from tiler.napari_plugin.widget import SegmentWidget
from tiler.testing.predictors import PoolingNet
from tiler.viewing.layers import Display, ViewLayer
from tiler.viewing.levels import open_levels

pytestmark = pytest.mark.filterwarnings("default")  # napari's own are not ours to mend
STACK = np.random.default_rng(2).integers(0, 250, (3, 40, 44), dtype=np.uint8)


class Slow(PoolingNet):
    """Leaves time to press a button."""

    def __call__(self, batch):
        time.sleep(0.05)
        return super().__call__(batch)


@pytest.fixture(scope="module")
def app():
    return QApplication.instance() or QApplication([])


@pytest.fixture
def viewer(app):
    viewer = ViewerModel()
    viewer.add_image(STACK, name="stack", scale=(50, 4, 4))
    return viewer


@pytest.fixture
def widget(viewer, monkeypatch):
    """The widget, whose first model is the exact network of the tests."""
    monkeypatch.setattr(work.api, "segment", segmenting(work.api.segment))
    widget = SegmentWidget(viewer)
    yield widget
    until(lambda: widget.start.enabled)


def segmenting(original):
    def segment(source, model, output, **options):
        return original(source, Slow(), output, block="20", dtype="uint32", **options)

    return segment


def until(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it never came true"
        QApplication.processEvents()
        time.sleep(0.01)
    QApplication.processEvents()


def test_every_kind_of_layer_is_one_that_napari_takes(viewer, tmp_path):
    calibration = work.source_of(viewer.layers[0]).calibration
    levels = open_levels(STACK, 0)
    from tiler.napari_plugin.reader import layer_data

    for kind, look in (("image", {}), ("image", {"color": "#ff0000"}), ("probabilities", {"inverted": True}),
                       ("labels", {}), ("labels", {"values": (1,), "colors": {0: "#ffffff", 1: "#00ffff"}})):
        added = viewer.add_layer(Layer.create(*layer_data(ViewLayer("a", Display(kind), levels, calibration, **look))))
        np.testing.assert_array_equal(np.asarray(added.data), STACK)
        np.testing.assert_array_equal(added.scale, (50, 4, 4))
    np.testing.assert_allclose(viewer.layers[-1].colormap.map(np.array([1])), [[0, 1, 1, 1]], atol=1e-3)


def test_segmenting_adds_the_result_over_the_image(widget, viewer, tmp_path):
    assert widget.image.value is viewer.layers["stack"]
    assert widget.model.value == "unet"
    widget.output.value = tmp_path / "out.zarr"
    widget.start.changed.emit(True)
    assert (widget.start.enabled, widget.cancel.enabled) == (False, True)
    until(lambda: widget.start.enabled)
    assert widget.state.value == "done"
    assert not widget.cancel.enabled
    np.testing.assert_array_equal(viewer.layers["out P(cell)"].scale, (50, 4, 4))
    ((data, _, _),) = read(str(tmp_path / "out.zarr"))
    np.testing.assert_array_equal(np.asarray(viewer.layers["out P(cell)"].data), np.asarray(data))


def test_cancelling_stops_and_says_so(widget, viewer):
    widget.start.changed.emit(True)
    until(lambda: widget.progress.value >= 1)
    widget.cancel.changed.emit(True)
    until(lambda: widget.start.enabled)
    assert widget.state.value == "cancelled"
    assert len(viewer.layers) == 1


def test_what_is_wrong_is_shown(widget, viewer, monkeypatch):
    shown = []
    monkeypatch.setattr("tiler.napari_plugin.widget.show_error", shown.append)
    widget.device.value = "mps"
    monkeypatch.setattr(work.api, "segment", lambda *a, **k: (_ for _ in ()).throw(work.PlanError("no such luck")))
    widget.start.changed.emit(True)
    until(lambda: widget.start.enabled)
    assert (widget.state.value, shown) == ("failed", ["no such luck"])
    viewer.layers.clear()
    widget.start.changed.emit(True)
    assert shown[-1].startswith("there is no image layer")


def test_layers_that_come_and_go_are_offered(widget, viewer):
    viewer.add_image(STACK[0], name="other")
    viewer.add_labels(STACK.astype(int), name="labels")
    assert [layer.name for layer in widget.image.choices] == ["stack", "other"]
    viewer.layers.remove("stack")
    assert [layer.name for layer in widget.image.choices] == ["other"]
