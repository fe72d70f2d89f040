"""The bundled weights for cells in differential interference contrast, on frames that they were not trained on."""

import numpy as np
import tifffile

import tiler
from tiler.metrics.contingency import ContingencyTable
from tiler.metrics.instances import Overlap


def test_cells_of_held_out_frames_are_found_one_by_one(shared):
    """The mean of the two frames is above the 0.85 that is wanted of all; the card states that of all."""
    folder, frames = shared / "dic_hela", slice(63, 81, 17)
    images, labels = (tifffile.imread(folder / name)[frames] for name in ("01-frames.tif", "01-st-seg.tif"))
    found = tiler.segment(images, "unet", weights="dic-hela", axes="zyx", kind="instances", connectivity=4,
                          split="watershed", seed_height=6, min_size=500)
    scores = [Overlap.of(ContingencyTable.of(truth, cells)).seg
              for truth, cells in zip(labels, np.asarray(found), strict=True)]
    assert np.mean(scores) > 0.85
