"""A folder of 2-D images as a stack, and single PNG, JPEG and BMP files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.files import existing, file_identity
from tiler.sources.image_headers import image_header
from tiler.sources.raw import Header, Index
from tiler.sources.tiff import open_tiff
from tiler.sources.volume import one_line

TIFF = (".tif", ".tiff")
SUFFIXES = (*TIFF, ".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One 2-D image that is decoded as a whole."""

    header: Header
    path: Path

    def fetch(self, index: Index) -> Array:
        image = _decode(self.path)
        if image.shape != self.header.shape or image.dtype != self.header.dtype:
            raise SourceError(f"{self.path} is {_says(image.shape, image.dtype)} and not "
                              f"{_says(self.header.shape, self.header.dtype)} as when it was opened")
        return image[index]

    def identity(self) -> Json:
        return file_identity(self.path)


@dataclass(frozen=True, slots=True)
class FolderImage:
    """2-D images of one shape and dtype, stacked along z in natural order."""

    header: Header
    path: Path
    names: tuple[str, ...]

    def fetch(self, index: Index) -> Array:
        return np.stack([self._slice(number, index[1:]) for number in range(index[0].start, index[0].stop)])

    def _slice(self, number: int, index: Index) -> Array:
        file = self.path / self.names[number]
        if file.suffix.lower() in TIFF:
            return open_tiff(file).fetch(index)
        return ImageFile(_of_slice(self.header, str(file)), file).fetch(index)

    def identity(self) -> Json:
        """Names, sizes and times of the files, in their order."""
        stats = ((name, (self.path / name).stat()) for name in self.names)
        files = [[name, status.st_size, status.st_mtime_ns] for name, status in stats]
        return {"kind": "folder", "path": str(self.path), "files": files}


def open_image(path: Path, consent: Consent = REFUSED) -> ImageFile:
    """Open a PNG, JPEG or BMP file, colours as channels.

    Raises
    ------
    SourceError
        If it is missing or cannot be decoded.
    """
    path = existing(path)
    image_header(path)
    image = _decode(path)
    return ImageFile(Header.plain(name=str(path), axes="yxs"[:image.ndim], shape=image.shape, dtype=image.dtype,
                                  chunk=image.shape), path)


def open_folder(path: Path, consent: Consent = REFUSED) -> FolderImage:
    """Open the images of a folder; other files in it are ignored.

    Raises
    ------
    SourceError
        If it holds no image, several kinds of images, or images that differ in shape or dtype.
    """
    path = existing(path)
    names = sorted((file.name for file in path.iterdir() if _is_image(file)), key=natural)
    if not names:
        raise SourceError(f"{path} holds no images; known are {' '.join(SUFFIXES)}")
    first = _header(path / names[0])
    if set(first.axes) - set("yxsc"):
        raise SourceError(f"{path / names[0]} has shape {first.shape}: the images of a folder are 2-D")
    _check_alike(path, names)
    header = Header(str(path), "z" + first.axes, (len(names), *first.shape), first.dtype, (1, *first.chunk),
                    (1.0, *first.scale), (None, *first.units), (0.0, *first.offset))
    return FolderImage(header, path, tuple(names))


def natural(name: str) -> list[tuple[bool, int, str]]:
    """Sort key under which ``z2`` comes before ``z10``, and numbers before letters."""
    parts = re.findall(r"([0-9]+)|([^0-9]+)", name)
    return [(not digits, int(digits or 0), text.lower()) for digits, text in parts]


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES and not file.name.startswith(".") and file.is_file()


def _header(file: Path) -> Header:
    return (open_tiff(file) if file.suffix.lower() in TIFF else open_image(file)).header


def _check_alike(path: Path, names: list[str]) -> None:
    expected = _signature(path / names[0])
    for name in names[1:]:
        found = _signature(path / name)
        if found != expected:
            raise SourceError(f"the images of a folder have one shape and type: {path / names[0]} is {expected}, "
                              f"{path / name} is {found}")


def _signature(file: Path) -> str:
    """What must agree between the slices, from the file's header alone."""
    if file.suffix.lower() in TIFF:
        header = open_tiff(file).header
        return _says(header.shape, header.dtype)
    return image_header(file)


def _says(shape: tuple[int, ...], dtype: np.dtype[Any]) -> str:
    return f"of shape {shape} and dtype {dtype.name}"


def _of_slice(stack: Header, name: str) -> Header:
    return Header.plain(name=name, axes=stack.axes[1:], shape=stack.shape[1:], dtype=stack.dtype)


def _decode(path: Path) -> Array:
    try:
        image: Array = imagecodecs.imread(path)
    except Exception as error:  # each codec has its own errors
        raise SourceError(f"{path} is not a readable image: {one_line(error)}") from error
    return image
