"""Data unlike those that a network was trained on are warned about, by a look at one sample."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tiler.geometry import Box
from tiler.jobs.kind_of_data import FAR, contrast_of, line_contrast, oddities
from tiler.ports import Calibration, Capabilities, TrainedOn
from tiler.ports.units import nanometres
from tiler.sources import open_source


def drawn(lines: float, shape=(96, 96), seed=0):
    """Grain on grey, with a grid of lines three pixels wide that are so much brighter."""
    random = np.random.default_rng(seed)
    image = ndimage.gaussian_filter(random.normal(0, 10, shape), 1) + 128
    for start in range(8, shape[0], 24):
        image[start:start + 3] += lines
        image[:, start:start + 3] += lines
    return image.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(("lines", "found"), [(-60, "dark"), (60, "bright"), (0, None)])
def test_thin_structures_are_dark_or_bright(lines, found):
    assert contrast_of([drawn(lines), drawn(lines, seed=1)]) == found


def test_sections_that_differ_say_nothing():
    assert contrast_of([drawn(-60), drawn(60)]) is None


def test_inversion_changes_the_sign_and_brightness_nothing():
    image = drawn(-60)
    assert line_contrast(255 - image) == pytest.approx(-line_contrast(image))
    assert line_contrast(image * 3.5 + 1000) == pytest.approx(line_contrast(image))
    assert line_contrast(np.full((20, 20), 7)) == 0


def calibrated(image, size, unit="nanometer"):
    source = open_source(image, axes="zyx")

    class Sized:
        name, shape, read = "array", source.shape, source.read
        calibration = Calibration(("z", "y", "x"), image.shape, size, (unit,) * 3, (0.0,) * 3)

    return Sized()


class Net:
    def __init__(self, trained_on, expects=None, identity=()):
        self.identity = identity
        self.expects, self.capabilities = expects, Capabilities(trained_on=trained_on)


def warnings(image, known, size=(1.0, 1.0, 1.0), unit=None):
    source = calibrated(image, size, unit)
    return list(oddities(source, Box.of_shape(image.shape), Net(known)))


@pytest.mark.parametrize("factor", [1 / FAR, 1.0, FAR])
def test_voxels_of_about_the_same_size_are_taken_as_they_are(factor):
    known = TrainedOn(voxel_size=(None, 4.0, 4.0))
    assert not warnings(drawn(-60)[None], known, (900.0, 4 * factor, 4 * factor), "nanometer")


@pytest.mark.parametrize(("size", "unit"), [((50, 8, 8), "nanometer"), ((0.05, 0.002, 0.002), "micrometer"),
                                            ((50, 4, 8), "nanometer")])
def test_voxels_of_another_size_are_warned_about_in_one_line(size, unit):
    known = TrainedOn(voxel_size=(None, 4.0, 4.0))
    (line,) = warnings(drawn(-60)[None], known, size, unit)
    assert "trained on 4 x 4 nm" in line
    assert "\n" not in line


def test_voxels_that_are_rescaled_are_not_warned_about():
    source = calibrated(drawn(-60)[None], (50, 8, 8))
    net = Net(TrainedOn(voxel_size=(None, 4.0, 4.0)), identity={"rescale": "1 x 2 x 2"})
    assert not list(oddities(source, Box.of_shape((1, 96, 96)), net))


def test_the_spacing_of_sections_counts_for_networks_that_state_it():
    assert warnings(drawn(-60)[None], TrainedOn(voxel_size=(8.0, 8.0, 8.0)), (50.0, 8.0, 8.0), "nanometer")


@pytest.mark.parametrize("lines", [-60, 60])
@pytest.mark.parametrize("wanted", ["dark", "bright", None])
def test_an_inverted_image_is_warned_about(lines, wanted):
    found = "dark" if lines < 0 else "bright"
    assert bool(warnings(drawn(lines)[None], TrainedOn(contrast=wanted))) == (wanted not in (None, found))


def test_what_weights_do_not_state_reads_no_voxel():
    class Unread:
        name, shape, calibration = "array", (1, 1, 9, 9), Calibration.plain("yx", (9, 9))

        def read(self, box):
            raise AssertionError("nothing is to be compared")

    assert not list(oddities(Unread(), Box.of_shape((1, 9, 9)), Net(TrainedOn())))


@pytest.mark.parametrize(("axes", "scale", "units", "found"), [
    ("yx", (0.004, 0.004), ("micrometer",) * 2, (None, 4.0, 4.0)),
    ("tzyx", (2.0, 5.0, 1.0, 1.0), ("second", "nanometer", "nanometer", "nanometer"), (5.0, 1.0, 1.0)),
    ("zyx", (1.0, 1.0, 1.0), (None,) * 3, None), ("yx", (1.0, 1.0), ("second", None), None)])
def test_nanometres_of_a_voxel(axes, scale, units, found):
    sizes = (3,) * len(axes)
    assert nanometres(Calibration(tuple(axes), sizes, scale, units, (0.0,) * len(axes))) == pytest.approx(found)
