"""Where the stored tensors of a network that runs in stages go: into memory if they fit, else to disk.

::

    memory     tensors of one input + windows + blocks of one stage         one task an input
    on disk    blocks of one stage, read ahead and waiting to be written     one task a block of a tensor

The values do not depend on it, so it is not part of the fingerprint.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tiler.bounded_map import Depths
from tiler.errors import MemoryBudgetError
from tiler.geometry import Box, Shape, Span
from tiler.planning.plan import Scratch
from tiler.planning.workload import LIBRARIES, Workload, bytes_out
from tiler.ports import Staging, StoredTensor

BLOCKS = {True: (1, 1024, 1024), False: (32, 256, 256)}
"""Largest blocks of the output, by whether the network takes slices."""
MB = 10**6


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run whose tensors are stored outside memory.

    Parameters
    ----------
    load
        Volume, network and region.
    staging
        The stages of an input.
    block
        Blocks of the output.
    """

    load: Workload
    staging: Staging
    block: Shape

    @property
    def memory(self) -> int:
        """Bytes beyond those of the process: of the largest stage, or of the blocks of the output."""
        load, depths = self.load, Depths(self.load.workers, self.load.predictor.capabilities.feeders)
        stages = [min(depths.held, len(tensor.blocks)) * (tensor.load.read + tensor.load.made)
                  + min(depths.feeders, len(tensor.blocks)) * tensor.load.working for tensor in self.staging.tensors]
        values = self.staging.tensors[-1]
        voxel = values.extent.spans[1].size * values.dtype.itemsize + bytes_out(load.predictor)
        last = (depths.held + depths.feeders) * math.prod(self.block) * voxel
        return max(*stages, last) + LIBRARIES

    def check(self, peak: int, limit: int) -> None:
        """Refuse blocks that take more memory than there is, of this machine or of a device.

        Raises
        ------
        MemoryBudgetError
            If so; the message says how much is needed.
        """
        if peak > limit:
            raise MemoryBudgetError(f"stages with tensors on disk need {peak // MB + 1} MB for their blocks, "
                                    f"there are {limit // MB} MB: raise `memory` or lower `block` or `workers`")
        device = self.load.device_memory
        working = max(tensor.load.working for tensor in self.staging.tensors)
        if device is not None and working > device:
            raise MemoryBudgetError(f"a block of a stage needs {working // MB + 1} MB of a device, {device // MB} MB "
                                    "are there for each thread that feeds it: lower `block`")


def staging_for(load: Workload, block: Shape | None) -> Staging | None:
    """The stages of an input of a run; None if the network does not run in stages.

    Parameters
    ----------
    load
        Volume, network and region.
    block
        Blocks that the user chose: no block of a tensor is larger.
    """
    stager = load.predictor.capabilities.stager
    if stager is None or load.canvas is None:
        return None
    part = load.region.back(load.canvas.start)
    shape = load.canvas.shape
    if load.predictor.footprint.flat:
        part, shape = Box((Span(0, 1), *part.spans[1:])), (1, *shape[1:])
    return stager.of(shape, part, voxels_of(load, block))


def voxels_of(load: Workload, block: Shape | None) -> int:
    """Largest number of voxels of a block of a tensor."""
    stager = load.predictor.capabilities.stager
    assert stager is not None
    return stager.voxels if block is None else min(stager.voxels, math.prod(block))


def scratch_of(staging: Staging, voxels: int, on_disk: bool) -> Scratch:
    """Stored tensors of one input."""
    return Scratch(len(staging.tensors), peak_bytes(staging.tensors), voxels, on_disk)


def peak_bytes(tensors: Sequence[StoredTensor]) -> int:
    """Most bytes that the stored tensors of an input take at the same time; each is freed after its last reader."""
    held = worst = 0
    freed = last_reads(tensors)
    for number, tensor in enumerate(tensors):
        held += tensor.bytes
        worst = max(worst, held)
        held -= sum(tensors[each].bytes for each in freed[number])
    return worst


def last_reads(tensors: Sequence[StoredTensor]) -> list[list[int]]:
    """For each tensor, the earlier ones that nothing after it reads."""
    last = {each: number for number, tensor in enumerate(tensors) for each in tensor.reads}
    return [[each for each, reader in last.items() if reader == number] for number in range(len(tensors))]


def block_on_disk(load: Workload, block: Shape | None) -> Shape:
    """Blocks of the output of a run whose tensors are on disk.

    Raises
    ------
    AlignmentError
        If blocks of single sections, or the ones that the user chose, are not whole chunks.
    """
    flat, region = load.predictor.footprint.flat, load.region.shape
    largest = load.grain.aligned(BLOCKS[flat], (1, 1, 1), region) if block is None else block
    found = tuple(map(min, (1, *largest[1:]) if flat else largest, region))
    load.grain.check(found, region)
    return found


def check_scratch(scratch: Scratch, limit: int | None) -> None:
    """Refuse stored tensors that take more disk space than the user allows.

    Raises
    ------
    MemoryBudgetError
        If so; the message says how much is needed.
    """
    if limit is not None and scratch.bytes > limit:
        raise MemoryBudgetError(f"the stored tensors take {scratch.bytes // MB + 1} MB of disk, the limit "
                                f"is {limit // MB} MB: raise `scratch_size`, or `memory` so that they stay there",
                                option="scratch_size")
