"""Refuse chunks of HDF5 that inflate to more bytes than they can hold, for which HDF5 would take any memory."""

from __future__ import annotations

import math
import zlib
from itertools import product
from typing import Any

from tiler.errors import SourceError
from tiler.sources.raw import Index

UNCHECKED = 2**18
"""Stored bytes of chunks that are not checked: they take 270 MB at most, since deflate packs 1032 bytes into one."""
PIECE = 2**20
"""Bytes that are inflated at once."""


def check_chunks(name: str, dataset: Any, index: Index) -> None:
    """Look at the chunks of a region.

    Raises
    ------
    SourceError
        If one of them inflates to more than its size.
    """
    if dataset.chunks is None or dataset.compression != "gzip" or dataset.is_virtual:
        return
    most = math.prod(dataset.chunks) * dataset.dtype.itemsize
    for corner in product(*(range(part.start // side * side, part.stop, side)
                            for part, side in zip(index, dataset.chunks, strict=True))):
        told = dataset.id.get_chunk_info_by_coord(corner)
        if told.byte_offset is None or told.size <= UNCHECKED:
            continue
        skipped, data = dataset.id.read_direct_chunk(corner)
        if not skipped and _inflates_beyond(data, most):
            raise SourceError(f"{name}: the chunk at {corner} inflates to more than the {most} bytes that it can hold")


def _inflates_beyond(data: bytes, most: int) -> bool:
    stream, size = zlib.decompressobj(), 0
    try:
        while not stream.eof and size <= most and (piece := stream.decompress(data, PIECE)):
            size, data = size + len(piece), stream.unconsumed_tail
    except zlib.error:  # HDF5 says what is wrong with it
        return False
    return size > most
