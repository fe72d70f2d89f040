"""A result in memory."""

from __future__ import annotations

import uuid
import weakref

import numpy as np

from tiler.errors import SinkError
from tiler.geometry import Box, Shape
from tiler.ports import UNWATCHED, Array, Json, OutputSpec, Room, Watch
from tiler.sinks.layout import Layout, check_block, check_box
from tiler.sinks.target import provenance

_living: weakref.WeakValueDictionary[str, ArraySink] = weakref.WeakValueDictionary()


class ArraySink:
    """A numpy array, with the input's axes.

    A pickled copy is the same array within the process, and refused in any other: what were written there
    would never be seen.

    Attributes
    ----------
    array
        The result, once created.
    attributes
        Its provenance, once finished.
    """

    name = "array"
    write_unit: Shape = (1, 1, 1)
    room = Room(0)

    def __init__(self, spec: OutputSpec) -> None:
        self.spec = spec
        self.layout = Layout.of(spec)
        self.attributes: Json | None = None
        self._array: Array | None = None
        self._token = uuid.uuid4().hex
        _living[self._token] = self

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return _find, (self._token,)

    @property
    def array(self) -> Array:
        if self._array is None:
            raise SinkError("the array does not exist: it was not created")
        return self._array

    def create(self) -> None:
        """Make an array of zeros."""
        self.attributes = None
        self._array = np.zeros(self.layout.shape, self.spec.dtype)

    def write(self, box: Box, data: Array) -> None:
        """Store ``data`` ``(c, *box.shape)``. Safe from several threads for disjoint boxes."""
        check_block(self.name, self.spec, box, data)
        if self.attributes is not None:
            raise SinkError(f"{self.name} is finished: nothing more can be written to it")
        self.layout.store(self.array, box, data)

    def read(self, box: Box) -> Array:
        """``(c, *box.shape)`` as stored."""
        check_box(self.name, self.spec.shape, box)
        return self.layout.load(self.array, box)

    def finish(self, attributes: Json, watch: Watch = UNWATCHED) -> None:
        """Keep the provenance; may be called again."""
        _ = self.array
        self.attributes = provenance(self.spec.kind, self.spec.classes, attributes)


def _find(token: str) -> ArraySink:
    try:
        return _living[token]
    except KeyError:
        raise SinkError("a result in memory cannot be written from another process: give an output path (`output`), "
                        "or use threads", option="executor") from None
