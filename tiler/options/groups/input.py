"""Options of the group Input: the volume and how it is read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from tiler.geometry import Box
from tiler.options.declaring import AutoType, Option
from tiler.options.naming import Volume
from tiler.options.parsers import Choice, Flag, Items, Real, Text
from tiler.options.regions import Region, parse_roi

Nan = Literal["refuse", "zero"]
Missing = Literal["refuse", "zero"]


class InputKeywords(TypedDict, total=False):
    """Input options as the user may give them; each one may be left out."""

    axes: Annotated[str, Option(
        group="Input", parse=Text(), metavar="AXES", example="tyx", brief="names of the axes, for example tyx",
        help="Names of the input's axes.",
        otherwise="as the file says")]
    channel: Annotated[str | int | Sequence[int | str], Option(
        group="Input", parse=Items(), metavar="N[,N]", example="0,2", brief="channels to use, for example 0,2",
        help="Channels to use.", otherwise="all")]
    invert: Annotated[bool, Option(
        group="Input", parse=Flag(), default=False, otherwise="grey values stay",
        brief="invert grey values",
        help="Invert grey values before anything else: the largest value of the type less the value. Floats change "
             "their sign, which needs `normalise=volume`.")]
    roi: Annotated[str | Box | Sequence[slice] | Region, Option(
        group="Input", parse=parse_roi, metavar="Z,Y,X", example="0:5,100:600,50:450",
        brief="region, for example 0:5,100:600,50:450",
        help="Region to segment, which equals that region of the whole result: voxels (negative ones from the end) or "
             "coordinates such as z=0:2um,y=100nm:5um; @1 counts voxels of level 1; t=3 chooses a time point.",
        otherwise="the whole volume")]
    mask: Annotated[Any, Option(
        group="Input", parse=Volume(), metavar="FILE", example="tissue.tif", of_output=True,
        brief="segment only where this volume is not 0",
        help="Segment only where this volume is not 0, write 0 elsewhere, and skip blocks that are 0 throughout. It "
             "may be coarser: it is placed by scale and offset where both have units, else by its size.",
        otherwise="everything is segmented")]
    background: Annotated[float | str | AutoType, Option(
        group="Input", parse=Real(-math.inf, auto=True), metavar="VALUE|auto", example="0", of_output=True,
        help="Do not segment what is padded: cells of 64 x 64 voxels of a section that hold this value alone, "
             "or with auto any one value.",
        otherwise="everything is segmented")]
    nan: Annotated[Nan, Option(
        group="Input", parse=Choice(Nan), default="refuse",
        help="What to do with NaN and infinity in the input: refuse them, or take them as zero.")]
    missing: Annotated[Missing, Option(
        group="Input", parse=Choice(Missing), default="refuse",
        help="What to do with voxels that a file promises and does not hold: refuse them, or read zeros.")]


@dataclass(frozen=True, kw_only=True)
class InputOptions:
    """Input options as the engine receives them: parsed, with defaults filled in."""

    axes: str | None
    channel: str | int | tuple[int | str, ...] | None
    invert: bool
    roi: Region | None
    mask: str | Any | None
    background: float | AutoType | None
    nan: Nan
    missing: Missing
