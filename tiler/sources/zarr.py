"""zarr, versions 2 and 3: arrays, and groups with OME-NGFF images."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.storage import LocalStore

from tiler.errors import SourceError, StoreError
from tiler.ports import Array, Json
from tiler.sources.array import ArrayImage, open_array
from tiler.sources.axes import named_axes
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.ngff import (
    Multiscale,
    labels_of,
    multiscales_of,
    ome_of,
    refuse_plate,
    refuse_unfinished,
    warn_of_version,
)
from tiler.sources.raw import Header, Index, Lazy, native_dtype, unknown_axes
from tiler.sources.values import mapping_of
from tiler.sources.zarr_bounded import bounded
from tiler.sources.zarr_chunks import holds, kind_of, names_of_chunks, reopened
from tiler.sources.zarr_places import attributes_of, check_there, found, identity, is_group, node, parents
from tiler.stores.address import Place, is_address

logger = logging.getLogger(__name__)
DEEPEST = 8  # parents of an array that are searched for the image of which it is a level
CONTAINER = "bioformats2raw.layout"


@dataclass(frozen=True, slots=True)
class ZarrImage:
    """An array on a local disk or an object store. Chunks that are missing read as the fill value.

    Parameters
    ----------
    header
        Metadata of the array.
    path
        Place of the array.
    handle
        The open array.
    missing
        Description of missing chunks, which are read as the fill value with the user's consent.
    """

    header: Header
    path: Place
    handle: Lazy[Any] = field(repr=False)
    missing: str = ""

    def fetch(self, index: Index) -> Array:
        read = np.asarray(self.handle()[index])
        check_there(self.path)  # without its metadata, a chunk that is not there was removed, not left out
        return read

    def holds(self, index: Index) -> bool:
        """Whether any chunk of a region is there."""
        return holds(self.path, self.handle(), index) or _is_whole(self.path)

    def identity(self) -> Json:
        told = identity(self.path)
        return {**told, "missing": self.missing} if self.missing else told


def open_zarr(place: Place, consent: Consent = REFUSED) -> ZarrImage:
    """Open an array, or the largest level of an OME-NGFF image; reads metadata and names of chunks only.

    Parameters
    ----------
    place
        Path or address of an array or group, also inside another group (``volume.zarr/0``).
    consent
        Whether an array without any chunk is read as its fill value.

    Raises
    ------
    SourceError
        If there is none, or more than one image to choose from, or its output is not finished.
    """
    given = found(place)
    finest = _finest(given)
    array = node(finest)
    header = _described(finest, _plain(str(given), array))
    kind, missing = _kind(str(given), finest, array, consent)
    handle: Lazy[Any] = Lazy(partial(_array, str(given), finest, kind))
    return ZarrImage(header, finest, handle, missing)


def open_zarr_array(array: Any, consent: Consent = REFUSED) -> ZarrImage | ArrayImage:
    """An array that is open already: reopened by path where it lies on a local disk, else taken as it is."""
    if isinstance(array, zarr.Array) and isinstance(array.store, LocalStore):
        return open_zarr(Path(array.store.root) / array.path, consent)
    return open_array(array, consent)


def _array(name: str, place: Place, kind: str | None) -> Any:
    array = node(place)
    return bounded(array if kind is None else reopened(name, place, array, kind))


def _kind(name: str, place: Place, array: Any, consent: Consent) -> tuple[str | None, str]:
    """The kind of names of the chunks, if it is another one than the metadata tell, and what is missing.

    Raises
    ------
    SourceError
        If there are chunks of several kinds, or none.
    """
    names = names_of_chunks(place, array)
    if names is None or names.found == {names.told} or 0 in array.shape:
        return None, ""
    if not names.found and _is_whole(place):
        return None, ""
    if not names.found:
        gone = f"{name}: not one chunk of the array is there"
        consent.absent(gone, f"its fill value {array.fill_value}")
        return None, gone
    if len(names.found) > 1:
        both = " and others like ".join(sorted(names.found))
        raise SourceError(f"{name}: some of its chunks are called like {both}, so that one kind would be read as "
                          f"missing (its metadata tell {names.told})")
    kind, = names.found
    logger.warning("%s: its chunks are called like %s and not like %s, as its metadata tell: they are read", name, kind,
                   kind_of(array))
    return kind, ""


def _is_whole(place: Place) -> bool:
    """Whether an array is part of an output that tiler finished: there, chunks of nothing but zeros are left out."""
    for group, _ in islice(parents(place), DEEPEST):
        if not is_group(group):
            return False
        if mapping_of(attributes_of(str(group), node(group)).get("tiler")):
            return True
    return False


def _finest(place: Place) -> Place:
    """The array itself, or the largest level of the group's image, or of its only label image."""
    group = node(place)
    if isinstance(group, zarr.Array):
        return place
    attributes = attributes_of(str(place), group)
    refuse_unfinished(str(place), attributes)
    refuse_plate(str(place), attributes)
    images = multiscales_of(attributes)
    if images:
        warn_of_version(str(place), attributes)
        return _largest(place, images)
    if CONTAINER in ome_of(attributes):  # a folder of images, numbered from 0
        return _finest(place / "0")
    labels = labels_of(attributes)
    if labels is not None:
        return _finest(place / _only(place, labels))
    raise SourceError(f"{place} is a zarr group without OME-NGFF images; {_inside(place, group)}")


