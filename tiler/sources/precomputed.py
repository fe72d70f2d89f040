"""Neuroglancer's precomputed volumes on a local disk; cloud-volume's, with chunks ``NAME.gz`` or ``NAME.br``, too.

Axes are x, y, z and channels, sizes in nanometres, with the offset of the first voxel. A chunk that does not exist
holds zeros; one that cannot be read is an error.

References
----------
https://github.com/google/neuroglancer/blob/master/src/datasource/precomputed/volume.md
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore

from tiler.errors import SourceError
from tiler.ports import Array, Json
from tiler.sources.consent import REFUSED, Consent
from tiler.sources.files import PRECOMPUTED, existing
from tiler.sources.inflate import inflate
from tiler.sources.raw import Header, Index, Lazy
from tiler.sources.tensorstores import TensorImage, chunk_names, header_of, json_file, opened
from tiler.sources.values import list_of, mappings_of, number_of, offsets_of, sizes_of

logger = logging.getLogger(__name__)

DRIVER, DOCUMENT = "neuroglancer_precomputed", "info"
PACKED = {".gz": "gzip", ".br": "br"}
CHUNK = r"\d+-\d+_\d+-\d+_\d+-\d+"
SLACK = 2**16
"""Bytes that an encoding may add to a chunk."""


@dataclass(frozen=True, slots=True)
class PackedImage:
    """A volume some of whose chunks are files ``NAME.gz`` or ``NAME.br``, which tensorstore does not look for.

    The chunks that a region needs are unpacked into memory, where tensorstore reads them.
    """

    image: TensorImage
    info: Mapping[str, Any] = field(repr=False)

    @property
    def header(self) -> Header:
        return self.image.header

    def fetch(self, index: Index) -> Array:
        context = tensorstore.Context()
        memory = tensorstore.KvStore.open({"driver": "memory", "path": "chunks/"}, context=context).result()
        scale, = self.info["scales"]
        for name in _names(self.header, scale, index):
            content = self._chunk(name)
            if content is not None:
                memory.write(f"{scale['key']}/{name}", content).result()
        store = opened(DRIVER, self.image.folder, DOCUMENT, self.info, context)
        return np.array(store[index].read().result())

    def _chunk(self, name: str) -> bytes | None:
        """The unpacked bytes of a chunk; None if it does not exist."""
        plain = self.image.folder / name
        if plain.exists():
            return plain.read_bytes()
        most = math.prod(self.header.chunk[:3]) * self.header.shape[3] * self.header.dtype.itemsize * 2 + SLACK
        for suffix, kind in PACKED.items():
            packed = self.image.folder / f"{name}{suffix}"
            if packed.exists():
                return inflate(kind, packed.read_bytes(), most)
        return None

    def identity(self) -> Json | None:
        return self.image.identity()


def open_precomputed(path: Path, consent: Consent = REFUSED) -> TensorImage | PackedImage:
    """Open a scale of a precomputed volume: the largest of ``folder``, or ``folder/KEY``.

    Raises
    ------
    SourceError
        If there is no volume, it is damaged, or it has no chunk.
    """
    given = existing(Path(str(path).removeprefix(PRECOMPUTED)))
    folder = given if (given / DOCUMENT).exists() else given.parent
    info = json_file(folder / DOCUMENT)
    scale = _chosen(given, folder, info)
    sound, resolution = _sound(str(given), info, scale)
    handle = Lazy(partial(opened, DRIVER, folder, DOCUMENT, sound))
    store, chunks = handle(), folder / str(scale["key"])
    origin = offsets_of(str(given), "voxel_offset", sound["scales"][0]["voxel_offset"], 3)
    header = header_of(str(given), "xyzc", store, [*resolution, 1.0], ["nanometer"] * 3 + [None],
                       [*(at * size for at, size in zip(origin, resolution, strict=True)), 0.0])
    gone, packed = _looked_for(str(given), chunks, scale, consent)
    image = TensorImage(header, chunks, json.dumps(info, sort_keys=True), handle, gone)
    return PackedImage(image, sound) if packed else image


def _chosen(given: Path, folder: Path, info: Mapping[str, Any]) -> Mapping[str, Any]:
    """The requested scale, else the largest."""
    scales = [scale for scale in mappings_of(info.get("scales")) if isinstance(scale.get("key"), str)]
    keys = [scale["key"] for scale in scales]
    if scales and folder == given:
        largest = max(scales, key=_voxels)
        if largest["key"] != keys[0] and _voxels(largest) > _voxels(scales[0]):
            logger.warning("%s: the scale %s is larger than %s, which is listed first: it is read", given,
                           largest["key"], keys[0])
            return largest
        return scales[0]
    if folder != given and given.name in keys:
        return scales[keys.index(given.name)]
    raise SourceError(f"{given} is no precomputed volume: {folder / DOCUMENT} "
                      + (f"names the scales {', '.join(keys)}" if keys else "names no scales"))


def _voxels(scale: Mapping[str, Any]) -> float:
    return math.prod(number_of(size) or 0.0 for size in list_of(scale.get("size")) or [0])


def _sound(name: str, info: Mapping[str, Any], scale: Mapping[str, Any]) -> tuple[dict[str, Any], list[float]]:
    """The metadata with one scale whose resolution and offset are valid, and that resolution."""
    told = sizes_of(name, "resolution", scale.get("resolution"), [3]) or (None,) * 3
    resolution = [size or 1.0 for size in told]
    offset = [int(at) for at in offsets_of(name, "voxel_offset", scale.get("voxel_offset"), 3) or (0, 0, 0)]
    sound = {**scale, "resolution": resolution, "voxel_offset": offset}
    return {**info, "scales": [sound]}, resolution


def _looked_for(name: str, folder: Path, scale: Mapping[str, Any], consent: Consent) -> tuple[str, bool]:
    """Message about missing chunks (empty if there are chunks), and whether some of them are compressed files."""
    plain = next(chunk_names(folder, CHUNK if scale.get("sharding") is None else r".*\.shard"), None)
    packed = next(chunk_names(folder, f"{CHUNK}\\.(gz|br)"), None)
    if plain is None and packed is None:
        gone = f"{name}: not one chunk of the array is there"
        consent.absent(gone)
        return gone, False
    return "", packed is not None


def _names(header: Header, scale: Mapping[str, Any], index: Index) -> Iterator[str]:
    """Names of the chunks that a region touches: their spans in voxels of the scale."""
    cells = product(*(range(part.start // size, -(-part.stop // size))
                      for part, size in zip(index[:3], header.chunk[:3], strict=True)))
    for cell in cells:
        spans = ((at + n * size, at + min((n + 1) * size, length)) for n, size, length, at in
                 zip(cell, header.chunk[:3], header.shape[:3], scale["voxel_offset"], strict=True))
        yield "_".join(f"{start}-{stop}" for start, stop in spans)
