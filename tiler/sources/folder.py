"""A folder of 2-D images as a stack, and single PNG, JPEG and BMP files."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.files import existing, file_identity, file_status
from tiler.sources.folder_order import in_order
from tiler.sources.image_decoders import decode
from tiler.sources.image_headers import image_header
from tiler.sources.raw import Header, Index
from tiler.sources.tiff import TiffImage, open_tiff

logger = logging.getLogger(__name__)
TIFF = (".tif", ".tiff")
VOLUMES = (".zarr", ".h5", ".hdf5", ".hdf", ".ims", ".npy", ".mrc", ".rec", ".map", ".st")
SUFFIXES = (*TIFF, ".png", ".jpg", ".jpeg", ".bmp")


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A 2-D image that is always decoded completely."""

    header: Header
    path: Path

    def fetch(self, index: Index) -> Array:
        _, image = decode(self.path)
        _check_as_opened(self.path, image.shape, image.dtype, self.header.shape, self.header.dtype)
        return image[index]

    def identity(self) -> Json:
        return file_identity(self.path)


@dataclass(frozen=True, slots=True)
class FolderImage:
    """2-D images of one shape and dtype, stacked along z in the order of the numbers in their names."""

    header: Header
    path: Path
    names: tuple[str, ...]

    def fetch(self, index: Index) -> Array:
        return np.stack([self._slice(number, index[1:]) for number in range(index[0].start, index[0].stop)])

    def _slice(self, number: int, index: Index) -> Array:
        file, shape, dtype = self.path / self.names[number], self.header.shape[1:], self.header.dtype
        if file.suffix.lower() in TIFF:
            image = open_tiff(file)
            _check_as_opened(file, image.header.shape, image.header.dtype, shape, dtype)
            return image.fetch(index)
        axes = self.header.axes[1:]
        return ImageFile(Header.plain(name=str(file), axes=axes, shape=shape, dtype=dtype), file).fetch(index)

    def identity(self) -> Json:
        """Names, sizes and times of the files, in their order."""
        told = (file_status(self.path / name) for name in self.names)
        files = [[name, each["size"], each["mtime_ns"]] for name, each in zip(self.names, told, strict=True)]
        return {"kind": "folder", "path": str(self.path), "files": files}


def open_image(path: Path, consent: Consent = REFUSED) -> ImageFile:
    """Open a PNG, JPEG or BMP file, colours as channels, palettes as indices; reads its header.

    Raises
    ------
    SourceError
        If it does not exist, is damaged, or is too small for the image that its header describes.
    """
    path = existing(path)
    told = image_header(path)
    if told.indexed and told.kind == "PNG":
        logger.warning("%s has a palette: its indices are read, not its colours", path)
    return ImageFile(Header.plain(name=str(path), axes="yxs"[:len(told.shape)], shape=told.shape, dtype=told.dtype,
                                  chunk=told.shape), path)


def open_folder(path: Path, consent: Consent = REFUSED) -> FolderImage | TiffImage:
    """Open the images of a folder, or the one image that all its OME-TIFF files belong to.

    Other files in it are ignored.

    Raises
    ------
    SourceError
        If it holds no image, several kinds of images, or images that differ in shape or dtype.
    """
    path = existing(path)
    found = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
    for file in found:
        if file.is_symlink() and not file.exists():
            raise SourceError(f"{file} is a link to {file.readlink()}, which does not exist")
    names = in_order(path, [file.name for file in found if file.is_file()])
    if not names:
        raise SourceError(f"{path} holds no images; known are {' '.join(SUFFIXES)}{_volumes_in(path)}")
    whole = _one_set(path, names, consent)
    return whole or _stack(path, names)


def _volumes_in(path: Path) -> str:
    """Advice for a folder of volumes of other formats: what to type; "" if there are none."""
    suffixes = [file.suffix for file in sorted(path.iterdir()) if file.suffix.lower() in VOLUMES]
    if not suffixes:
        return ""
    return f"; it holds {len(suffixes)} volumes of other formats, which have to be named: {_pattern(path, suffixes[0])}"


def _pattern(path: Path, suffix: str) -> str:
    return f"'{path}{os.sep}*{suffix}'"


def _stack(path: Path, names: list[str]) -> FolderImage:
    first = _header(path / names[0])
    if set(first.axes) - set("yxsc"):
        raise SourceError(f"{path / names[0]} has shape {first.shape}: the images of a folder are 2-D; if each file is "
                          f"a stack of its own, name the files: {_pattern(path, Path(names[0]).suffix)}")
    _check_alike(path, names)
    header = Header(str(path), "z" + first.axes, (len(names), *first.shape), first.dtype, (1, *first.chunk),
                    (1.0, *first.scale), (None, *first.units), (0.0, *first.offset))
    return FolderImage(header, path, tuple(names))


def _one_set(path: Path, names: list[str], consent: Consent) -> TiffImage | None:
    """The image of a set of OME-TIFF files, if all files of the folder belong to it."""
    first = path / names[0]
    if len(names) == 1 or not first.name.lower().endswith((".ome.tif", ".ome.tiff")):
        return None
    image = open_tiff(first, consent)
    return image if {path / name for name in names} <= set(image.files) else None


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
    """Properties that all slices must share, read from the header of a file."""
    if file.suffix.lower() in TIFF:
        header = open_tiff(file).header
        return f"of shape {header.shape} and dtype {header.dtype.name}"
    return str(image_header(file))


def _check_as_opened(file: Path, shape: tuple[int, ...], dtype: np.dtype[Any], was: tuple[int, ...],
                     kind: np.dtype[Any]) -> None:
    if shape != was or dtype.newbyteorder("=") != kind.newbyteorder("="):
        raise SourceError(f"{file} is of shape {shape} and dtype {dtype.name} and not of shape {was} and dtype "
                          f"{kind.name} as when it was opened")
