"""`outlines`: one ROI for each piece of an object in a section, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from standins import LabelNet, Stopping

import tiler
from tiler.errors import Interrupted, SinkError
from tiler.geometry import Box, Grid
from tiler.jobs import outlined
from tiler.jobs.outlined import OutlineJob, RoisJob
from tiler.objects.outlines import outlines_of, pieces_of
from tiler.stores.shelf import MemoryShelf

RANDOM = np.random.default_rng(0)


def area(points):
    y, x = points.T.astype(float)
    return abs(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1))) / 2


@pytest.mark.parametrize("share", [0.3, 0.5, 0.7])
def test_an_outline_holds_the_pixels_of_its_piece_and_its_holes(share):
    for _ in range(60):
        mask = RANDOM.random(RANDOM.integers(1, 9, 2)) < share
        pieces, count = ndimage.label(mask)
        found = list(pieces_of(mask))
        assert len(found) == count
        for number, points in enumerate(found, 1):
            assert area(points) == ndimage.binary_fill_holes(pieces == number, np.ones((3, 3))).sum()
            assert points.min() >= 0


def test_corners_follow_the_borders_of_pixels():
    (points,) = pieces_of(np.array([[0, 1, 1], [0, 1, 0]], bool))
    assert points.tolist() == [[0, 1], [0, 3], [1, 3], [1, 2], [2, 2], [2, 1]]
    assert not list(outlines_of(np.zeros((3, 4), np.uint8)))


class Ids:
    """A volume of numbered objects in memory."""

    name = "ids"

    def __init__(self, ids):
        self.ids = ids

    def read(self, box):
        return self.ids[box.slices][None]


def all_of(ids, block):
    grid = Grid(Box.of_shape(ids.shape), block)
    job = OutlineJob(Ids(ids), grid, MemoryShelf())
    for index in range(len(grid)):
        job.write(index, job.compute(index, job.read(index)))
    too_large = []
    found = list(RoisJob(job, None)._outlines(too_large))
    return [(each.section, each.number, sorted(map(tuple, each.corners.tolist()))) for each in found], too_large


def test_blocks_do_not_change_the_outlines():
    ids = ndimage.zoom(RANDOM.integers(0, 6, (3, 7, 8)), (1, 4, 4), order=0).astype(np.uint32) * 7
    whole, _ = all_of(ids, ids.shape)
    assert len(whole) > 30
    for block in ((1, 5, 5), (2, 9, 32), (3, 28, 3)):
        found, _ = all_of(ids, block)
        assert sorted(found) == sorted(whole)
        assert [each[:2] for each in found] == [each[:2] for each in whole]


def test_objects_whose_box_is_too_large_are_counted(monkeypatch):
    monkeypatch.setattr(outlined, "LIMIT", 19)
    ids = np.zeros((1, 6, 12), np.uint8)
    ids[0, :2, 1:11], ids[0, 3:, 4:8] = 1, 2
    found, too_large = all_of(ids, (1, 6, 6))
    assert ([each[1] for each in found], too_large) == ([2], [1])
    monkeypatch.setattr(outlined, "LIMIT", 11)
    found, too_large = all_of(ids, (1, 6, 6))
    assert ([each[1] for each in found], too_large) == ([], [1, 2])


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "stack.npy"
    np.save(path, np.random.default_rng(0).integers(0, 250, (2, 37, 41), dtype=np.uint8))
    return path


def test_a_run_writes_rois_that_roifile_reads_and_resumes_to_the_same(source, tmp_path):
    roifile = pytest.importorskip("roifile")
    options = {"kind": "instances", "block": "32", "tile": "46", "executor": "serial"}
    ids = tiler.segment(source, LabelNet(), outlines=tmp_path / "whole.zip", **options)
    rois = roifile.roiread(tmp_path / "whole.zip")
    assert len(rois) == sum(ndimage.label(ids[z] == number)[1] for z in range(2) for number in np.unique(ids[z])[1:])
    first = rois[0]
    assert (first.name, first.position, first.roitype) == ("0001-1", 1, roifile.ROI_TYPE.TRACED)
    assert area(first.coordinates()) >= (ids[0] == 1).sum()
    heard = Stopping(22)
    with pytest.raises(Interrupted):
        tiler.segment(source, LabelNet(), tmp_path / "c.npy", outlines=tmp_path / "r.zip", listener=heard,
                      stop=heard.stop, **options)
    tiler.segment(source, LabelNet(), tmp_path / "c.npy", resume=True)
    again = roifile.roiread(tmp_path / "r.zip")
    assert [(roi.name, roi.coordinates().tolist()) for roi in again] == \
        [(roi.name, roi.coordinates().tolist()) for roi in rois]


@pytest.mark.parametrize(("path", "shape", "message"), [
    ("rois.roi", (2, 9, 9), "are written to a .zip, got"),
    ("rois.zip", (1, 9, 40_000), "at most 32767 x 32767 pixels, the output has 9 x 40000"),
])
def test_outlines_that_cannot_be_written_are_refused(path, shape, message):
    pytest.importorskip("roifile")
    with pytest.raises(SinkError, match=message):
        tiler.plan(np.zeros(shape, np.uint8), LabelNet(), kind="instances", outlines=path)


def test_without_roifile_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr("tiler.objects.roi_files.find_spec", lambda name: None)
    with pytest.raises(SinkError, match=r"need roifile: pip install 'em-tiler\[rois\]'"):
        tiler.plan(np.zeros((9, 9), np.uint8), LabelNet(), kind="instances", outlines="r.zip")
