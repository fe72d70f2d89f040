"""N5 and neuroglancer's precomputed volumes on a local disk, read by tensorstore.

Both name their axes from the fastest on: x, y, z, then channels. N5 keeps physical sizes in ``resolution`` and
``units``, or in ``pixelResolution`` (of the dataset, or of the group whose level ``s0``, ``s1``, ... it is);
precomputed volumes in nanometres, with the offset of the first voxel. A chunk that does not exist holds zeros in both
formats; one that cannot be read is an error.

References
----------
https://github.com/saalfeldlab/n5#file-system-specification,
https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/volume.md
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.files import PRECOMPUTED, existing
from tiler.sources.raw import Header, Index, Lazy
from tiler.sources.volume import one_line
from tiler.sources.zarr_places import listing_hash

UNITS = {"pm": "picometer", "nm": "nanometer", "um": "micrometer", "µm": "micrometer", "mm": "millimeter",
         "m": "meter"}
MANY = 8  # datasets that a message names


@dataclass(frozen=True, slots=True)
class TensorImage:
    """A volume that tensorstore reads; its first voxel is at the origin."""

    header: Header
    folder: Path
    metadata: str
    handle: Lazy[Any] = field(repr=False)

    def fetch(self, index: Index) -> Array:
        return np.array(self.handle()[index].read().result())

    def identity(self) -> Json:
        """The metadata, and a hash of the names, sizes and times of the chunks."""
        return {"kind": "tensorstore", "path": str(self.folder), "metadata": self.metadata,
                "listing": listing_hash(self.folder)}


def open_n5(path: Path, consent: Consent = REFUSED) -> TensorImage:
    """A dataset of an N5 container, ``volume.n5/dataset``; of a group of levels the finest.

    Raises
    ------
    SourceError
        If there is none, or it is damaged.
    """
    folder = existing(path)
    if not _dimensions(folder) and _dimensions(folder / "s0"):
        folder = folder / "s0"
    sizes = _dimensions(folder)
    if not sizes:
        raise SourceError(f"{path} is no N5 dataset: {_datasets(path)}")
    handle = Lazy(partial(_opened, "n5", folder, 0))
    store = handle()
    attributes = _attributes(folder)
    axes = _letters(attributes.get("axes"), len(sizes))
    scale, units = _n5_sizes(attributes, _attributes(folder.parent))
    header = _header(f"{path}", axes, store, scale, units, [0.0] * len(sizes))
    return TensorImage(header, folder, json.dumps(attributes, sort_keys=True), handle)


def open_precomputed(path: Path, consent: Consent = REFUSED) -> TensorImage:
    """A scale of a precomputed volume: the finest of ``folder``, or ``folder/KEY``.

    Raises
    ------
    SourceError
        If there is none, or it is damaged.
    """
    given = existing(Path(str(path).removeprefix(PRECOMPUTED)))
    folder = given if (given / "info").exists() else given.parent
    info = _json(folder / "info")
    keys = [str(scale.get("key")) for scale in info.get("scales", ())]
    wanted = keys[0] if folder == given and keys else given.name
    if wanted not in keys:
        raise SourceError(f"{given} is no precomputed volume: {folder / 'info'} "
                          + (f"names the scales {', '.join(keys)}" if keys else "names no scales"))
    place = keys.index(wanted)
    handle = Lazy(partial(_opened, "neuroglancer_precomputed", folder, place))
    store, scale = handle(), info["scales"][place]
    resolution = [float(size) for size in scale["resolution"]]
    offset = [at * size for at, size in zip(scale.get("voxel_offset", (0, 0, 0)), resolution, strict=True)]
    header = _header(str(given), "xyzc", store, [*resolution, 1.0], ["nanometer"] * 3 + [None], [*offset, 0.0])
    return TensorImage(header, folder / wanted, json.dumps(info, sort_keys=True), handle)


def _opened(driver: str, folder: Path, place: int) -> Any:
    spec: dict[str, Any] = {"driver": driver, "kvstore": {"driver": "file", "path": f"{folder}/"}}
    if driver != "n5":
        spec["scale_index"] = place
    try:
        store = tensorstore.open(spec, open=True, read=True).result()
    except (ValueError, OSError) as error:
        raise SourceError(f"{folder} cannot be read: {_first(error)}") from error
    return store[tensorstore.d[:].translate_to[0]]


def _first(error: Exception) -> str:
    """Without tensorstore's account of its own settings."""
    return one_line(error).split(" [", maxsplit=1)[0]


def _header(name: str, axes: str, store: Any, scale: list[float], units: list[str | None],
            offset: list[float]) -> Header:
    return Header(name, axes, tuple(store.shape), np.dtype(store.dtype.numpy_dtype),
                  tuple(store.chunk_layout.read_chunk.shape), tuple(scale), tuple(units), tuple(offset))


def _json(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(f"{file} cannot be read: {one_line(error)}") from error
    if not isinstance(found, dict):
        raise SourceError(f"{file} makes no sense: it holds no JSON object")
    return found


def _attributes(folder: Path) -> Mapping[str, Any]:
    file = folder / "attributes.json"
    return _json(file) if file.exists() else {}


def _dimensions(folder: Path) -> list[int]:
    return list(_attributes(folder).get("dimensions", ()))


def _datasets(path: Path) -> str:
    """What could have been meant."""
    below = sorted(str(file.parent) for file in path.rglob("attributes.json") if _dimensions(file.parent))
    if not below:
        return "there is none below it"
    more = f" and {len(below) - MANY} more" if len(below) > MANY else ""
    return f"give one of {', '.join(below[:MANY])}{more}"


def _letters(named: Any, ndim: int) -> str:
    """One letter an axis; where the dataset does not tell them, the order that N5 is written in."""
    letters = "".join(str(axis).lower() for axis in named or ())
    return letters if len(letters) == ndim else "xyzct"[:ndim]


def _n5_sizes(own: Mapping[str, Any], group: Mapping[str, Any]) -> tuple[list[float], list[str | None]]:
    """Of the dataset, else of the group whose level it is."""
    ndim = len(own["dimensions"])
    for told, factors in ((own, ()), (group, own.get("downsamplingFactors", ()))):
        pixel = told.get("pixelResolution", {})
        sizes = told.get("resolution") or (pixel.get("dimensions") if isinstance(pixel, dict) else pixel)
        if sizes and len(sizes) in (ndim, 3):
            units = told.get("units") or [pixel.get("unit") if isinstance(pixel, dict) else None] * len(sizes)
            steps = [float(size) * factor for size, factor in
                     zip(sizes, factors or [1] * len(sizes), strict=True)]
            missing = ndim - len(steps)
            return [*steps, *[1.0] * missing], [*[UNITS.get(str(unit)) for unit in units], *[None] * missing]
    return [1.0] * ndim, [None] * ndim