def _largest(place: Place, images: list[Multiscale]) -> Place:
    """The largest level of all images; that should be the first of the first, and is said where it is not."""
    first = images[0].paths[0]
    sizes = {first: _voxels(node(place / first))}
    for image in images:
        remote = is_address(place)
        for path in {image.paths[0], image.paths[-1]} if remote else image.paths:
            if path not in sizes:
                sizes[path] = _size_of_level(place / path)
    largest = max(sizes, key=lambda path: (sizes[path], path == first))
    if largest != first:
        logger.warning("%s: the array %s is larger than %s, which is listed as the first level: it is read", place,
                       largest, first)
    if len(images) > 1:
        named = ", ".join(image.label or image.paths[0] for image in images)
        logger.warning("%s holds %d images (%s): %s is read; give the path of another one to read that", place,
                       len(images), named, largest)
    return place / largest


def _voxels(level: Any) -> int:
    return math.prod(level.shape) if isinstance(level, zarr.Array) else 0


def _size_of_level(place: Place) -> int:
    try:
        return _voxels(node(place))
    except SourceError:  # a smaller level that is not there is not read
        return 0


def _inside(place: Place, group: Any) -> str:
    try:
        arrays = sorted(group.array_keys())
    except StoreError:  # https cannot list
        return "its arrays cannot be listed: give one"
    return f"it holds the arrays {', '.join(arrays)}: give one, such as {place / arrays[0]}" if arrays else \
        "and no arrays"


def _only(place: Place, labels: list[str]) -> str:
    """The one image of a group of labels."""
    if len(labels) == 1:
        return labels[0]
    one = f"the images {', '.join(labels)}: give one, such as {place / labels[0]}" if labels else "no images"
    raise SourceError(f"{place} is a group of labels that holds {one}")


def _plain(name: str, array: Any) -> Header:
    """Header from the metadata of the array: zarr 3 names dimensions, and xarray names those of zarr 2."""
    if not isinstance(array, zarr.Array):
        raise SourceError(f"{name} is not a zarr array")
    names = getattr(array.metadata, "dimension_names", None) or attributes_of(name, array).get("_ARRAY_DIMENSIONS")
    dtype = np.dtype(array.dtype)
    native_dtype(dtype, name)  # other types are refused before their chunks are looked for
    return Header.plain(name=name, shape=array.shape, dtype=dtype, chunk=tuple(array.chunks),
                        axes=named_axes(names, array.ndim) or unknown_axes(array.ndim))


def _described(place: Place, header: Header) -> Header:
    """Add the metadata of the multiscale image in a parent group, if the array is one of its levels."""
    for group, inside in islice(parents(place), DEEPEST):
        if not is_group(group):
            break
        try:
            attributes = attributes_of(str(group), node(group))
        except SourceError as error:
            logger.warning("%s: what describes it cannot be read (%s): it is read without", place, error)
            break
        refuse_unfinished(str(group), attributes)
        for image in multiscales_of(attributes):
            if inside in image.paths:
                return image.describe(header, inside)
    return header
