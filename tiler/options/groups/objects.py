"""Options of the group Objects: how instances are made of a network's output."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

from tiler.options.declaring import AutoType, Option
from tiler.options.parsers import Among, Choice, Flag, NewFile, Real, Whole

Split = Literal["none", "watershed"]
Seeds = Literal["distance", "probability"]


class ObjectsKeywords(TypedDict, total=False):
    """Object options as the user may give them; each one may be left out."""

    min_size: Annotated[int, Option(
        group="Objects", parse=Whole(0), default=0, of_output=True, brief="smallest object in voxels, for example 30",
        help="Size of the smallest instance in voxels.")]
    connectivity: Annotated[int, Option(
        group="Objects", parse=Among((4, 8, 6, 18, 26)), of_output=True,
        help="Voxels that touch: 4 or 8 in the same section, so that each section has instances of its own; 6, 18 or "
             "26 through the volume.",
        otherwise="6 for networks of volumes, 4 for networks of slices")]
    threshold: Annotated[float | str | AutoType, Option(
        group="Objects", parse=Real(0, 1, auto=True), metavar="T|auto", example="0.6", of_output=True, of_model=True,
        brief="probability of an object, for example 0.6",
        help="Instances, or a mask, are where the probability is above this, of the second of two classes or of "
             "the one in `classes`; auto is the value that scored best when the weights were chosen, if they state it.",
        otherwise="where a class other than the first is the most likely one")]
    fill_holes: Annotated[bool, Option(
        group="Objects", parse=Flag(), default=False, of_output=True, otherwise="holes stay",
        help="Fill background that has no way to the border of its section, or of the volume.")]
    split: Annotated[Split, Option(
        group="Objects", parse=Choice(Split), default="none", of_output=True, of_model=True,
        brief="watershed splits objects that touch",
        help="Split instances that touch: watershed floods each from its seeds.")]
    seeds: Annotated[Seeds, Option(
        group="Objects", parse=Choice(Seeds), default="distance", of_output=True, of_model=True,
        help="With `split=watershed`: seeds are peaks of the distance to the outside, or of the probability.")]
    seed_height: Annotated[float, Option(
        group="Objects", parse=Real(1e-3), metavar="H", example="2", of_output=True,
        help="With `split=watershed`: how far one has to descend from a peak to reach a higher one.",
        otherwise="1 voxel, or a probability of 0.1")]
    split_limit: Annotated[int, Option(
        group="Objects", parse=Whole(1), default=2**24, metavar="N", of_output=True,
        help="With `split=watershed`: instances whose bounding box holds more voxels stay whole. Splitting takes "
             "120 bytes of memory for each of these voxels.")]
    grow: Annotated[int, Option(
        group="Objects", parse=Whole(0, 64), default=0, metavar="N", of_output=True,
        help="Voxels along x by which instances grow into the background around them.")]
    link: Annotated[float, Option(
        group="Objects", parse=Real(0, 1), metavar="OVERLAP", example="0.25", of_output=True,
        brief="join sections that overlap, for example 0.25",
        help="Join instances of a section and the next that overlap each other most, from this intersection over "
             "union on. Needs 4 or 8 as connectivity.",
        otherwise="sections stay apart")]
    table: Annotated[str | os.PathLike[str], Option(
        group="Objects", parse=NewFile(), metavar="FILE", example="cells.csv", of_output=True,
        help="Write a row for each instance to this .csv or .parquet file, as `tiler measure` does: size, place, "
             "sections, and the probability inside where instances are cut from one (`threshold`). For several "
             "inputs a name with {stem}.",
        otherwise="no table")]
    outlines: Annotated[str | os.PathLike[str], Option(
        group="Objects", parse=NewFile(), metavar="FILE.zip", example="rois.zip", of_output=True,
        help="Write the outline of each instance in each section to this zip for ImageJ's ROI manager. Sections have "
             "at most 32767 pixels along y and x; holes are not outlined. For several inputs a name with {stem}.",
        otherwise="no outlines")]


@dataclass(frozen=True, kw_only=True)
class ObjectsOptions:
    """Object options as the engine receives them: parsed, with defaults filled in."""

    min_size: int
    connectivity: int | None
    threshold: float | AutoType | None
    fill_holes: bool
    split: Split
    seeds: Seeds
    seed_height: float | None
    split_limit: int
    grow: int
    link: float | None
    table: Path | None
    outlines: Path | None
