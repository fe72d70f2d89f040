"""Pixels of PNG, JPEG and BMP images, as they are stored.

Indices of a palette are read as indices, as those of a TIFF are, and samples of fewer than 8 bits as the numbers
that they are (0 and 1 for one bit). CMYK of JPEG is the amount of ink: Adobe's programs store its complement.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array
from tiler.sources.image_headers import ImageHeader, image_header
from tiler.sources.volume import one_line

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY = 0
END_OF_IMAGE, START_OF_SCAN, ADOBE = 0xFFD9, 0xFFDA, 0xFFEE
CMYK = 4


def decode(path: Path) -> tuple[ImageHeader, Array]:
    """The header and the pixels of an image.

    Raises
    ------
    SourceError
        If it cannot be decoded, is truncated, or is something else than its header says.
    """
    header = image_header(path)
    data = path.read_bytes()
    try:
        decoder = {"PNG": _png, "JPEG": _jpeg, "BMP": _bmp}[header.kind]
        image = decoder(path, data, header)
    except SourceError:
        raise
    except Exception as error:  # each codec has its own errors
        raise SourceError(f"{path} is not a readable image: {one_line(error)}") from error
    if image.shape != header.shape or image.dtype != header.dtype:
        raise SourceError(f"{path} is not a readable image: its pixels are of shape {image.shape} and dtype "
                          f"{image.dtype.name}, its header says {header.shape} and {header.dtype.name}")
    return header, image


def _png(path: Path, data: bytes, header: ImageHeader) -> Array:
    """Decode only what holds pixels: with a palette or a colour key, libpng would give out colours."""
    kept = []
    for kind, content, chunk in _chunks(path, data):
        if kind == b"IHDR" and header.indexed:
            kept.append(_chunk(kind, content[:9] + bytes([GREY]) + content[10:]))
        elif kind in (b"IHDR", b"IDAT", b"IEND"):
            kept.append(chunk)
    image: Array = imagecodecs.png_decode(b"".join([SIGNATURE, *kept]))
    if header.bits < 8:
        image = image // np.uint8(255 // (2**header.bits - 1))  # libpng stretches them to 8 bits
    return image.reshape(header.shape)


def _chunks(path: Path, data: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Kind, content and all bytes of each chunk."""
    at = len(SIGNATURE)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8].ljust(8, b"\0"))
        end = at + 12 + length
        if end > len(data):
            raise SourceError(f"{path} is truncated: a chunk of it ends at byte {end}, the file at {len(data)}")
        yield kind, data[at + 8:end - 4], data[at:end]
        at = end
        if kind == b"IEND":
            return
    raise SourceError(f"{path} is truncated: it has no last chunk")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _jpeg(path: Path, data: bytes, header: ImageHeader) -> Array:
    scan, adobe = _scan(path, data)
    if data.find(struct.pack(">H", END_OF_IMAGE), scan) < 0:
        raise SourceError(f"{path} is truncated: it has no end-of-image marker")
    image: Array = imagecodecs.jpeg_decode(data)
    if header.channels == CMYK and adobe:
        image = np.iinfo(image.dtype).max - image
    return image


def _scan(path: Path, data: bytes) -> tuple[int, bool]:
    """Where the first scan begins, and whether one of Adobe's programs wrote the file."""
    at, adobe = 2, False
    while at + 4 <= len(data):
        marker, length = struct.unpack(">HH", data[at:at + 4])
        adobe = adobe or (marker == ADOBE and data[at + 4:at + 9] == b"Adobe")
        if marker == START_OF_SCAN:
            return at, adobe
        at += 2 + max(2, length)
    raise SourceError(f"{path} is truncated: it ends before its first scan")


def _bmp(path: Path, data: bytes, header: ImageHeader) -> Array:
    start, upwards = header.start
    pixel = header.bits if header.indexed else int(header.colour.split(maxsplit=1)[0])
    row = (header.width * pixel + 31) // 32 * 4
    rows = np.frombuffer(data, np.uint8, row * header.height, start).reshape(header.height, row)
    rows = rows[::-1] if upwards else rows
    if header.indexed:
        return np.ascontiguousarray(_unpacked(rows, pixel)[:, :header.width])
    pixels: Any = rows[:, :header.width * pixel // 8].reshape(header.height, header.width, pixel // 8)
    return np.ascontiguousarray(pixels[..., 2::-1])  # blue comes first


def _unpacked(rows: Array, bits: int) -> Array:
    """Indices of 1, 4 or 8 bits, the first in the highest bits."""
    if bits == 8:
        return rows
    if bits == 1:
        return np.unpackbits(rows, axis=1)
    return np.stack([rows >> 4, rows & 15], axis=2).reshape(len(rows), -1)
