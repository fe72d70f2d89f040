"""Size and type of PNG, JPEG and BMP images, read from their first bytes and compared with the size of the file.

A folder of thousands of slices is checked before a run by these, since decoding each would read the volume. No image
is decoded that claims more pixels than its file can hold: decoders fill what is not there with whatever was in memory.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from tiler.errors import SourceError

DEFLATE = 1032
"""Bytes that one byte of a zlib stream can inflate to at most."""
SLACK = 2**12
PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PALETTE = 3
BMP_RLE, BMP_FIELDS = (1, 2), 3


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """Properties that the header of an image declares.

    Parameters
    ----------
    kind
        ``"PNG"``, ``"JPEG"`` or ``"BMP"``.
    width, height
        In pixels.
    bits
        Bits of a sample, or of a palette index.
    channels
        Samples of a pixel.
    colour
        Distinguishes kinds of pixels with the same number of samples, such as the colour types of PNG.
    indexed
        Whether the samples are indices of a palette.
    start
        For a BMP: where its rows begin, and whether the last row comes first.
    """

    kind: str
    width: int
    height: int
    bits: int
    channels: int
    colour: str = ""
    indexed: bool = False
    start: tuple[int, bool] = (0, False)

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.height, self.width, self.channels)[:2 + (self.channels > 1)]

    @property
    def dtype(self) -> np.dtype[np.uint8] | np.dtype[np.uint16]:
        return np.dtype(np.uint8) if self.bits <= 8 else np.dtype(np.uint16)

    def __str__(self) -> str:
        """A phrase that agrees for two files just when size, bit depth and kind of pixels agree."""
        return f"a {self.kind} of {self.width} x {self.height}, {self.bits} bits, {self.colour or self.channels}"


def image_header(path: Path) -> ImageHeader:
    """Read the header.

    Raises
    ------
    SourceError
        If the file has none of the three formats, ends in its header, or is too small for the image described there.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(2)
        try:
            if start == b"\x89P":
                return _png(path, file, size)
            if start == b"\xff\xd8":
                return _jpeg(path, file)
            if start == b"BM":
                return _bmp(path, file, size)
        except struct.error:
            raise SourceError(f"{path} is truncated: it ends in its header") from None
    raise SourceError(f"{path} is neither a PNG, a JPEG nor a BMP file")


def _png(path: Path, file: BinaryIO, size: int) -> ImageHeader:
    """Width, height, bit depth and colour type: IHDR is always the first chunk (ISO 15948, 11.2.2)."""
    file.seek(16)
    width, height, bits, colour = struct.unpack(">IIBB", file.read(10))
    if colour not in PNG_CHANNELS or bits not in (1, 2, 4, 8, 16):
        raise SourceError(f"{path} is damaged: a PNG of {bits} bits and colour type {colour}")
    channels = PNG_CHANNELS[colour]
    _check_size(path, width, height, height * (1 + (width * bits * channels + 7) // 8), DEFLATE * size + SLACK)
    return ImageHeader("PNG", width, height, bits, channels, f"colour type {colour}", colour == PALETTE)


def _jpeg(path: Path, file: BinaryIO) -> ImageHeader:
    """Precision, height, width and components, from the first start-of-frame segment (ITU T.81, B.2.2)."""
    while True:
        marker, length = struct.unpack(">HH", file.read(4))
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            bits, height, width, components = struct.unpack(">BHHB", file.read(6))
            if components not in (1, 3, 4) or not 2 <= bits <= 16:
                raise SourceError(f"{path} is a JPEG of {components} components of {bits} bits, which is not read")
            _check_size(path, width, height, 1, 1)
            return ImageHeader("JPEG", width, height, bits, components, f"{components} components")
        if length < 2 or marker < 0xFF00:
            raise SourceError(f"{path} is damaged: a JPEG without a frame")
        file.seek(length - 2, 1)


def _bmp(path: Path, file: BinaryIO, size: int) -> ImageHeader:
    """From the info header; a negative height means rows from the top down."""
    file.seek(10)
    start, length = struct.unpack("<II", file.read(8))
    if length == 12:  # OS/2
        width, height, _, bits = struct.unpack("<HHHH", file.read(8))
        packed = 0
    else:
        width, height, _, bits, packed = struct.unpack("<iiHHI", file.read(16))
    if packed in BMP_RLE or bits not in (1, 4, 8, 24, 32) or packed > BMP_FIELDS:
        raise SourceError(f"{path} is a BMP of {bits} bits, compression {packed}, which is not read: save it as PNG")
    if packed == BMP_FIELDS:
        file.seek(54)
        if struct.unpack("<III", file.read(12)) != (0xFF0000, 0xFF00, 0xFF):
            raise SourceError(f"{path} is a BMP with bit fields that are not read: save it as PNG")
    row = (width * bits + 31) // 32 * 4
    _check_size(path, width, abs(height), start + row * abs(height), size)
    return ImageHeader("BMP", width, abs(height), bits if bits <= 8 else 8, 1 if bits <= 8 else 3,
                       f"{bits} bits a pixel", bits <= 8, (start, height > 0))


def _check_size(path: Path, width: int, height: int, needed: int, most: int) -> None:
    """Refuse an image that is empty, or larger than its file can hold."""
    if width < 1 or height < 1:
        raise SourceError(f"{path} is empty: its header tells {width} x {height} pixels")
    if needed > most:
        raise SourceError(f"{path} is truncated or damaged: its header tells {width} x {height} pixels, for which the "
                          "file is too small")
