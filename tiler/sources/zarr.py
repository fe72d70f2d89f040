"""zarr, versions 2 and 3: arrays, and groups with OME-NGFF images."""

from __future__ import annotations

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
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.ngff import labels_of, multiscale_of, ome_of, refuse_plate, refuse_unfinished
from tiler.sources.raw import Header, Index, Lazy, unknown_axes
from tiler.sources.zarr_places import found, identity, is_group, node, parents
from tiler.stores.address import Place

DEEPEST = 8  # parents of an array that are looked through for the image it is a level of


@dataclass(frozen=True, slots=True)
class ZarrImage:
    """An array on a local disk or an object store. Chunks that are missing read as the fill value."""

    header: Header
    path: Place
    handle: Lazy[Any] = field(repr=False)

    def fetch(self, index: Index) -> Array:
        return np.asarray(self.handle()[index])

    def identity(self) -> Json:
        return identity(self.path)


def open_zarr(place: Place, consent: Consent = REFUSED) -> ZarrImage:
    """Open an array, or level 0 of an OME-NGFF image; reads metadata only.

    Parameters
    ----------
    place
        Path or address of an array or group, also inside another group (``volume.zarr/0``).

    Raises
    ------
    SourceError
        If there is none, or more than one image to choose from, or its output is not finished.
    """
    given = found(place)
    finest = _finest(given)
    handle: Lazy[Any] = Lazy(partial(node, finest))
    array = handle()
    return ZarrImage(_described(finest, _plain(str(given), array)), finest, handle)


def open_zarr_array(array: Any) -> ZarrImage | ArrayImage:
    """An array that is open already: reopened by path where it lies on a local disk, else taken as it is."""
    if isinstance(array, zarr.Array) and isinstance(array.store, LocalStore):
        return open_zarr(Path(array.store.root) / array.path)
    return open_array(array)


def _finest(place: Place) -> Place:
    """The array itself, or level 0 of the group's first image, or of its only label image."""
    group = node(place)
    if isinstance(group, zarr.Array):
        return place
    attributes = dict(group.attrs)
    refuse_unfinished(str(place), attributes)
    refuse_plate(str(place), attributes)
    image = multiscale_of(attributes)
    if image is not None:
        return place / image.paths[0]
    if "bioformats2raw.layout" in ome_of(attributes):  # a folder of images, numbered from 0
        return _finest(place / "0")
    labels = labels_of(attributes)
    if labels is not None:
        return _finest(place / _only(place, labels))
    raise SourceError(f"{place} is a zarr group without OME-NGFF images; {_inside(place, group)}")


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
    """What the array itself says: zarr 3 names its dimensions, and xarray names those of zarr 2."""
    if not isinstance(array, zarr.Array):
        raise SourceError(f"{name} is not a zarr array")
    names = getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS") or ()
    letters = "".join(str(name).lower() for name in names) if isinstance(names, (list, tuple)) else ""
    named = len(letters) == array.ndim and {"y", "x"} <= set(letters) <= set("tczyx")
    return Header.plain(name=name, shape=array.shape, dtype=np.dtype(array.dtype), chunk=tuple(array.chunks),
                        axes=letters if named else unknown_axes(array.ndim))


def _described(place: Place, header: Header) -> Header:
    """What the image that the array is a level of says, if there is one above it."""
    for group, inside in islice(parents(place), DEEPEST):
        if not is_group(group):
            break
        attributes = dict(node(group).attrs)
        refuse_unfinished(str(group), attributes)
        image = multiscale_of(attributes)
        if image is not None and inside in image.paths:
            return image.describe(header, inside)
    return header
