"""Windows of an output whose tensors were stored on disk, computed again from the statistics in the journal.

With the statistics of whole tensors a window needs only the part of each tensor that it sees, and not the whole input.
These parts are stored in a temporary folder, in blocks of another size than those of the run.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from tiler.geometry import Box
from tiler.jobs.scratch import Scratch
from tiler.jobs.stored_tensors import StoredResultJob, TensorJob
from tiler.ports import Array, Predictor, Sink
from tiler.running.run_spec import RunSpec
from tiler.running.stage import Findings
from tiler.running.tensor_stages import InputStages

SHARE = 2 / 3
"""Voxels of a block, as a share of those of the run."""


def window_again(run: RunSpec, sink: Sink, predictor: Predictor, found: Findings, box: Box) -> Array:
    """``(k, *box.shape)``: the values of a window.

    Parameters
    ----------
    run, sink
        The run and its output.
    predictor
        Computes the values.
    found
        Results of the stages of the window's input.
    box
        The window in voxels of the volume; of a single section, for networks of slices.
    """
    section = box.start[0] if predictor.footprint.flat else None
    here = InputStages(run, sink, section)
    known = {number: found[stage.name] for number, stage in enumerate(here.tensors)}
    inputs = here.inputs(run.source)
    part = box.back(inputs.start)
    scratch = run.plan.scratch
    stager = predictor.capabilities.stager
    assert stager is not None
    assert scratch is not None
    staging = stager.of(here.shape, part, max(1, int(SHARE * scratch.voxels)), known=True)
    assert staging is not None
    with tempfile.TemporaryDirectory(prefix="tiler-check-") as folder:
        files = Scratch(Path(folder))
        for number, tensor in enumerate(staging.tensors):
            job = TensorJob(staging, number, inputs, files, known, 1)
            for index in range(len(tensor.blocks)):
                job.write(index, job.compute(index, job.read(index)))
        result = StoredResultJob(run.plan, run.source, predictor, sink, staging=staging, scratch=files, inputs=inputs)
        return result.compute(0, result.read_box(box))
