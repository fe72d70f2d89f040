"""Segmentation: a plan, a result, a lazy result, a check."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Unpack, overload

from tiler.api.types import Model, Output, RunKeywords, Volume
from tiler.checking.verify import CheckReport, Moved, verify
from tiler.errors import PlanError
from tiler.options import Keywords, Options
from tiler.options.documents import documented
from tiler.planning.plan import Plan
from tiler.ports import Array, Listener, Sink
from tiler.running.bars import heard_by
from tiler.running.output import output_of
from tiler.running.output_state import Intent
from tiler.running.own_sink import run_to_sink
from tiler.running.parts.start import is_shared, run_shared
from tiler.running.perform import Silent
from tiler.running.start import Request, opened_for, opened_in_memory, run_in_memory, run_to_file
from tiler.stores.address import Place

if TYPE_CHECKING:
    import dask.array as da

    from tiler.report.preview import Preview


def plan(source: Volume, model: Model, output: Output | None = None, *, trust: bool = False,
         **options: Unpack[Keywords]) -> Plan:
    """Plan what `segment` would do with the same arguments, and refuse what it would refuse.

    It does not read the volume: only an image of three or four channels is sampled (64 x 64 voxels), to see whether it
    is grey.

    Parameters
    ----------
    source, model, trust, **options
        As for `segment`.
    output
        As for `segment`; the plan then also says how much disk space it takes.

    Returns
    -------
    tiler.planning.plan.Plan
        ``print(plan)`` shows it as a table.

    Raises
    ------
    TilerError
        If it cannot be done.
    """
    request = Request(source, model, Options(**options), Intent(), trust)
    return (opened_in_memory(request) if output is None else opened_for(request, output_of(output)))[1]


def check(output: Output, *, source: Volume | None = None, model: Model | None = None, mask: Volume | None = None,
          trust: bool = False, windows: int = 8, seed: int = 0) -> CheckReport:
    """Verify an output: every block against its checksum, and sampled windows with other tiles.

    Parameters
    ----------
    output
        Written by `segment`, with its journal beside it.
    source, model, mask
        Their present places; by default those of the run. A mask that was an array has to be given.
    trust
        As for `segment`.
    windows
        Number of windows to compute again; 0 verifies only the checksums.
    seed
        Seed of the random choice of windows.

    Raises
    ------
    SinkError
        If there is no output, or its mask was an array and is not given.
    JournalError
        If there is no journal, or it is damaged.
    PlanChangedError
        If source, model or mask are not those of the run.
    """
    return verify(output_of(output), Moved(source, model, mask), trust, windows, seed)


@overload
def segment(source: Volume, model: Model, output: None = None, **options: Unpack[RunKeywords]) -> Array: ...
@overload
def segment(source: Volume, model: Model, output: Output, **options: Unpack[RunKeywords]) -> Place: ...
@overload
def segment(source: Volume, model: Model, output: Sink, **options: Unpack[RunKeywords]) -> Sink: ...
@documented
def segment(  # noqa: PLR0913  each keyword says one thing
    source: Volume,
    model: Model,
    output: Output | Sink | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    verify: bool = False,
    same_input: bool = False,
    trust: bool = False,
    progress: bool = False,
    listener: Listener | None = None,
    stop: threading.Event | None = None,
    **options: Unpack[Keywords],
) -> Array | Place | Sink:
    """Segment a volume as if all of it had gone through the network at once.

    Parameters
    ----------
    source
        As for `open_volume`.
    model
        Name of a registered model, ``package.module:factory``, ``file.py:factory``, a model file, a
        ``torch.nn.Module``, a `tiler.ports.Predictor`, or what `open_model` returned.
    output
        ``.zarr``, ``.tif`` or ``.npy`` to write, ``s3://bucket/key.zarr``, or a `tiler.ports.Sink`; None returns the
        array.
    resume, overwrite
        What to do with an existing output: continue it, or start again.
    verify
        When resuming, read the finished blocks again and recompute damaged ones.
    same_input
        When resuming, accept an input or a mask with another path or date if sampled blocks give the same result.
    trust
        Whether code inside a model file may be run.
    progress
        Whether to show a bar, in a terminal or a notebook.
    listener
        Receives progress and warnings.
    stop
        Set it from another thread or a signal handler to stop between two blocks.
    **options
        Any of these:

    {options}

    Returns
    -------
    numpy.ndarray, pathlib.Path, tiler.stores.address.Address or tiler.ports.Sink
        The array, with the input's axes and a leading c where there are several channels; or the output.

    Raises
    ------
    TilerError
        In one line; what is finished by then can be resumed.
    """
    intent = Intent(resume, overwrite, verify, same_input)
    request = Request(source, model, Options(**options), intent, trust)
    stop = stop or threading.Event()
    with heard_by(listener, progress) as hearing:
        if output is None:
            return run_in_memory(request, hearing, stop)
        if isinstance(output, Sink):
            return run_to_sink(request, output, hearing, stop)
        wanted = output_of(output)
        run = run_shared if is_shared(request.options) else run_to_file
        run(request, wanted, hearing, stop)
        return wanted.place


def preview(source: Volume, model: Model, output: str | Path | None = None, *, overwrite: bool = False,
            trust: bool = False, listener: Listener | None = None, stop: threading.Event | None = None,
            **options: Unpack[Keywords]) -> Preview:
    """Segment a window in the middle of a volume, and estimate how long the whole would take.

    Parameters
    ----------
    source, model, trust, **options
        As for `segment`. The window lies in the middle of ``roi``.
    output
        PNG to write: image, probability and objects beside each other; None for none.
    overwrite
        Whether a file that is no preview may be replaced.
    listener
        Receives progress.
    stop
        Set it from another thread or a signal handler to stop between two blocks.

    Returns
    -------
    tiler.report.preview.Preview
        ``image``, ``values``, ``objects``, ``count``, ``seconds``, ``expected_seconds``.

    Raises
    ------
    TilerError
        In one line.
    """
    from tiler.report.preview import check_picture, write_picture
    from tiler.running.preview import preview_of

    if output is not None:
        check_picture(Path(output), overwrite)
    request = Request(source, model, Options(**options), Intent(), trust)
    found = preview_of(request, listener or Silent(), stop or threading.Event())
    if output is not None:
        write_picture(found, Path(output))
    return found


def lazy(source: Volume, model: Model, *, trust: bool = False, **options: Unpack[Keywords]) -> da.Array:
    """Return the result of `segment` as a dask array that computes each chunk when it is needed.

    Parameters
    ----------
    source
        As for `open_volume`. The chunks of a dask array become dependencies, so that only the chunks around
        the requested region are computed.
    model, trust
        As for `segment`.
    **options
        Options of `segment` that change the result, and ``tile``, ``block``, ``batch``, ``memory``.
        A block is a chunk of the result; by default whole chunks of a dask source.

    Returns
    -------
    dask.array.Array
        With the axes and the type that `segment` would return, and the same values.

    Raises
    ------
    PlanError
        If it cannot be done, or dask is not installed.

    Notes
    -----
    Each process runs one block at a time through the network while its other threads read, one window each.
    """
    try:
        from tiler.running.lazy_array import lazy_result
    except ModuleNotFoundError as error:
        raise PlanError(f"tiler.lazy needs the package {error.name}: pip install 'em-tiler[dask]'") from error
    return lazy_result(source, model, Options(**options), trust)
