"""Options of the group Storage: how the voxels of an output lie in its files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from tiler.geometry import Shape
from tiler.options.declaring import Option
from tiler.options.laying_out import Compression, Factors, FillValue, LevelCount, Shard
from tiler.options.parsers import Choice, Sizes

Ngff = Literal["0.5", "0.4"]


class StorageKeywords(TypedDict, total=False):
    """Storage options as the user may give them; each one may be left out."""

    ngff: Annotated[Ngff, Option(
        group="Storage", parse=Choice(Ngff), default="0.5", of_storage=True, of_output=True,
        help="Version of OME-Zarr: 0.5 is zarr 3, 0.4 is zarr 2.")]
    compression: Annotated[str | Sequence[Any], Option(
        group="Storage", parse=Compression(), metavar="NAME[:LEVEL]", example="blosc:7", of_storage=True,
        of_output=True, otherwise="zstd; blosc for OME-Zarr 0.4, gzip for N5",
        help="Compression of the chunks of a zarr or N5: blosc, zstd, gzip or none.")]
    chunk: Annotated[int | str | Sequence[int], Option(
        group="Storage", parse=Sizes(3, auto=False), metavar="SIZE", example="64x128x128", of_storage=True,
        of_output=True, otherwise="powers of two that divide the block where that costs nothing",
        help="Chunks of a zarr, N5, precomputed or HDF5 output; blocks are whole numbers of them.")]
    shard: Annotated[int | str | Sequence[int], Option(
        group="Storage", parse=Shard(), metavar="SIZE|none", example="64x1024x1024", of_storage=True,
        of_output=True, otherwise="none up to 10000 chunks, above that a block; none for precomputed",
        help="Shards, files of whole chunks, of OME-Zarr 0.5 or a precomputed volume; blocks are whole numbers of "
             "them.")]
    fill_value: Annotated[int | float | str, Option(
        group="Storage", parse=FillValue(), metavar="VALUE", example="255", of_storage=True, of_output=True,
        otherwise="0",
        help="Value that a zarr states for chunks that are not stored; tiler stores all chunks.")]
    levels: Annotated[int | str, Option(
        group="Storage", parse=LevelCount(), metavar="N|none", example="5", of_storage=True, of_output=True,
        otherwise="until a plane is at most 512 voxels wide",
        help="Levels of the resolution pyramid, the full one included; none writes the full one alone.")]
    downsample: Annotated[int | str | Sequence[int], Option(
        group="Storage", parse=Factors(), metavar="FACTORS", example="1x2x2", of_storage=True, of_output=True,
        otherwise="2 along y and x, and along z once its voxels are as fine",
        help="Voxels of a level that become one of the next, along z, y, x or along y, x.")]


@dataclass(frozen=True, kw_only=True)
class StorageOptions:
    """Storage options as the engine receives them: parsed, with defaults filled in."""

    ngff: Ngff
    compression: tuple[str, int | None] | None
    chunk: Shape | None
    shard: Shape | Literal["none"] | None
    fill_value: int | float | Literal["nan"] | None
    levels: int | None
    downsample: Shape | None
