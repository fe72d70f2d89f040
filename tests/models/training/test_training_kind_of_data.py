"""Weights state the voxel size and the contrast of the images that they were trained on."""

import numpy as np
import pytest
import tifffile
from test_training_run import IMAGES, LABELS

from tiler.models.training.data import read_pair
from tiler.models.training.kind_of_data import kind_of_data
from tiler.ports import TrainedOn

SLICES = read_pair(IMAGES, LABELS)


@pytest.fixture
def stack(tmp_path):
    """Writes a stack with voxels of a size in nanometres."""
    def written(size=4.0, spacing=50.0):
        path = tmp_path / f"{size}.tif"
        tifffile.imwrite(path, IMAGES, imagej=True, resolution=(1000 / size, 1000 / size),
                         metadata={"axes": "ZYX", "unit": "um", "spacing": spacing / 1000})
        return path

    return written


def test_the_size_that_all_stacks_state(stack):
    assert kind_of_data([stack()], SLICES).voxel_size == pytest.approx((50.0, 4.0, 4.0))
    assert kind_of_data([stack(), stack(8.0)], SLICES).voxel_size is None
    assert kind_of_data([IMAGES], SLICES) == TrainedOn(contrast="dark")


def test_inverted_images_state_bright_membranes():
    assert kind_of_data([IMAGES], read_pair(255 - IMAGES, LABELS)).contrast == "bright"
    mixed = [*SLICES, *read_pair(255 - IMAGES, LABELS)]
    assert kind_of_data([IMAGES], mixed).contrast is None
    assert kind_of_data([np.zeros((1, 9, 9), np.uint8)], SLICES[:1]).contrast == "dark"
