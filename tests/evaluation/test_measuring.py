"""Tables of objects equal those of scikit-image, whatever the blocks."""

from __future__ import annotations

import csv
import threading

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import regionprops_table

import tiler
from tiler.errors import Interrupted, PlanError
from tiler.evaluation import measuring
from tiler.evaluation.measuring import Measured, measure_objects, named
from tiler.geometry import Box, Grid
from tiler.objects.measures import Measures, Total, compact
from tiler.objects.table_files import write_table
from tiler.running.perform import Silent
from tiler.sources import open_source

RANDOM = np.random.default_rng(5)


def measured(labels, *images, **options):
    return measure_objects(Measured(open_source(labels), named([open_source(image) for image in images])),
                           2, Silent(), threading.Event(), **options)


def many_objects():
    """Two hundred of them, not all in one piece."""
    labels = RANDOM.integers(0, 201, (9, 40, 50)).astype(np.uint32)
    labels[:, :8] = 0
    return labels * 1000


def test_two_hundred_objects_are_measured_as_by_scikit_image(monkeypatch):
    monkeypatch.setattr(measuring, "BLOCK", 700)
    labels, image = many_objects(), RANDOM.normal(1000, 3, (9, 40, 50)).astype(np.float32)
    found = measured(labels, image)
    told = regionprops_table(labels, image, properties=[
        "label", "area", "centroid", "bbox", "intensity_mean", "intensity_min", "intensity_max", "intensity_std"])
    assert len(found["id"]) == 200
    np.testing.assert_array_equal(found["id"], told["label"])
    np.testing.assert_array_equal(found["voxels"], told["area"])
    for place, axis in enumerate("zyx"):
        np.testing.assert_array_equal(found[f"{axis}_start"], told[f"bbox-{place}"])
        np.testing.assert_array_equal(found[f"{axis}_stop"], told[f"bbox-{place + 3}"])
        np.testing.assert_allclose(found[axis], told[f"centroid-{place}"], rtol=1e-14)
    np.testing.assert_array_equal(found["image_min"], told["intensity_min"])
    np.testing.assert_array_equal(found["image_max"], told["intensity_max"])
    np.testing.assert_allclose(found["image_mean"], told["intensity_mean"], rtol=1e-6)  # float32 in scikit-image
    np.testing.assert_allclose(found["image_std"], told["intensity_std"], rtol=1e-4)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_blocks_say_together_what_the_whole_says(data):
    shape = tuple(data.draw(st.integers(1, 7)) for _ in range(3))
    block = tuple(data.draw(st.integers(1, size)) for size in shape)
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    labels = random.integers(0, data.draw(st.integers(1, 9)), shape, np.uint8)
    images = random.normal(1e6, 1, (2, *shape))
    total = Total()
    for box in Grid(Box.of_shape(shape), block):
        total.add(Measures.of(labels[box.slices], images[(slice(None), *box.slices)], box.start))
    found, whole = total.result(), Measures.of(labels, images, (0, 0, 0))
    for name in ("ids", "voxels", "sums", "starts", "stops"):
        np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))
    for one, other in zip(found.images, whole.images, strict=True):
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-13)
        np.testing.assert_allclose(one.squares, other.squares, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(one.least, other.least)


def test_ids_far_apart_are_told_as_they_are():
    labels = np.array([[[0, 2**63 + 1, 7, 2**63 + 1]]], np.uint64)
    ids, index = compact(labels)
    assert ids.tolist() == [7, 2**63 + 1]
    np.testing.assert_array_equal(index, [[[0, 2, 1, 2]]])


def test_what_is_not_a_number_stays_so():
    found = measured(np.array([[1, 1, 2]], np.uint8), np.array([[0.5, np.nan, 3]]))
    for name in ("mean", "min", "max", "std"):
        assert np.isnan(found[f"image_{name}"][0])
    assert found["image_mean"][1] == 3


def test_sizes_and_places_in_physical_units(tmp_path):
    path = tmp_path / "cells.tif"
    labels = np.zeros((4, 6, 8), np.uint16)
    labels[1:3, 2:4, 4:7] = 9
    tifffile.imwrite(path, labels, imagej=True, resolution=(1 / 0.5, 1 / 0.5),
                     metadata={"axes": "ZYX", "unit": "micron", "spacing": 2.0})
    found = measured(path)
    assert {name: column.tolist() for name, column in found.items()} == {
        "id": [9], "voxels": [12], "volume_micrometer3": [6.0], "z": [1.5], "y": [2.5], "x": [5.0],
        "z_micrometer": [3.0], "y_micrometer": [1.25], "x_micrometer": [2.5], "z_start": [1], "z_stop": [3],
        "y_start": [2], "y_stop": [4], "x_start": [4], "x_stop": [7], "sections": [2], "touches_border": [False]}


@pytest.mark.parametrize(("place", "touches"), [((0, 1, 1), True), ((1, 1, 2), True), ((1, 1, 1), False)])
def test_the_border_is_that_of_the_volume(place, touches):
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[place] = 1
    assert measured(labels)["touches_border"].tolist() == [touches]
    flat = np.zeros((3, 3), np.uint8)
    flat[1, 1] = 1
    assert measured(flat)["touches_border"].tolist() == [False]


def test_a_table_reads_back_equal(tmp_path):
    columns = measured(many_objects(), RANDOM.random((9, 40, 50)))
    write_table(columns, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open() as file:
        heading, *rows = csv.reader(file)
    assert heading == list(columns)
    np.testing.assert_array_equal(np.array(rows, float), np.stack(list(columns.values()), axis=1))
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


def test_no_objects_make_an_empty_table(tmp_path):
    write_table(measured(np.zeros((2, 3, 4), np.uint8)), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text().startswith("id,voxels,z,y,x,")


def test_images_of_one_name_have_columns_of_their_own():
    image = np.zeros((2, 3, 4))
    assert {"image_mean", "image_2_mean"} <= measured(np.ones((2, 3, 4), np.uint8), image, image).keys()


@pytest.mark.parametrize(("labels", "image", "message"), [
    (np.ones((2, 3)), None, "1 channel.s. of float64, .* the first volume has to hold labels"),
    (np.ones((2, 3), int), np.ones((2, 4)), r"image array has shape \(1, 2, 4\).*labels array have \(1, 2, 3\)"),
    (np.array([[-1]]), None, "negative numbers, which are no ids"),
])
def test_what_cannot_be_measured_is_refused(labels, image, message):
    with pytest.raises(PlanError, match=message):
        measured(labels, *[] if image is None else [image])


def test_a_stop_leaves_no_table():
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match="0 of 1 blocks"):
        measure_objects(Measured(open_source(np.ones((2, 3), np.uint8)), {}), 1, Silent(), stop)


def test_a_region_is_measured_in_the_places_of_the_whole(monkeypatch):
    monkeypatch.setattr(measuring, "BLOCK", 700)
    labels = many_objects()
    part = np.zeros_like(labels)
    part[2:7, 10:33] = labels[2:7, 10:33]
    found, told = tiler.measure(labels, roi="2:7,10:33,0:50"), tiler.measure(part)
    for name in set(told) - {"touches_border"}:
        np.testing.assert_array_equal(found[name], told[name])
    assert found["touches_border"][found["z_start"] == 2].all()
    with pytest.raises(PlanError, match=r"does not lie in array, which has \(9, 40, 50\) voxels"):
        tiler.measure(labels, roi="2:12,10:33,0:50")


@pytest.mark.parametrize(("labels", "warned"), [
    (RANDOM.integers(1, 250, (2, 40, 50), np.uint8), 1),
    (np.kron(np.arange(60).reshape(6, 10), np.ones((9, 9), int)), 0)])
def test_grey_values_are_told_from_labels(labels, warned):
    heard = Hearing()
    tiler.measure(labels, listener=heard)
    assert len(heard.warnings) == warned
    assert all("looks like a grey image" in line for line in heard.warnings)


class Hearing(Silent):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)
