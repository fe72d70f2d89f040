"""Options of the group Model: the network and what belongs to it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from tiler.geometry import Shape
from tiler.options.declaring import AutoType, Option
from tiler.options.naming import Files
from tiler.options.normalising import Rule, parse_rule
from tiler.options.parsers import Assignments, Choice, Name, Sizes
from tiler.options.rescaling import Factors
from tiler.ports import Border, Tiling

Head = Literal["softmax", "sigmoid", "none"]
Ensemble = Literal["probabilities", "scores"]
ExecutionName = Literal["auto", "tiles", "stages"]
Average = Literal["none", "flip4", "rot4", "d4", "rot7"]


class ModelKeywords(TypedDict, total=False):
    """Model options as the user may give them; each one may be left out."""

    weights: Annotated[str | os.PathLike[str] | Sequence[str | os.PathLike[str]], Option(
        group="Model", parse=Files(), short="-w", metavar="FILE[,FILE]", of_model=True,
        brief="weights of your own, for example mine.safetensors",
        help="Weights as a safetensors, .pth, .pt or .ckpt file; several files or a folder of them are an ensemble. "
             "For a BioImage.IO package: onnx, torchscript or pytorch_state_dict.",
        otherwise="the weights that belong to the model")]
    ensemble: Annotated[Ensemble, Option(
        group="Model", parse=Choice(Ensemble), default="probabilities", of_model=True,
        help="Values that are averaged over several weights.")]
    model_args: Annotated[Mapping[str, Any] | Sequence[str], Option(
        group="Model", parse=Assignments(), flag="--model-arg", metavar="NAME=VALUE", of_model=True,
        example="encoder_name=resnet34",
        help="Arguments of a factory or of a library's network. The command line takes one each time.",
        otherwise="the factory's own")]
    returns: Annotated[str | int, Option(
        group="Model", parse=Name(), metavar="NAME|N", of_model=True,
        help="Output to use of a network that returns several: its key, its number from 0, or both as in a.0.",
        otherwise="the only one")]
    head: Annotated[Head, Option(
        group="Model", parse=Choice(Head), of_model=True,
        help="Function that follows the last layer.", otherwise="the one that belongs to the model")]
    average: Annotated[Average, Option(
        group="Model", parse=Choice(Average), default="none", of_model=True,
        brief="over flips and rotations, for example d4",
        help="Average over flips and rotations. rot7 resamples and needs one tile that covers the slice.")]
    tiling: Annotated[Tiling, Option(
        group="Model", parse=Choice(Tiling), of_model=True,
        brief="exact, or blend or whole as other programs do",
        help="exact gives the values of one pass over the whole input; blend averages overlapping windows, an "
             "approximation; whole is one plain pass over each input.",
        otherwise="exact, and whole for classifiers")]
    execution: Annotated[ExecutionName, Option(
        group="Model", parse=Choice(ExecutionName), default="auto",
        help="How exact values are computed: in tiles with context, or in stages, which compute everything once; auto "
             "takes the cheaper way, and tiles if their size is given.")]
    resize: Annotated[int | str | Sequence[int], Option(
        group="Model", parse=Sizes(2, auto=False), metavar="SIZE", example="352", of_model=True,
        help="With `tiling=whole`: size that slices are resized to, and their results back from.",
        otherwise="slices keep their size")]
    rescale: Annotated[str | float | Sequence[float], Option(
        group="Model", parse=Factors(), metavar="FACTOR", example="1,2.5,2.5", of_model=True,
        brief="auto: as if the input had the voxel size of the training data",
        help="Show the network the input at another voxel size: so many voxels for one of the input, in y and x or in "
             "z, y, x; auto takes the size that the weights were trained on. The result has the input's voxels.",
        otherwise="voxels as they are")]
    border: Annotated[Border, Option(
        group="Model", parse=Choice(Border), help="What the canvas holds beyond the volume.",
        otherwise="the border that belongs to the model")]
    normalise: Annotated[str, Option(
        group="Model", parse=parse_rule, default="weights", metavar="RULE", example="volume:1,99", of_model=True,
        brief="of grey values: weights, volume or MEAN,STD",
        help="Normalisation of grey values: weights (as stored with the weights), volume (mean and deviation of the "
             "whole volume), volume:LOW,HIGH (percentiles, of integers up to 16 bits) or MEAN,STD.")]


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Model options as the engine receives them: parsed, with defaults filled in."""

    weights: str | tuple[str, ...] | None
    ensemble: Ensemble
    model_args: Mapping[str, Any] | None
    returns: str | None
    head: Head | None
    average: Average
    tiling: Tiling | None
    execution: ExecutionName
    resize: Shape | None
    rescale: tuple[float, float, float] | AutoType | None
    border: Border | None
    normalise: Rule
