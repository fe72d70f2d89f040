"""Tensors on disk while a network runs in stages: one file a block, read by position.

::

    out.zarr.scratch/tensor 3/17        block 17 of tensor 3: its values in C order, and nothing else
    out.zarr.scratch/section 5/tensor 3/17

A file is whole once it is in the journal; files without a record are written again. A read takes what it needs from
every block that it touches, so that its memory is that of its result and of one piece.
"""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tiler.errors import SinkError, SourceError
from tiler.geometry import Box
from tiler.ports import Array, StoredTensor
from tiler.sources.positions import FileBytes, read_region
from tiler.stores.durable import sync


@dataclass(frozen=True, slots=True)
class Scratch:
    """The stored tensors of one network input. Picklable.

    Parameters
    ----------
    folder
        Where they lie; made by the first write.
    """

    folder: Path

    def path(self, number: int, block: int) -> Path:
        """Place of a block of a tensor."""
        return self.folder / f"tensor {number}" / str(block)

    def write(self, number: int, block: int, values: Array) -> None:
        """Store a block; durable on return.

        Raises
        ------
        SinkError
            If the disk is full or cannot be written.
        """
        path = self.path(number, block)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                file.write(np.ascontiguousarray(values).data)
                file.flush()
                os.fsync(file.fileno())
            sync(path.parent)
        except OSError as error:
            raise SinkError(f"cannot write the stored tensors in {self.folder}: {error.strerror or error}",
                            option="scratch") from error

    def read(self, number: int, tensor: StoredTensor, box: Box) -> Array:
        """The values of a box of a tensor.

        Returns
        -------
        Part of an array that is one longer along every axis that the box does not cover: in memory a box is a part of
        the whole tensor, and vectorised loops over parts may round differently from those over arrays in one piece.

        Raises
        ------
        SinkError
            If a file is gone or too short.
        """
        room = [side + (side < whole) for side, whole in zip(box.shape, tensor.extent.shape, strict=True)]
        out = np.empty(room, tensor.dtype)[tuple(map(slice, box.shape))]
        for block in tensor.touching(box):
            place = tensor.blocks[block]
            common = place.intersect(box)
            out[common.back(box.start).slices] = self._part(number, block, tensor, common.back(place.start))
        return out

    def _part(self, number: int, block: int, tensor: StoredTensor, part: Box) -> Array:
        file = FileBytes(self.path(number, block))
        try:
            return read_region(file, 0, tensor.blocks[block].shape, tensor.dtype, part.slices)
        except (OSError, SourceError) as error:
            raise SinkError(f"{file.path}, a stored tensor of this run, cannot be read: {_reason(error)}; the same "
                            "command with `resume=True` makes it again. Processes on several machines need a folder "
                            "that all of them see", option="scratch") from error

    def whole(self, number: int, tensor: StoredTensor, block: int) -> Array:
        """A block as it was written; see `read` for errors."""
        return self._part(number, block, tensor, Box.of_shape(tensor.blocks[block].shape))

    def stamp(self, number: int, block: int, tensor: StoredTensor) -> str:
        """Text that changes when the file of a block does; "" if it is not there or has another size."""
        try:
            found = self.path(number, block).stat()
        except OSError:
            return ""
        size = math.prod(tensor.blocks[block].shape) * tensor.dtype.itemsize
        return f"{found.st_size} {found.st_mtime_ns}" if found.st_size == size else ""

    def free(self, number: int) -> None:
        """Remove a tensor."""
        shutil.rmtree(self.folder / f"tensor {number}", ignore_errors=True)

    def clear(self) -> None:
        """Remove all tensors."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _reason(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split())
