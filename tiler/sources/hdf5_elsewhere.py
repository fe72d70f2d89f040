"""Voxels of an HDF5 dataset that lie in other files: sources of virtual datasets, and external storage.

If the source of a virtual dataset is gone or an external file is too short, HDF5 silently reads the fill value.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py

from tiler.errors import SourceError
from tiler.sources.consent import Consent
from tiler.sources.volume import one_line

DEEPEST = 8
"""Largest depth of nested virtual datasets that is followed."""
NAMED = 5
"""Largest number of files that a message names."""


def files_of(file: Path, dataset: Any) -> tuple[Path, ...]:
    """All files that hold voxels of a dataset, the one that was opened first."""
    home = Path(dataset.file.filename).absolute()  # another file where the name is an external link
    return tuple(dict.fromkeys([file, home, *(place for place, _ in _elsewhere(home, dataset, DEEPEST))]))


def not_there(file: Path, dataset: Any) -> str:
    """Describe the files that the dataset refers to and that are missing; empty if none is."""
    home = Path(dataset.file.filename).absolute()
    wrong = dict.fromkeys(f"{place.name} {problem}" for place, problem in _elsewhere(home, dataset, DEEPEST) if problem)
    if not wrong:
        return ""
    more = f" and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    return f"parts of its voxels are in other files: {', '.join([*wrong][:NAMED])}{more}"


def check_external(file: Path, dataset: Any, consent: Consent) -> None:
    """Refuse external raw data that are missing, or outside the folder of the file unless it is trusted.

    Raises
    ------
    SourceError
        If there are such data.
    """
    home = Path(dataset.file.filename).absolute()
    for name, *_ in dataset.external or ():
        consent.outside(home.parent, _found(home, str(name)), str(file))
    if dataset.external:
        gone = not_there(file, dataset)
        if gone:
            raise SourceError(f"{file}: {gone}")


def _elsewhere(home: Path, dataset: Any, depth: int) -> Iterator[tuple[Path, str]]:
    """Files that hold voxels of a dataset, each with its problem (empty if none)."""
    for name, offset, size in dataset.external or ():
        place = _found(home, str(name))
        needed = offset + (size if size < 2**62 else dataset.nbytes)
        yield place, _too_short(place, min(needed, offset + dataset.nbytes))
    if not dataset.is_virtual or depth == 0:
        return
    for source in dataset.virtual_sources():
        for name in _names(source.file_name, dataset):
            if name == ".":
                continue
            place = _found(home, name)
            yield from _of_source(place, source, depth)


def _of_source(place: Path, source: Any, depth: int) -> Iterator[tuple[Path, str]]:
    if not place.is_file():
        yield place, "does not exist"
        return
    try:
        with h5py.File(place, "r") as opened:
            found = opened.get(source.dset_name)
            if "%b" in source.dset_name:
                yield place, ""
            elif not isinstance(found, h5py.Dataset):
                yield place, f"holds no dataset {source.dset_name}"
            else:
                yield place, ""
                yield from _elsewhere(place, found, depth - 1)
    except (OSError, RuntimeError) as error:
        yield place, f"cannot be read ({one_line(error)})"


def _names(pattern: str, dataset: Any) -> list[str]:
    """Files that a source of a virtual dataset names; ``%b`` is the number of a block and matches all that exist."""
    if "%b" not in pattern:
        return [pattern.replace("%%", "%")]
    home, names = Path(dataset.file.filename).absolute(), list[str]()
    while _found(home, pattern.replace("%b", str(len(names)))).is_file():
        names.append(pattern.replace("%b", str(len(names))))
    return names or [pattern.replace("%b", "0")]


def _found(home: Path, name: str) -> Path:
    """Place where HDF5 finds a file: beside the file that names it, else in the working directory."""
    beside = home.parent / name
    there = Path(name).absolute()
    return there if there.exists() and not beside.exists() else beside


def _too_short(place: Path, needed: int) -> str:
    if not place.is_file():
        return "does not exist"
    size = place.stat().st_size
    return "" if size >= needed else f"is truncated: {needed} bytes are needed, it has {size}"
