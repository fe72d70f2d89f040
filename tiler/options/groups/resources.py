"""Options of the group Resources: how and where the work is done."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict

from tiler.geometry import Shape
from tiler.options.declaring import AutoType, Option
from tiler.options.parsers import Bytes, Choice, ChoiceOrExecutor, Flag, Folder, Sizes, Text, Whole
from tiler.options.sharing import PartOfAll, Share
from tiler.ports import Executor

Precision = Literal["float32", "tf32", "bfloat16", "float16", "float64"]
Backend = Literal["torch", "compile", "openvino", "onnxruntime", "onnxruntime:tensorrt", "auto"]
ExecutorName = Literal["threads", "serial", "dask"]
Size = int | str | Sequence[int] | AutoType


class ResourcesKeywords(TypedDict, total=False):
    """Resource options as the user may give them; each one may be left out."""

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
        brief="memory to use, for example 8GiB",
        help="Memory that the run may take; auto is half of what is available.")]
    scratch: Annotated[str | os.PathLike[str], Option(
        group="Resources", parse=Folder(), metavar="DIR", example="/local/disk", of_output=True,
        help="Folder for tensors of a network in stages that do not fit into memory; a fast disk of this machine.",
        otherwise="beside the output")]
    scratch_size: Annotated[int | str, Option(
        group="Resources", parse=Bytes(auto=False), metavar="SIZE", example="500GiB", free=True, of_output=True,
        help="Disk space that these tensors may take; a run that needs more is refused.",
        otherwise="as much as there is")]
    workers: Annotated[int | str, Option(
        group="Resources", parse=Whole(1), default=2, metavar="N", example="4", free=True, of_output=True,
        brief="threads that read and write, for example 4",
        help="Threads that read ahead, and as many that write behind; processes of dask.")]
    executor: Annotated[ExecutorName | Executor, Option(
        group="Resources", parse=ChoiceOrExecutor(Choice(ExecutorName)), default="threads", free=True, of_output=True,
        brief="dask runs blocks in several processes",
        help="What runs the blocks; dask uses several processes or machines and writes to a file.")]
    scheduler: Annotated[str, Option(
        group="Resources", parse=Text(), metavar="ADDRESS", example="tcp://10.0.0.1:8786", free=True, of_output=True,
        help="With `executor=dask`: address or scheduler file of a running cluster.",
        otherwise="processes of this machine are started")]
    retries: Annotated[int | str, Option(
        group="Resources", parse=Whole(0, 100), default=2, metavar="N", example="5", free=True, of_output=True,
        help="How often a block that fails is tried again, from a fresh read. If it keeps failing it is set aside, "
             "the others go on, and the end names it; resuming tries it again.")]
    part: Annotated[str, Option(
        group="Resources", parse=PartOfAll(), metavar="K/N", example="3/16", free=True, of_output=True,
        of_process=True,
        help="Do part K of N, counted from 0 to N-1; each is a process of its own, on any machine, and all write one "
             "output. With SLURM: --array=0-15 and `part=$SLURM_ARRAY_TASK_ID/16`. The last one finishes the output. "
             "The same command goes on with a part that was killed.",
        otherwise="this process does everything")]
    claim: Annotated[bool, Option(
        group="Resources", parse=Flag(), default=False, free=True, of_output=True, of_process=True,
        help="Share the run with all processes that have the same command: each takes the next blocks that nobody "
             "has; those of a process that is lost go to the others.")]
    tune: Annotated[bool, Option(
        group="Resources", parse=Flag(), default=True, free=True, otherwise="the network is timed",
        help="Time the network for a few seconds where there is much to do, and remember the result.")]
    device: Annotated[str, Option(
        group="Resources", parse=Text(), default="auto", metavar="NAME", example="cuda:0,cuda:1", of_model=True,
        brief="auto, cpu, cuda, cuda:1 or mps",
        help="auto, cpu, cuda, cuda:1 or mps; several GPUs share the blocks.")]
    precision: Annotated[Precision, Option(
        group="Resources", parse=Choice(Precision), default="float32", of_model=True,
        help="Precision of the network; tf32 needs a CUDA device.")]
    backend: Annotated[Backend, Option(
        group="Resources", parse=Choice(Backend), default="torch", of_model=True,
        brief="library that runs the network, for example openvino",
        help="Library that runs the network; auto measures which is the fastest.")]
    threads: Annotated[int | str, Option(
        group="Resources", parse=Whole(1, 1024), metavar="N", example="8", of_model=True,
        help="Processor threads of one forward pass.", otherwise="all cores, shared by the processes of dask")]


@dataclass(frozen=True, kw_only=True)
class ResourcesOptions:
    """Resource options as the engine receives them: parsed, with defaults filled in."""

    tile: Shape | AutoType
    block: Shape | AutoType
    batch: int | AutoType
    memory: int | AutoType
    scratch: str | None
    scratch_size: int | None
    workers: int
    executor: ExecutorName | Executor
    scheduler: str | None
    retries: int
    part: Share | None
    claim: bool
    tune: bool
    device: str
    precision: Precision
    backend: Backend
    threads: int
