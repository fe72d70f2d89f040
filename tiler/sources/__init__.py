"""Sources of voxels: files, folders, object stores and arrays, read lazily by region.

A format is a module with a function that turns a path into a `tiler.sources.raw.RawImage`; one line in
`FORMATS` makes it known. It is imported when the first file of that format is opened.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from tiler.errors import SourceError
from tiler.ports import Source, offered
from tiler.sources.consent import Consent
from tiler.sources.elsewhere import foreign_folder, way_out
from tiler.sources.files import PRECOMPUTED, existing, split_image, split_inner
from tiler.sources.raw import RawImage
from tiler.sources.volume import VolumeSource, readable, volume_of
from tiler.stores.address import Address, Place, is_address, names_place, place_of

__all__ = ["FORMATS", "Format", "open_source"]


@dataclass(frozen=True, slots=True)
class Format:
    """A file format: ``"module:function"`` that opens a path, its suffixes, and how to install what it needs."""

    opener: str
    suffixes: tuple[str, ...]
    install: str = ""

    def open(self, source: Any, **options: Any) -> RawImage:
        name = source if names_place(source) else type(source).__name__
        with readable(f"{name} cannot be opened"):  # damaged files raise whatever their first wrong byte leads to
            try:
                raw: RawImage = resolve_name(self.opener)(source, **options)
            except ModuleNotFoundError as error:
                raise SourceError(f"reading {source} needs the package {error.name}: {self.install}") from error
        return raw


class Plugin(Format):
    """A format of another package, whose function takes a path and returns a `tiler.ports.Source`."""

    def open(self, source: Any, **options: Any) -> Any:
        return super().open(source)


ARRAY = Format("tiler.sources.array:open_array", ())
ZARR_ARRAY = Format("tiler.sources.zarr:open_zarr_array", (), "pip install zarr")
ZARR = Format("tiler.sources.zarr:open_zarr", (".zarr",), "pip install zarr")
FOLDER = Format("tiler.sources.folder:open_folder", (), "pip install tifffile imagecodecs")
FORMATS = (
    ZARR,
    Format("tiler.sources.tiff:open_tiff", (".tif", ".tiff", ".btf", ".tf8", ".tf2", ".lsm", ".ome"),
           "pip install tifffile imagecodecs"),
    Format("tiler.sources.hdf5:open_hdf5", (".h5", ".hdf5", ".hdf"), "pip install em-tiler[hdf5]"),
    Format("tiler.sources.imaris:open_imaris", (".ims",), "pip install em-tiler[hdf5]"),
    Format("tiler.sources.npy:open_npy", (".npy",)),
    Format("tiler.sources.mrc:open_mrc", (".mrc", ".rec", ".map", ".st")),
    Format("tiler.sources.digital_micrograph:open_micrograph", (".dm3", ".dm4")),
    Format("tiler.sources.folder:open_image", (".png", ".jpg", ".jpeg", ".bmp"), "pip install imagecodecs"),
)
TENSORSTORE = "pip install 'em-tiler[tensorstore]'"
N5 = Format("tiler.sources.n5:open_n5", (), TENSORSTORE)
PRECOMPUTED_VOLUME = Format("tiler.sources.precomputed:open_precomputed", (), TENSORSTORE)
COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip", ".tar")


def open_source(source: Any, *, axes: str | None = None, channel: str | int | Sequence[int | str] | None = None,
                time: int | None = None, missing: str = "refuse", trust: bool = False) -> Source:
    """Open a volume without reading its voxels.

    Parameters
    ----------
    source
        A path to a TIFF (``file.tif:1`` for one of several images), zarr, HDF5 (``file.h5:/dataset``), Imaris, MRC,
        DM3 or DM4, npy or image file, or to a folder of 2-D images; the address of a zarr on an object store
        (``s3://bucket/volume.zarr``); a dataset of an N5 container (``volume.n5/raw``) or a folder of neuroglancer's
        precomputed format (with a file ``info``, or ``precomputed://folder``); an array (numpy, dask, xarray, zarr,
        or anything with shape, dtype and slicing); or a `tiler.ports.Source`, which is returned as it is.
    axes
        One letter for each axis (``t``, ``c``, ``z``, ``y``, ``x``, ``s`` for the samples of a pixel), which take
        precedence over the file's metadata. Without either, the axes of 2, 3, 4 and 5 dimensions are yx, zyx, czyx
        and tczyx.
    channel
        ``"0"``, ``"0,2"``, a name if the file stores names, ``"all"`` or None for all, or numbers.
    time
        One time point; None folds time into z.
    missing
        ``"refuse"``, or ``"zero"`` to read voxels that are missing from the file as zeros. The identity of the source
        then records this.
    trust
        Whether a file may name other files outside its folder.

    Raises
    ------
    SourceError
        If the source is missing, truncated, empty, of unknown format or not numeric, or has no such axes, channel or
        time; the message is one line.
    """
    found = _found(source, Consent(missing, trust))
    return _as_it_is(found, axes, channel, time) if isinstance(found, Source) else \
        volume_of(found, axes=axes, channel=channel, time=time)


def _found(source: Any, consent: Consent) -> RawImage | Source:
    """Open a path or an address, wrap an array, and return an opened source as it is."""
    if names_place(source):
        return _opened(source, consent)
    if isinstance(source, (VolumeSource, Source)):
        return source
    if all(hasattr(source, name) for name in ("shape", "dtype", "__getitem__")):
        kind = ZARR_ARRAY if type(source).__module__.startswith("zarr.") else ARRAY
        return kind.open(source, consent=consent)
    raise SourceError("a source is a path or an array with shape, dtype and slicing; "
                      f"got {type(source).__name__}")


def _as_it_is(source: Source, *choices: Any) -> Source:
    if choices != (None, None, None):
        raise SourceError("axes, channel and time are chosen when a source is opened; this one is open")
    return source


def _opened(source: str | os.PathLike[str] | Address, consent: Consent) -> RawImage:
    if str(source).startswith(PRECOMPUTED):
        folder = str(source).removeprefix(PRECOMPUTED)
        if is_address(folder):
            raise SourceError(f"{PRECOMPUTED}: volumes of this format are read from local folders: fetch it first")
        return PRECOMPUTED_VOLUME.open(place_of(folder), consent=consent)
    place = place_of(source)
    return _format_of(place).open(place, consent=consent)


def _format_of(place: Place) -> Format:
    if not isinstance(place, Path):
        _check_remote(place)
        return ZARR
    path = existing(split_image(split_inner(place)[0])[0])
    if path.is_dir():
        return _format_of_folder(path)
    suffix = path.suffix.lower()
    for known in FORMATS:
        if suffix in known.suffixes:
            return known
    if suffix.removeprefix(".") in (found := offered("sources")):
        return Plugin(found[suffix.removeprefix(".")], (suffix,))
    if suffix in COMPRESSED:
        raise SourceError(f"{path} is compressed as a whole, so no region of it can be read: decompress it first")
    converter = way_out(path)
    if converter is not None:
        raise SourceError(f"{path}: {suffix} is not read; convert it: {converter}")
    supported = " ".join(suffix for known in FORMATS for suffix in known.suffixes)
    raise SourceError(f"{path}: unknown format {suffix or 'without a suffix'}; "
                      f"known are {supported} and folders of images")


def _check_remote(address: Address) -> None:
    """Files would have to be fetched whole."""
    if address.name.lower().endswith((*COMPRESSED, *(suffix for known in FORMATS[1:] for suffix in known.suffixes))):
        raise SourceError(f"{address}: only zarr is read from object stores: fetch the file first")


def _format_of_folder(path: Path) -> Format:
    if _is_zarr(path):
        return ZARR
    if any(folder.suffix.lower() == ".n5" for folder in (path, *path.absolute().parents)):
        return N5
    if _is_precomputed(path):
        return PRECOMPUTED_VOLUME
    foreign = foreign_folder(path)
    if foreign is not None:
        raise SourceError(foreign)
    return FOLDER


def _is_precomputed(path: Path) -> bool:
    """A folder whose ``info`` names scales, or one of those scales."""
    for info, word in ((path / "info", "scales"), (path.absolute().parent / "info", path.name)):
        if info.is_file() and f'"{word}"'.encode() in info.read_bytes():
            return True
    return False


def _is_zarr(path: Path) -> bool:
    """A folder with zarr's metadata, or named so (then its reader says what is missing)."""
    metadata = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
    return path.suffix.lower() in ZARR.suffixes or any((path / name).exists() for name in metadata)
