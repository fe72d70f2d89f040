"""Pictures as data URIs: imagecodecs writes JPEG and grey PNG; it cannot write palette PNG, which is written here.

References
----------
Portable Network Graphics (PNG) Specification, third edition, W3C (2025): chunks IHDR, PLTE, tRNS, IDAT, IEND.
"""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Grey = npt.NDArray[np.uint8]
Colour = tuple[int, int, int, int]

INDEXED = 3  # PNG's colour type of palette images


def jpeg_uri(grey: Grey, quality: int = 85) -> str:
    """Encode a grey picture ``(y, x)`` with loss."""
    import imagecodecs

    return _uri("image/jpeg", imagecodecs.jpeg8_encode(np.ascontiguousarray(grey), level=quality))


def png_uri(grey: Grey) -> str:
    """Encode a grey picture ``(y, x)`` without loss."""
    import imagecodecs

    return _uri("image/png", imagecodecs.png_encode(np.ascontiguousarray(grey), level=9))


def palette_uri(indices: Grey, palette: Sequence[Colour]) -> str:
    """Encode a picture ``(y, x)`` whose values index a palette of (red, green, blue, opacity)."""
    return _uri("image/png", encode_palette(indices, palette))


def encode_palette(indices: Grey, palette: Sequence[Colour]) -> bytes:
    """Return a PNG file with 4 bits per pixel, for at most 16 colours."""
    height, width = indices.shape
    even = np.zeros((height, width + width % 2), np.uint8)
    even[:, :width] = indices
    packed = even[:, ::2] << 4 | even[:, 1::2]
    rows = np.pad(packed, ((0, 0), (1, 0)))  # each row begins with the number of its filter, 0 for none
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 4, INDEXED, 0, 0, 0)),
        (b"PLTE", bytes(part for colour in palette for part in colour[:3])),
        (b"tRNS", bytes(colour[3] for colour in palette)),
        (b"IDAT", zlib.compress(rows.tobytes(), 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in chunks)


def _uri(kind: str, data: bytes | bytearray) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
