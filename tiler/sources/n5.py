"""N5: a dataset of a container on a local disk, ``volume.n5/dataset``; of a group of levels the largest.

Axes are named from the fastest on: x, y, z, then channels. Physical sizes stand in ``resolution`` and ``units``, or in
``pixelResolution`` (of the dataset, or of the group whose level ``s0``, ``s1``, ... it is). A chunk that does not exist
holds zeros; one that cannot be read is an error.

References
----------
https://github.com/saalfeldlab/n5#file-system-specification
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from tiler.errors import SourceError
from tiler.ports.units import unit_of
from tiler.sources.axes import letter_of
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.files import existing
from tiler.sources.n5_chunks import N5Image
from tiler.sources.raw import Lazy
from tiler.sources.tensorstores import TensorImage, chunk_names, header_of, json_file, opened
from tiler.sources.values import list_of, mapping_of, sizes_of, unusable

NEEDED = ("dimensions", "blockSize", "dataType", "compression", "compressionType")
"""Attributes that reading needs."""
MANY = 8  # most datasets that a message names


def open_n5(path: Path, consent: Consent = REFUSED) -> N5Image:
    """Open a dataset of an N5 container, or the largest level of a group.

    Raises
    ------
    SourceError
        If there is no dataset, it is damaged, or it has no chunk.
    """
    folder = existing(path)
    if not _dimensions(folder) and _dimensions(folder / "s0"):
        folder = folder / "s0"
    if not _dimensions(folder):
        raise SourceError(f"{path} is no N5 dataset: {_datasets(path)}")
    attributes = _attributes(folder)
    handle = Lazy(partial(_opened, folder))
    store = handle()
    axes = _letters(str(path), attributes.get("axes"), store.rank)
    scale, units = _sizes(str(path), attributes, _attributes(folder.parent), store.rank)
    header = header_of(f"{path}", axes, store, scale, units, [0.0] * store.rank)
    gone = ""
    if next(chunk_names(folder, r"\d+(/\d+)*"), None) is None:
        gone = f"{path}: not one chunk of the array is there"
        consent.absent(gone)
    return N5Image(TensorImage(header, folder, json.dumps(attributes, sort_keys=True), handle, gone), attributes)


def _opened(folder: Path) -> Any:
    attributes = _attributes(folder)
    return opened("n5", folder, "attributes.json", {key: attributes[key] for key in NEEDED if key in attributes})


def _attributes(folder: Path) -> Mapping[str, Any]:
    file = folder / "attributes.json"
    return json_file(file) if file.exists() else {}


def _dimensions(folder: Path) -> list[Any]:
    return list_of(_attributes(folder).get("dimensions")) or []


def _datasets(path: Path) -> str:
    """Advice that names the datasets below a folder."""
    below = sorted(str(file.parent) for file in path.rglob("attributes.json") if _dimensions(file.parent))
    if not below:
        return "there is none below it"
    more = f" and {len(below) - MANY} more" if len(below) > MANY else ""
    return f"give one of {', '.join(below[:MANY])}{more}"


def _letters(name: str, told: Any, ndim: int) -> str:
    """One letter per axis; if the dataset does not name its axes, the usual order of N5."""
    letters = [letter_of(axis) for axis in list_of(told) or ()]
    known = [letter for letter in letters if letter]
    if len(known) == len(letters) == ndim == len(set(known)):
        return "".join(known)
    if told is not None:
        unusable(name, "axes", told, f"the names of {ndim} axes")
    return "xyzct"[:ndim]


def _sizes(name: str, own: Mapping[str, Any], group: Mapping[str, Any],
           ndim: int) -> tuple[list[float], list[str | None]]:
    """Scale and units of the dataset, else of the group of which it is a level."""
    for told, factors in ((own, ()), (group, list_of(own.get("downsamplingFactors")) or ())):
        pixel = told.get("pixelResolution")
        values = told.get("resolution") or mapping_of(pixel).get("dimensions") or list_of(pixel)
        scale = sizes_of(name, "resolution", values, {3, ndim} if ndim > 3 else {ndim})
        if any(scale):
            count, missing = len(scale), ndim - len(scale)
            steps = sizes_of(name, "downsamplingFactors", factors or [1] * count, [count]) or (1.0,) * count
            return ([(size or 1.0) * (step or 1.0) for size, step in zip(scale, steps, strict=True)] + [1.0] * missing,
                    _units(told, mapping_of(pixel).get("unit"), len(scale)) + [None] * missing)
    return [1.0] * ndim, [None] * ndim


def _units(told: Mapping[str, Any], pixel: Any, count: int) -> list[str | None]:
    """One unit per axis, from a list of that length, or a single unit for all axes."""
    units = told.get("units")
    each = list_of(units)
    if each is not None and len(each) == count:
        return [unit_of(unit) for unit in each]
    return [unit_of(units if isinstance(units, str) else each[0] if each else pixel)] * count
