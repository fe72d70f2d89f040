"""Write DM3 and DM4 files as DigitalMicrograph lays them out, for tests of the reader."""

from __future__ import annotations

import struct

import numpy as np

CODES = {"int16": (1, 2), "float32": (2, 6), "uint8": (6, 10), "int32": (7, 3), "int8": (9, 9), "uint16": (10, 4),
         "uint32": (11, 5), "float64": (12, 7)}
"""DataType and code of an array's values by dtype."""


class Writer:
    def __init__(self, version, order):
        self.wide, self.order, self.version = version == 4, order, version

    def count(self, number):
        return struct.pack(">q" if self.wide else ">i", number)

    def tag(self, kind, name, body):
        size = struct.pack(">q", len(body)) if self.wide else b""
        return struct.pack(">BH", kind, len(name)) + name.encode() + size + body

    def group(self, content):
        """A dictionary, or a list of dictionaries without names."""
        named = content.items() if isinstance(content, dict) else [("", each) for each in content]
        tags = [self.tag(20, name, self.group(each)) if isinstance(each, (dict, list)) else
                self.tag(21, name, self.value(each)) for name, each in named]
        return b"\1\0" + self.count(len(tags)) + b"".join(tags)

    def value(self, found):
        if isinstance(found, np.ndarray):
            code = CODES[found.dtype.name][1]
            length = found.nbytes // np.dtype(found.dtype).itemsize
            return self.described(20, code, length) + found.astype(found.dtype.newbyteorder(self.order)).tobytes()
        if isinstance(found, str):
            text = found.encode("utf-16-le" if self.order == "<" else "utf-16-be")
            return self.described(20, 4, len(found)) + text
        if isinstance(found, tuple):
            return self.described(15, 0, len(found), *[each for _ in found for each in (0, 6)]) + struct.pack(
                f"{self.order}{len(found)}f", *found)
        if isinstance(found, float):
            return self.described(6) + struct.pack(f"{self.order}f", found)
        return self.described(3) + struct.pack(f"{self.order}i", found)

    def described(self, *info):
        return b"%%%%" + self.count(len(info)) + b"".join(map(self.count, info))

    def file(self, tags):
        body = self.group(tags)
        size = struct.pack(">q" if self.wide else ">i", len(body))
        return struct.pack(">i", self.version) + size + struct.pack(">i", self.order == "<") + body + b"\0" * 8


def image_of(values, steps=()):
    """The tags of one image; steps are (scale, origin, unit) from z to x."""
    dimensions = [{"Origin": float(origin), "Scale": float(scale), "Units": unit}
                  for scale, origin, unit in reversed(steps)]
    return {"ImageData": {
        "Calibrations": {"Brightness": {"Scale": 1.0}, "Dimension": dimensions}, "Data": values,
        "DataType": CODES[values.dtype.name][0],
        "Dimensions": list(values.shape[::-1]), "PixelDepth": values.dtype.itemsize}}


def written(path, images, order="<"):
    writer = Writer(int(path.suffix[-1]), order)
    tags = {"ApplicationBounds": (0.0, 1.0, 2.0, 3.0), "ImageList": list(images), "Name": "a name"}
    path.write_bytes(writer.file(tags))
    return path
