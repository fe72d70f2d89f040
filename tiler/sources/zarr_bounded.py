"""zarr arrays whose chunks cannot inflate to more than the size of a chunk.

A few megabytes of zeros, compressed, inflate to gigabytes. The codecs of zarr give out whatever is in a chunk and find
only then that it is too much; here they stop at the size that the array's metadata tell.
"""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Callable
from typing import Any

import zarr
from zarr.codecs import BloscCodec, GzipCodec, ShardingCodec, ZstdCodec
from zarr.core.metadata.v2 import ArrayV2Metadata

from tiler.sources.inflate import inflate

SLACK = 2**16
"""Bytes that filters and checksums may add to a chunk."""
FILTERS = 16
"""A filter of zarr 2 may store a voxel in so many times its bytes (float64 for uint8, twice)."""


class _Bounded:
    """Decodes up to the size of the chunk that is asked for."""

    kind: str

    async def _decode_single(self, chunk_bytes: Any, chunk_spec: Any) -> Any:
        size = math.prod(chunk_spec.shape) * chunk_spec.dtype.to_native_dtype().itemsize + SLACK

        def decode() -> Any:
            return chunk_spec.prototype.buffer.from_bytes(inflate(self.kind, chunk_bytes.to_bytes(), size))

        return await asyncio.to_thread(decode)


class BoundedGzip(_Bounded, GzipCodec):
    kind = "gzip"


class BoundedZstd(_Bounded, ZstdCodec):
    kind = "zstd"


class BoundedBlosc(_Bounded, BloscCodec):
    kind = "blosc"


CLASSES: dict[type, type] = {GzipCodec: BoundedGzip, ZstdCodec: BoundedZstd, BloscCodec: BoundedBlosc}


def bounded(array: Any) -> Any:
    """The same array, read only, with codecs that are bounded; as it is where its codecs are not known here."""
    told = array.metadata
    if isinstance(told, ArrayV2Metadata):
        size = math.prod(told.chunks) * told.dtype.to_native_dtype().itemsize * FILTERS + SLACK
        changed = dataclasses.replace(told)
        object.__setattr__(changed, "compressor", _compressor(told.compressor, size))
    else:
        changed = dataclasses.replace(told)
        object.__setattr__(changed, "codecs", tuple(_codec(codec) for codec in told.codecs))
    return zarr.Array(zarr.AsyncArray(changed, array.store_path))


def _codec(codec: Any) -> Any:
    if isinstance(codec, ShardingCodec):
        return dataclasses.replace(codec, codecs=tuple(_codec(each) for each in codec.codecs))
    known = CLASSES.get(type(codec))
    if known is None:
        return codec
    copy: Any = object.__new__(known)
    copy.__dict__.update(codec.__dict__)
    return copy


def _compressor(compressor: Any, size: int) -> Any:
    """A codec of numcodecs; zarr only calls its ``decode``."""
    kind = getattr(compressor, "codec_id", None)
    return compressor if kind not in ("gzip", "zlib", "zstd", "blosc", "lz4", "bz2", "lzma") else \
        _Numcodec(kind, size, compressor)


class _Numcodec:
    def __init__(self, kind: str, size: int, codec: Any) -> None:
        self._kind, self._size, self._codec = kind, size, codec

    def decode(self, data: Any) -> Any:
        return inflate(self._kind, bytes(data), self._size, self._codec)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._codec, name)  # type: ignore[no-any-return]
