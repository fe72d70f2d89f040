"""Options of the group Result: what is written."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from tiler.options.declaring import Option
from tiler.options.naming import Function
from tiler.options.parsers import Choice, Items

PostCheck = Literal["refuse", "accept"]
KindName = Literal["probabilities", "labels", "mask", "instances"]
OutputType = Literal["float32", "float16", "float64", "uint8", "uint16", "uint32", "uint64"]


class ResultKeywords(TypedDict, total=False):
    """Result options as the user may give them; each one may be left out."""

    kind: Annotated[KindName, Option(
        group="Result", parse=Choice(KindName), flag="--as", default="probabilities", of_model=True,
        brief="probabilities, labels, mask or instances (numbered)",
        help="What to write. Two classes give the probability of the second one as one channel; a mask is 255 where "
             "the second of two classes is, or the one in `classes`, and 0 elsewhere.")]
    classes: Annotated[str | int | Sequence[str | int], Option(
        group="Result", parse=Items(), metavar="all|NAME", of_model=True,
        help="Classes whose probabilities are written: all, or names or numbers. Labels, masks and instances are made "
             "of all classes, or of the one that is named here, which is cut at 0.5 or at `threshold`.",
        otherwise="the second of two probabilities, else all")]
    dtype: Annotated[OutputType, Option(
        group="Result", parse=Choice(OutputType), of_model=True,
        brief="type of the voxels, for example uint8",
        help="Type of the voxels. Probabilities in uint8 are stored as rint(255 p); instances in uint16, up to 65535 "
             "of them, open in Fiji with their voxel size.",
        otherwise="float32 for probabilities, uint8 for labels and masks, uint32 for instances")]
    post: Annotated[str | Callable[..., Any], Option(
        group="Result", parse=Function(), metavar="FUNCTION", example="steps.py:watershed", of_output=True,
        help="Step of your own on the result, module:function or file.py:function, called for each block with "
             "(c, z, y, x) and as much context as it asks for.",
        otherwise="the result as it is")]
    post_check: Annotated[PostCheck, Option(
        group="Result", parse=Choice(PostCheck), default="refuse", of_output=True, free=True,
        help="With `post`: refuse a step whose result depends on the blocks, or accept it.")]


@dataclass(frozen=True, kw_only=True)
class ResultOptions:
    """Result options as the engine receives them: parsed, with defaults filled in."""

    kind: KindName
    classes: str | int | tuple[str | int, ...] | None
    dtype: OutputType
    post: str | Callable[..., Any] | None
    post_check: PostCheck
