"""Size and pixel type of PNG, JPEG and BMP files, read from their first bytes.

A folder of thousands of slices is checked before a run by these, since decoding each would read the volume.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

from tiler.errors import SourceError


def image_header(path: Path) -> str:
    """A phrase that agrees for two files just when size, bit depth and kind of pixels agree.

    Raises
    ------
    SourceError
        If the file is none of the three formats, or ends in its header.
    """
    with path.open("rb") as file:
        start = file.read(2)
        try:
            if start == b"\x89P":
                return _png(file)
            if start == b"\xff\xd8":
                return _jpeg(file)
            if start == b"BM":
                return _bmp(file)
        except struct.error:
            raise SourceError(f"{path} is truncated: it ends in its header") from None
    raise SourceError(f"{path} is neither a PNG, a JPEG nor a BMP file")


def _png(file: BinaryIO) -> str:
    """Width, height, bit depth and colour type: IHDR is always the first chunk (ISO 15948, 11.2.2)."""
    file.seek(16)
    width, height, bits, colour = struct.unpack(">IIBB", file.read(10))
    return f"a PNG of {width} x {height}, {bits} bits, colour type {colour}"


def _jpeg(file: BinaryIO) -> str:
    """Precision, height, width and components, from the first start-of-frame segment (ITU T.81, B.2.2)."""
    while True:
        marker, length = struct.unpack(">HH", file.read(4))
        if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
            bits, height, width, components = struct.unpack(">BHHB", file.read(6))
            return f"a JPEG of {width} x {height}, {bits} bits, {components} components"
        file.seek(length - 2, 1)


def _bmp(file: BinaryIO) -> str:
    """From the info header; a negative height (rows from the top down) is another layout of the same image."""
    file.seek(18)
    width, height, _, bits = struct.unpack("<iiHH", file.read(12))
    return f"a BMP of {width} x {abs(height)}, {bits} bits"
