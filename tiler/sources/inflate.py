"""Decompress data, up to a known largest size."""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import Any

import imagecodecs
import numcodecs.blosc

from tiler.errors import SourceError

AUTOMATIC = 47
"""zlib's setting for streams of zlib and of gzip alike."""
FIRST_BUFFER, GROWTH = 1 << 20, 8
"""Bytes of the first buffer of decoders that need to know the size, and the factor by which the next is larger."""


def inflate(kind: str, data: bytes, most: int, codec: Any = None) -> bytes:
    """The decompressed bytes.

    Parameters
    ----------
    kind
        ``gzip``, ``zlib``, ``zstd``, ``blosc``, ``lz4``, ``bz2``, ``lzma`` or ``br``.
    data
        Compressed bytes.
    most
        Largest possible size in bytes.
    codec
        The codec of numcodecs; for ``lzma`` it provides the filters of a raw stream.

    Raises
    ------
    SourceError
        If the data are larger.
    Exception
        If the data are damaged; the type depends on the library of the format.
    """
    if kind in ("gzip", "zlib"):
        return _streams(lambda: zlib.decompressobj(AUTOMATIC), data, most)
    if kind == "bz2":
        return _streams(bz2.BZ2Decompressor, data, most)
    if kind == "lzma":
        raw = getattr(codec, "format", None) == lzma.FORMAT_RAW  # then only the metadata tell the filters
        filters = codec.filters if raw else None
        return _streams(lambda: lzma.LZMADecompressor(lzma.FORMAT_RAW if raw else lzma.FORMAT_AUTO, filters=filters),
                        data, most)
    if kind in ("zstd", "br"):
        return _within(imagecodecs.zstd_decode if kind == "zstd" else imagecodecs.brotli_decode, data, most)
    told = int.from_bytes(data[4:8] if kind == "blosc" else data[:4], "little")
    if told > most:
        raise SourceError(f"a chunk of it says that it inflates to {told} bytes, {most} are the most that it can hold")
    found: Any = numcodecs.blosc.decompress(data) if kind == "blosc" else imagecodecs.lz4_decode(data, header=True)
    return bytes(found) if isinstance(found, bytearray) else found


def _streams(new: Any, data: bytes, most: int) -> bytes:
    """Streams that follow each other, as gzip and bz2 allow."""
    parts, size, rest = list[bytes](), 0, data
    while rest:
        stream = new()
        parts.append(stream.decompress(rest, most + 1 - size))
        size += len(parts[-1])
        if size > most:
            raise SourceError(f"a chunk of it inflates to more than the {most} bytes that it can hold")
        if not stream.eof:
            raise ValueError("incomplete or truncated stream")
        rest = stream.unused_data
        if not rest.strip(b"\0"):  # padding
            break
    return b"".join(parts)


def _within(decode: Any, data: bytes, most: int) -> bytes:
    """Decode into buffers that grow up to the largest possible size, since damaged metadata may claim any size."""
    size = min(most, max(FIRST_BUFFER, GROWTH * len(data)))
    while True:
        try:
            found: bytes = decode(data, out=size)
            return found
        except MemoryError as error:
            raise SourceError(f"a chunk of it can hold {most} bytes, for which there is no memory") from error
        except Exception as error:
            if not any(word in str(error) for word in ("size", "small", "ERROR")):
                raise
            if size >= most:
                raise SourceError(f"a chunk of it is damaged, or inflates to more than the {most} bytes that it can "
                                  f"hold ({error})") from error
        size = min(most, GROWTH * size)
