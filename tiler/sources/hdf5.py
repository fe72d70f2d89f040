"""HDF5: one dataset of a file, ``file.h5`` or ``file.h5:/volumes/raw``.

Axes and physical sizes come from attributes (`tiler.sources.hdf5_attributes`). Other files that hold voxels are checked
before a run (`tiler.sources.hdf5_elsewhere`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tiler.errors import SourceError, TilerError
from tiler.ports import Array, Json
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.files import existing, files_identity, split_inner
from tiler.sources.hdf5_attributes import header_of
from tiler.sources.hdf5_bounded import check_chunks
from tiler.sources.hdf5_elsewhere import check_external, files_of, not_there
from tiler.sources.raw import Header, Index, Lazy
from tiler.sources.volume import one_line

logger = logging.getLogger(__name__)
CACHE = 64 * 2**20
"""Bytes of decoded chunks that HDF5 keeps: its own default holds less than one chunk of many files."""
MANY = 8  # datasets that a message names


@dataclass(frozen=True, slots=True)
class Hdf5Image:
    """A dataset. Threads take turns: HDF5 is not reentrant, and h5py holds one lock in a process.

    Parameters
    ----------
    header
        Metadata of the dataset.
    path, dataset
        The file, and the name of the dataset in it.
    files
        All files that hold voxels of the dataset, ``path`` first.
    handle
        The open dataset.
    missing
        Description of missing voxels, which are read as the fill value with the user's consent.
    """

    header: Header
    path: Path
    dataset: str
    files: tuple[Path, ...]
    handle: Lazy[Any] = field(repr=False)
    missing: str = ""

    def fetch(self, index: Index) -> Array:
        dataset = self.handle()
        check_chunks(self.header.name, dataset, index)
        return np.asarray(dataset[index])

    def identity(self) -> Json:
        told = {**files_identity(file for file in self.files if file == self.path or file.exists()),
                "kind": "hdf5", "dataset": self.dataset}
        return {**told, "missing": self.missing} if self.missing else told


def open_hdf5(path: Path, consent: Consent = REFUSED) -> Hdf5Image:
    """Open a dataset; reads metadata only.

    Parameters
    ----------
    path
        Path of the file, followed by a colon and the name of the dataset if the file holds several.
    consent
        Whether parts of a virtual dataset whose file is gone are read as its fill value.

    Raises
    ------
    SourceError
        If the file does not exist or is damaged, does not hold that dataset, holds several and none was named, or
        lacks files that hold its voxels.
    """
    file, inner = split_inner(path)
    file = existing(file)
    with _errors(file), opened_file(file) as found:
        name = _chosen(found, f"{file}", inner)
        dataset = found[name]
        _check_filters(f"{file}:{name}", dataset)
        header = header_of(f"{file}:{name}", dataset)
        files = files_of(file, dataset)
        gone = not_there(file, dataset)
        check_external(file, dataset, consent)
        _check_written(f"{file}:{name}", dataset)
    if gone:
        consent.absent(f"{file}:{name}: {gone}", "the fill value of the dataset")
    return Hdf5Image(header, file, name, files, Lazy(partial(_dataset, file, name)), gone)


@contextmanager
def _errors(file: Path) -> Iterator[None]:
    """Convert errors of h5py, which depend on the kind of damage, to one of ours."""
    try:
        yield
    except TilerError:
        raise
    except Exception as error:
        raise SourceError(f"{file} is not a readable HDF5 file: {one_line(error)}") from error


def opened_file(file: Path) -> Any:
    """Open a file to read.

    Raises
    ------
    SourceError
        If it is not an HDF5 file, or is damaged.
    """
    try:
        return h5py.File(file, "r", rdcc_nbytes=CACHE)
    except (OSError, RuntimeError) as error:
        raise SourceError(f"{file} is not a readable HDF5 file: {one_line(error)}") from error


def _dataset(file: Path, name: str) -> Any:
    return opened_file(file)[name]


def _chosen(found: Any, file: str, inner: str | None) -> str:
    """The requested dataset, else the only one."""
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
    """Names of the datasets that could be images, sorted, and their numbers of voxels."""
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
            raise SourceError(f"{name} is compressed by the filter {label.decode(errors='replace') or code}, which is "
                              "not installed: recompress it, as by h5repack -f GZIP=4 OLD NEW")


def _check_written(name: str, dataset: Any) -> None:
    """Warn about a dataset that was created but never written, or of which parts lie in no file."""
    mapped = _mapped(dataset) if dataset.is_virtual else dataset.size
    if 0 <= mapped < dataset.size:
        logger.warning("%s: %d of its %d voxels are in no file: they are read as the fill value %s", name,
                       dataset.size - mapped, dataset.size, dataset.fillvalue)
    if dataset.size and not dataset.is_virtual and not dataset.external and not dataset.id.get_storage_size():
        logger.warning("%s was never written: each of its voxels is the fill value %s", name, dataset.fillvalue)


def _mapped(dataset: Any) -> int:
    """Voxels that the sources of a virtual dataset give; -1 if their number is not limited."""
    made = dataset.id.get_create_plist()
    spaces = [made.get_virtual_vspace(number) for number in range(made.get_virtual_count())]
    if any(h5py.h5s.UNLIMITED in space.get_simple_extent_dims(True) for space in spaces):
        return -1
    return sum(space.get_select_npoints() for space in spaces)
