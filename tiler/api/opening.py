"""Volumes and models, opened for several calls."""

from __future__ import annotations

from typing import Unpack, overload

from tiler.api.types import Model, Output, Volume
from tiler.opening import OpenedModel
from tiler.opening import open_model as opened_once
from tiler.options import Keywords, Options
from tiler.options.documents import documented
from tiler.ports import ArrayLike, Source
from tiler.sources import open_source
from tiler.sources.axes import Channels
from tiler.sources.volume import VolumeSource


@overload
def open_volume(source: Output | ArrayLike, *, axes: str | None = None, channel: Channels = None,
                time: int | None = None, missing: str = "refuse", trust: bool = False) -> VolumeSource: ...
@overload
def open_volume(source: Source, *, axes: str | None = None, channel: Channels = None,
                time: int | None = None, missing: str = "refuse", trust: bool = False) -> Source: ...
def open_volume(source: Volume, *, axes: str | None = None, channel: Channels = None,
                time: int | None = None, missing: str = "refuse", trust: bool = False) -> Source:
    """Open a volume that is read by region: ``shape`` (c, z, y, x), ``dtype``, ``read(box)``.

    It can be sliced like an array, ``volume[0, 3:8, :512, :512]``, and ``numpy.asarray`` reads all of it.

    Parameters
    ----------
    source
        Path of a TIFF, zarr, ``.npy`` or folder of images, or address of a zarr on an object store
        (``s3://``, ``gs://``, ``https://``); a numpy or dask array, or anything with shape,
        dtype and slicing.
    axes
        Names of its axes, if its metadata lack them or are wrong.
    channel, time
        Channels to keep, time point to choose.
    missing
        ``"zero"`` to read voxels that are missing from a file as zeros.
    trust
        Whether a file may name other files outside its folder.

    Returns
    -------
    tiler.ports.Source
        Opened, but not read.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    return open_source(source, axes=axes, channel=channel, time=time, missing=missing, trust=trust)


@documented
def open_model(model: Model, *, source: Volume | None = None, trust: bool = False,
               **options: Unpack[Keywords]) -> OpenedModel:
    """Open a model once, for several calls of `segment`, `plan` or `lazy`.

    Parameters
    ----------
    model, trust
        As for `segment`.
    source
        A volume like those that will be segmented: ``average="rot7"`` needs its size, and ``rescale="auto"`` the size
        of its voxels.
    **options
        Those of the options below that belong to a model:

    {options of models}

    Returns
    -------
    tiler.opening.OpenedModel
        Pass it as ``model``. Its files are not read again.

    Raises
    ------
    TilerError
        If the model cannot be opened, or an option belongs to a segmentation.
    """
    return opened_once(model, Options(**options), trust, source)
