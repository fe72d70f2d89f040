"""HDF5: one dataset of a file, ``file.h5`` or ``file.h5:/volumes/raw``.

Axes come from vigra's ``axistags`` (ilastik) or the labels of the dimensions, physical sizes from ``resolution``
and ``offset`` in nanometres (CREMI, https://cremi.org/data/) or ``element_size_um`` (ilastik, Fiji).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.sources.axes import CANONICAL, UNKNOWN
from tiler.sources.files import existing, file_identity, split_inner
from tiler.sources.raw import Header, Index, Lazy, unknown_axes
from tiler.sources.volume import one_line

CACHE = 64 * 2**20
"""Bytes of decoded chunks that HDF5 keeps: its own default holds less than one chunk of many files."""
MANY = 8  # datasets that a message names


@dataclass(frozen=True, slots=True)
class Hdf5Image:
    """A dataset. Threads take turns: HDF5 is not reentrant, and h5py holds one lock in a process."""

    header: Header
    path: Path
    dataset: str
    handle: Lazy[Any] = field(repr=False)

    def fetch(self, index: Index) -> Array:
        return np.asarray(self.handle()[index])

    def identity(self) -> Json:
        return {**file_identity(self.path), "kind": "hdf5", "dataset": self.dataset}


def open_hdf5(path: Path, missing: str = "refuse") -> Hdf5Image:
    """Open a dataset; reads metadata only.

    Parameters
    ----------
    path
        Of a file, with a colon and the dataset's name after it where it holds several.

    Raises
    ------
    SourceError
        If the file is missing or damaged, does not hold that dataset, or several and none was named.
    """
    file, inner = split_inner(path)
    file = existing(file)
    with opened_file(file) as found:
        name = _chosen(found, f"{file}", inner)
        dataset = found[name]
        _check_filters(f"{file}:{name}", dataset)
        header = _header(f"{file}:{name}", dataset)
    return Hdf5Image(header, file, name, Lazy(partial(_dataset, file, name)))


def opened_file(file: Path) -> Any:
    """Open a file to read.

    Raises
    ------
    SourceError
        If it is no HDF5 file, or damaged.
    """
    try:
        return h5py.File(file, "r", rdcc_nbytes=CACHE)
    except OSError as error:
        raise SourceError(f"{file} is not a readable HDF5 file: {one_line(error)}") from error


def _dataset(file: Path, name: str) -> Any:
    return opened_file(file)[name]


def _chosen(found: Any, file: str, inner: str | None) -> str:
    """The dataset that was asked for, else the only one."""
    if inner is not None and isinstance(found.get(inner), h5py.Dataset):
        return f"/{inner}"
    images = _images(found)
    if inner is None and len(images) == 1:
        return next(iter(images))
    if not images:
        raise SourceError(f"{file} holds no dataset of at least two dimensions")
    names = ", ".join([*images][:MANY]) + (f" and {len(images) - MANY} more" if len(images) > MANY else "")
    wrong = f"holds no dataset /{inner}" if inner is not None else f"holds {len(images)} datasets"
    raise SourceError(f"{file} {wrong}: give one of {names}, "
                      f"as in {file}:{max(images, key=lambda name: images[name])}")


def _images(found: Any) -> dict[str, int]:
    """Names of the datasets that could be images, in the order of the names, and how many voxels each has."""
    sizes: dict[str, int] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset) and len(node.shape or ()) > 1:
            sizes[f"/{name}"] = node.size

    found.visititems(visit)
    return sizes


def _check_filters(name: str, dataset: Any) -> None:
    """Refuse now what would fail at the first voxel."""
    stored = dataset.id.get_create_plist()
    for number in range(stored.get_nfilters()):
        code, _, _, label = stored.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            raise SourceError(f"{name} is compressed by the filter {label.decode() or code}, which is not installed: "
                              "recompress it, as by h5repack -f GZIP=4 OLD NEW")


def _header(name: str, dataset: Any) -> Header:
    attributes = dict(dataset.attrs)
    axes = _axes(attributes, dataset)
    scale, units, offset = _sizes(attributes, len(dataset.shape))
    if scale and UNKNOWN in axes and len(scale) > 2:
        axes = axes[:-len(scale)] + "zyx"
    plain = Header.plain(name=name, shape=tuple(dataset.shape), dtype=dataset.dtype, axes=axes, chunk=dataset.chunks)
    space = [axis for axis in axes if axis in "zyx"]
    if len(space) == len(scale):
        plain = _placed(plain, dict(zip(space, zip(scale, units, offset, strict=True), strict=True)))
    if "time_interval" in attributes and "t" in axes:
        plain = _placed(plain, {"t": (float(attributes["time_interval"]), "second", 0.0)})
    names = attributes.get("channel_names", ())
    return replace(plain, channels=tuple(str(name) for name in np.atleast_1d(names)))


def _axes(attributes: Mapping[str, Any], dataset: Any) -> str:
    """One letter an axis, where the file tells them all."""
    tags = attributes.get("axistags")
    if tags is not None:
        letters = [str(axis.get("key", UNKNOWN)) for axis in json.loads(tags).get("axes", ())]
    else:
        letters = [dimension.label.lower() for dimension in dataset.dims]
    known = len(letters) == len(dataset.shape) and all(len(axis) == 1 and axis in CANONICAL for axis in letters)
    return "".join(letters) if known else unknown_axes(len(dataset.shape))


def _sizes(attributes: Mapping[str, Any], ndim: int) -> tuple[list[float], list[str], list[float]]:
    """Scale, unit and offset of z, y and x, or of y and x; nothing where the file does not tell them."""
    for name, unit in (("resolution", "nanometer"), ("element_size_um", "micrometer")):
        scale = np.atleast_1d(attributes.get(name, ())).astype(float).tolist()
        if len(scale) in (2, 3) and len(scale) <= ndim and min(scale) > 0:
            offset = np.atleast_1d(attributes.get("offset", ())).astype(float).tolist()
            offset = offset if name == "resolution" and len(offset) == len(scale) else [0.0] * len(scale)
            return scale, [unit] * len(scale), offset
    return [], [], []


def _placed(header: Header, known: Mapping[str, tuple[float, str, float]]) -> Header:
    """The header with scale, unit and offset of some axes."""
    steps = [known.get(axis, (header.scale[i], header.units[i], header.offset[i]))
             for i, axis in enumerate(header.axes)]
    scale, units, offset = zip(*steps, strict=True)
    return replace(header, scale=scale, units=units, offset=offset)
