"""The table of options: everything that can be chosen about a segmentation.

A new option is one entry of `Keywords` (what a user may give) and one field of `ResolvedOptions` (what the engine
gets). The command line, the defaults, the checks, the docstrings and the README's table follow.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypedDict

from tiler.geometry import Box, Shape
from tiler.options.declaring import AutoType, Option, table_of
from tiler.options.normalising import Rule, parse_rule
from tiler.options.parsers import (
    Among,
    Assignments,
    Bytes,
    Choice,
    ChoiceOrExecutor,
    Compression,
    Files,
    Flag,
    Items,
    Name,
    Real,
    Sizes,
    Text,
    Whole,
)
from tiler.options.regions import Region, parse_roi
from tiler.ports import KINDS, Border, Executor, Tiling

KindName = Literal["probabilities", "labels", "instances"]
Head = Literal["softmax", "sigmoid", "none"]
Ensemble = Literal["probabilities", "scores"]
Average = Literal["none", "flip4", "rot4", "d4", "rot7"]
Precision = Literal["float32", "tf32", "bfloat16", "float16", "float64"]
Backend = Literal["torch", "compile", "openvino", "onnxruntime", "onnxruntime:tensorrt", "auto"]
ExecutorName = Literal["threads", "serial", "dask"]
Ngff = Literal["0.5", "0.4"]
Nan = Literal["refuse", "zero"]
Split = Literal["none", "watershed"]
Seeds = Literal["distance", "probability"]
Missing = Literal["refuse", "zero"]
OutputType = Literal["float32", "float16", "float64", "uint8", "uint32", "uint64"]

Size = int | str | Sequence[int] | AutoType


class Keywords(TypedDict, total=False):
    """Keywords of `tiler.segment`, `tiler.plan`, `tiler.lazy` and `tiler.open_model`, with the types they take."""

    kind: Annotated[KindName, Option(
        group="Result", parse=Choice(KindName), flag="--as", default="probabilities", of_model=True,
        help="What to write. Two classes give the probability of the second one as one channel.")]
    classes: Annotated[str | int | Sequence[str | int], Option(
        group="Result", parse=Items(), metavar="all|NAME", of_model=True,
        help="Classes whose probabilities are written: all, or names or numbers. Labels and instances are made of all "
             "classes, or of the one that is named here, which is cut at 0.5.",
        otherwise="the second of two probabilities, else all")]
    dtype: Annotated[OutputType, Option(
        group="Result", parse=Choice(OutputType), of_model=True,
        help="Type of the voxels. Probabilities in uint8 are stored as rint(255 p).",
        otherwise="float32 for probabilities, uint8 for labels, uint32 for instances")]
    ngff: Annotated[Ngff, Option(
        group="Result", parse=Choice(Ngff), default="0.5", of_zarr=True, of_output=True,
        help="Version of OME-Zarr: 0.5 is zarr 3, 0.4 is zarr 2.")]

    min_size: Annotated[int, Option(
        group="Objects", parse=Whole(0), default=0, of_output=True, help="Size of the smallest instance in voxels.")]
    connectivity: Annotated[int, Option(
        group="Objects", parse=Among((4, 8, 6, 18, 26)), of_output=True,
        help="Voxels that touch: 4 or 8 in the same section, so that each section has instances of its own; 6, 18 or "
             "26 through the volume.",
        otherwise="6 for networks of volumes, 4 for networks of slices")]
    threshold: Annotated[float, Option(
        group="Objects", parse=Real(0, 1), metavar="T", example="0.6", of_output=True,
        help="Instances are where the probability is above this, of the second of two classes or of the one in "
             "`classes`.",
        otherwise="where a class other than the first is the most likely one")]
    fill_holes: Annotated[bool, Option(
        group="Objects", parse=Flag(), default=False, of_output=True, otherwise="holes stay",
        help="Fill background that has no way to the border of its section, or of the volume.")]
    split: Annotated[Split, Option(
        group="Objects", parse=Choice(Split), default="none", of_output=True,
        help="Split instances that touch: watershed floods each from its seeds.")]
    seeds: Annotated[Seeds, Option(
        group="Objects", parse=Choice(Seeds), default="distance", of_output=True,
        help="With `split=watershed`: seeds are peaks of the distance to the outside, or of the probability.")]
    seed_height: Annotated[float, Option(
        group="Objects", parse=Real(1e-3), metavar="H", example="2", of_output=True,
        help="With `split=watershed`: how far one has to descend from a peak to reach a higher one.",
        otherwise="1 voxel, or a probability of 0.1")]
    split_limit: Annotated[int, Option(
        group="Objects", parse=Whole(1), default=2**27, metavar="N", of_output=True,
        help="With `split=watershed`: instances whose bounding box holds more voxels stay whole.")]
    grow: Annotated[int, Option(
        group="Objects", parse=Whole(0, 64), default=0, metavar="N", of_output=True,
        help="Voxels along x by which instances grow into the background around them.")]
    link: Annotated[float, Option(
        group="Objects", parse=Real(0, 1), metavar="OVERLAP", example="0.25", of_output=True,
        help="Join instances of a section and the next that overlap each other most, from this intersection over "
             "union on. Needs 4 or 8 as connectivity.",
        otherwise="sections stay apart")]
    compression: Annotated[str | Sequence[Any], Option(
        group="Result", parse=Compression(), metavar="NAME[:LEVEL]", example="blosc:7", of_zarr=True,
        of_output=True, otherwise="zstd; blosc for OME-Zarr 0.4",
        help="Compression of the chunks of a zarr: blosc, zstd, gzip or none.")]

    weights: Annotated[str | os.PathLike[str] | Sequence[str | os.PathLike[str]], Option(
        group="Model", parse=Files(), short="-w", metavar="FILE[,FILE]", of_model=True,
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
        help="Average over flips and rotations. rot7 resamples and needs one tile that covers the slice.")]
    tiling: Annotated[Tiling, Option(
        group="Model", parse=Choice(Tiling), of_model=True,
        help="exact; blend averages overlapping windows, an approximation; whole takes each input in one piece.",
        otherwise="exact, and whole for classifiers")]
    resize: Annotated[int | str | Sequence[int], Option(
        group="Model", parse=Sizes(2, auto=False), metavar="SIZE", example="352", of_model=True,
        help="With `tiling=whole`: size that slices are resized to, and their results back from.",
        otherwise="slices keep their size")]
    border: Annotated[Border, Option(
        group="Model", parse=Choice(Border), help="What the canvas holds beyond the volume.",
        otherwise="the border that belongs to the model")]
    normalise: Annotated[str, Option(
        group="Model", parse=parse_rule, default="weights", metavar="RULE", example="volume:1,99", of_model=True,
        help="Normalisation of grey values: weights (as stored with the weights), volume (mean and deviation of the "
             "whole volume), volume:LOW,HIGH (percentiles, of integers up to 16 bits) or MEAN,STD.")]

    axes: Annotated[str, Option(
        group="Input", parse=Text(), metavar="AXES", example="tyx", help="Names of the input's axes.",
        otherwise="as the file says")]
    channel: Annotated[str | int | Sequence[int | str], Option(
        group="Input", parse=Items(), metavar="N[,N]", example="0,2", help="Channels to use.", otherwise="all")]
    roi: Annotated[str | Box | Sequence[slice] | Region, Option(
        group="Input", parse=parse_roi, metavar="Z,Y,X", example="0:5,100:600,50:450",
        help="Region to segment, which equals that region of the whole result; t=3 chooses a time point.",
        otherwise="the whole volume")]
    nan: Annotated[Nan, Option(
        group="Input", parse=Choice(Nan), default="refuse",
        help="What to do with NaN and infinity in the input: refuse them, or take them as zero.")]

    missing: Annotated[Missing, Option(
        group="Input", parse=Choice(Missing), default="refuse",
        help="What to do with voxels that a file promises and does not hold: refuse them, or read zeros.")]

    tile: Annotated[Size, Option(
        group="Resources", parse=Sizes(), default="auto", metavar="SIZE", example="1x572x572",
        help="Shape of the model's input.")]
    block: Annotated[Size, Option(
        group="Resources", parse=Sizes(), default="auto", metavar="SIZE", example="64x1024x1024",
        help="Shape of one task and one write.")]
    batch: Annotated[int | str | AutoType, Option(
        group="Resources", parse=Whole(1, auto=True), default="auto", metavar="N", example="4", free=True,
        help="Number of tiles that go through the model at once.")]
    memory: Annotated[int | str | AutoType, Option(
        group="Resources", parse=Bytes(), default="auto", metavar="SIZE", example="8GiB", free=True,
        help="Memory that the run may take; auto is half of what is available.")]
    workers: Annotated[int | str, Option(
        group="Resources", parse=Whole(1), default=2, metavar="N", example="4", free=True, of_output=True,
        help="Threads that read ahead, and as many that write behind; processes of dask.")]
    executor: Annotated[ExecutorName | Executor, Option(
        group="Resources", parse=ChoiceOrExecutor(Choice(ExecutorName)), default="threads", free=True, of_output=True,
        help="What runs the blocks; dask uses several processes or machines and writes to a file.")]
    scheduler: Annotated[str, Option(
        group="Resources", parse=Text(), metavar="ADDRESS", example="tcp://10.0.0.1:8786", free=True, of_output=True,
        help="With `executor=dask`: address or scheduler file of a running cluster.",
        otherwise="processes of this machine are started")]
    tune: Annotated[bool, Option(
        group="Resources", parse=Flag(), default=True, free=True, otherwise="the network is timed",
        help="Time the network for a few seconds where there is much to do, and remember the result.")]
    device: Annotated[str, Option(
        group="Resources", parse=Text(), default="auto", metavar="NAME", example="cuda:0,cuda:1", of_model=True,
        help="auto, cpu, cuda, cuda:1 or mps; several GPUs share the blocks.")]
    precision: Annotated[Precision, Option(
        group="Resources", parse=Choice(Precision), default="float32", of_model=True,
        help="Precision of the network; tf32 needs a CUDA device.")]
    backend: Annotated[Backend, Option(
        group="Resources", parse=Choice(Backend), default="torch", of_model=True,
        help="Library that runs the network; auto measures which is the fastest.")]
    threads: Annotated[int | str, Option(
        group="Resources", parse=Whole(1, 1024), metavar="N", example="8", of_model=True,
        help="Processor threads of one forward pass.", otherwise="all cores, shared by the processes of dask")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedOptions:
    """Every option in its final type; None only where the model or the input decides.

    The fields are those of `Keywords`. Planning, running, checking and lazy results see nothing else of what a user
    asked for.
    """

    kind: KindName
    classes: str | int | tuple[str | int, ...] | None
    dtype: OutputType
    min_size: int
    connectivity: int | None
    threshold: float | None
    fill_holes: bool
    split: Split
    seeds: Seeds
    seed_height: float | None
    split_limit: int
    grow: int
    link: float | None
    ngff: Ngff
    weights: str | tuple[str, ...] | None
    ensemble: Ensemble
    compression: tuple[str, int | None] | None
    model_args: Mapping[str, Any] | None
    returns: str | None
    head: Head | None
    average: Average
    tiling: Tiling | None
    resize: Shape | None
    border: Border | None
    normalise: Rule
    axes: str | None
    channel: str | int | tuple[int | str, ...] | None
    roi: Region | None
    nan: Nan
    missing: Missing
    tile: Shape | AutoType
    block: Shape | AutoType
    batch: int | AutoType
    memory: int | AutoType
    workers: int
    executor: ExecutorName | Executor
    scheduler: str | None
    tune: bool
    device: str
    precision: Precision
    backend: Backend
    threads: int

    @property
    def processes(self) -> int:
        """Number of processes that share this machine."""
        return self.workers if self.executor == "dask" and self.scheduler is None else 1

    @property
    def storage(self) -> dict[str, Any]:
        """Options that say how a zarr output is stored, by keyword; those that are left open are left out."""
        values = {name: getattr(self, name) for name, option in TABLE.items() if option.of_zarr}
        return {name: value for name, value in values.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """The options as JSON that `Options` reads again; those that are left open are left out."""
        values = {name: getattr(self, name) for name in TABLE}
        if self.dtype == KINDS[self.kind].types[0]:
            del values["dtype"]  # it follows from the kind
        return {name: plain(value) for name, value in values.items() if value is not None}


TABLE = table_of(Keywords)
"""All options by keyword, in the order in which they are shown."""


def plain(value: Any) -> Any:
    """A final value as JSON: texts, numbers and lists as they are, objects by their type, all else as text."""
    if isinstance(value, (str, bool, int, float, list, tuple)):
        return value
    if isinstance(value, Mapping):
        return {name: each if each is None else plain(each) for name, each in value.items()}
    return f"<{type(value).__name__}>" if isinstance(value, Executor) else str(value)
