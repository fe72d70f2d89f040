"""The widget "Segment with tiler"."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, FileEdit, Label, LineEdit, ProgressBar, PushButton
from napari.layers import Image, Layer
from napari.qt.threading import FunctionWorker
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import QObject, Signal

from tiler.errors import Interrupted, TilerError
from tiler.napari_plugin.reader import LayerData
from tiler.napari_plugin.work import Progress, Run, model_names, source_of
from tiler.options import TABLE
from tiler.options.documents import words_of

if TYPE_CHECKING:
    import napari.viewer

DEVICES = ("auto", "cpu", "cuda", "mps")


class Messages(QObject):  # type: ignore[misc]  # Qt has no types
    """Carries messages of a run from its thread to that of the window."""

    told = Signal(object)


class SegmentWidget(Container):  # type: ignore[misc]  # magicgui has no types
    """Widget that segments an image layer with `tiler.segment` in a thread and adds the result as layers.

    Parameters
    ----------
    viewer
        The napari viewer with the image layers.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        self._viewer = viewer
        self._run: Run | None = None
        self._messages = Messages()
        self._messages.told.connect(self._show)
        self.image = ComboBox(label="image", choices=self._images)
        self.model = ComboBox(label="model", choices=model_names())
        self.weights = FileEdit(label="weights", filter="*.safetensors", nullable=True, value=None,
                                tooltip="Weights from tiler train; empty for the model's bundled weights")
        self.kind = ComboBox(label="result", choices=words_of(TABLE["kind"]))
        self.tile = LineEdit(label="tile", tooltip="Model input, such as 572 or 1x572x572; empty for automatic")
        self.device = ComboBox(label="device", choices=DEVICES)
        self.output = FileEdit(label="output", mode="w", filter="*.zarr", nullable=True, value=None,
                               tooltip="Zarr to write; empty for one that is deleted when napari ends")
        self.start = PushButton(text="Segment")
        self.cancel = PushButton(text="Cancel", enabled=False)
        self.progress = ProgressBar(label="", max=1, value=0)
        self.state = Label(value="")
        super().__init__(widgets=[self.image, self.model, self.weights, self.kind, self.tile, self.device, self.output,
                                  self.start, self.cancel, self.progress, self.state])
        self.start.changed.connect(self._begin)
        self.cancel.changed.connect(self._cancel)
        viewer.layers.events.inserted.connect(self.reset_choices)
        viewer.layers.events.removed.connect(self.reset_choices)

    def _images(self, widget: Any) -> list[Any]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _begin(self) -> None:
        if self.image.value is None:
            show_error("there is no image layer: open an image first")
            return
        options = {"kind": self.kind.value, "tile": self.tile.value.strip(), "device": self.device.value,
                   "weights": self.weights.value and str(self.weights.value)}
        output = Path(self.output.value) if self.output.value else None
        try:
            self._run = Run(source_of(self.image.value), self.model.value, output, options, self._messages.told.emit)
        except TilerError as error:
            show_error(str(error))
            return
        worker = FunctionWorker(self._run)
        worker.returned.connect(self._add)
        worker.errored.connect(self._fail)
        worker.finished.connect(self._end)
        self.start.enabled, self.cancel.enabled = False, True
        self.state.value = "opening the model"
        worker.start()

    def _cancel(self) -> None:
        if self._run is not None:
            self._run.cancel()
            self.state.value = "stopping at the next block border"

    def _show(self, told: Progress | str) -> None:
        if isinstance(told, str):
            show_warning(told)
            return
        self.progress.max, self.progress.value = max(told.total, 1), told.done
        self.state.value = f"{told.stage}: {told.done} of {told.total} blocks"

    def _add(self, layers: list[LayerData]) -> None:
        for each in layers:
            self._viewer.add_layer(Layer.create(*each))
        self.state.value = "done"

    def _fail(self, error: Exception) -> None:
        self.state.value = "cancelled" if isinstance(error, Interrupted) else "failed"
        if not isinstance(error, Interrupted):
            show_error(str(error))

    def _end(self) -> None:
        self._run = None
        self.start.enabled, self.cancel.enabled = True, False
