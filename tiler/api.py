"""The door of the package: names, paths and arrays in; a result, a plan or a report out."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from tiler.opening import open_all
from tiler.options import Options
from tiler.plans import Plan
from tiler.ports import Array, Listener, Source
from tiler.resuming import Intent
from tiler.run import Silent
from tiler.session import Request, run_in_memory, run_to_file
from tiler.sources import open_source
from tiler.verifying import CheckReport, verify


def open_volume(source: Any, *, axes: str | None = None, channel: Any = None, time: int | None = None) -> Source:
    """A volume that is read by region: ``shape`` (c, z, y, x), ``dtype``, ``read(box)``.

    Parameters
    ----------
    source
        Path of a TIFF, zarr, ``.npy`` or folder of images; a numpy or dask array, or anything with shape,
        dtype and slicing.
    axes
        Names of its axes, where it does not say or says it wrong.
    channel, time
        Channels to keep, time point to choose.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    return open_source(source, axes=axes, channel=channel, time=time)


def plan(source: Any, model: Any, *, trust: bool = False, **options: Any) -> Plan:
    """What `segment` with the same arguments would do. Reads no voxel.

    Raises
    ------
    PlanError
        If it cannot be done.
    """
    return open_all(source, model, Options(**options), trust).plan()


def check(output: str | Path, *, source: Any = None, model: Any = None, trust: bool = False,
          windows: int = 8, seed: int = 0) -> CheckReport:
    """Verify an output: every block against its checksum, and sampled windows with other tiles.

    Parameters
    ----------
    output
        Written by `segment`, its journal beside it.
    source, model
        Where they are now; by default where they were.
    trust
        As for `segment`.
    windows
        How many windows to compute again; 0 verifies checksums alone.
    seed
        Which windows.

    Raises
    ------
    JournalError
        If there is no journal, or it is damaged.
    """
    return verify(Path(output), source, model, trust, windows, seed)


def segment(  # noqa: PLR0913  the door of the package
    source: Any,
    model: Any,
    output: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    same_input: bool = False,
    trust: bool = False,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
    **options: Any,
) -> Array | Path:
    """Segment a volume as if all of it had gone through the network at once.

    Parameters
    ----------
    source
        As for `open_volume`.
    model
        Name of a registered model, ``package.module:factory``, ``file.py:factory``, a TorchScript file, a
        ``torch.nn.Module`` or a `tiler.ports.Predictor`.
    output
        ``.zarr``, ``.tif`` or ``.npy`` to write; None returns the array.
    resume, overwrite
        What to do with an output that is already there: go on, or start anew.
    verify
        When going on, read the finished blocks again and recompute those that are damaged.
    same_input
        When going on, accept an input of another path or date whose sampled blocks give the same result.
    trust
        Whether TorchScript files, which are programs, may be run.
    listener
        Hears of progress and warnings.
    stop
        Set it from another thread or a signal handler to stop between two blocks.
    **options
        Fields of `tiler.options.Options`: tile, block, batch, memory, roi, kind, ...

    Returns
    -------
    numpy.ndarray or pathlib.Path
        The array, with the input's axes and a leading c where there are several channels; or the output's path.

    Raises
    ------
    TilerError
        In one line; what is finished by then can be resumed.
    """
    intent = Intent(resume, overwrite, verify, same_input)
    request = Request(source, model, Options(**options), intent, trust)
    listener, stop = listener or Silent(), stop or threading.Event()
    if output is None:
        return run_in_memory(request, listener, stop)
    run_to_file(request, Path(output), listener, stop)
    return Path(output)
