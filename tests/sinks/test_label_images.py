"""The image that labels are added to: looked at when it is needed, and refused where it makes no sense."""

import json
import pickle

import numpy as np
import pytest
import zarr

from tiler.errors import SinkError
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import check_output, open_sink
from tiler.sinks.labels import Image

SIZES = (10, 31)
AXES = [{"name": axis, "type": "space"} for axis in "yx"]
CALIBRATION = Calibration(("y", "x"), SIZES, (1.0, 1.0), (None, None), (0.0, 0.0))
SPEC = OutputSpec((1, 1, *SIZES), np.dtype("uint8"), CALIBRATION,
                  ("a",), False, (1, 8, 8), (1, 8, 8), kind="labels")


def dataset(level, scale):
    return {"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}


WHOLE = {"axes": AXES, "datasets": [dataset(0, [1, 1]), dataset(1, [2, 4])]}


def make_image(place, multiscale, version="0.5"):
    group = zarr.create_group(str(place), zarr_format=3 if version == "0.5" else 2, overwrite=True)
    for level, shape in enumerate((SIZES, (5, 8))):
        group.create_array(str(level), shape=shape, dtype="uint8")
    ome = {"multiscales": [multiscale]}
    group.attrs.update({"ome": {"version": version, **ome}} if version == "0.5" else ome)
    return place


@pytest.fixture(params=["0.5", "0.4"])
def version(request):
    return request.param


@pytest.mark.parametrize("transformations", [None, [], [{"type": "translation", "translation": [0, 0]}]])
def test_where_scales_are_missing_the_sizes_of_the_levels_tell_the_factors(tmp_path, version, transformations):
    second = {"path": "1", "coordinateTransformations": transformations}
    place = make_image(tmp_path / "image.zarr", {**WHOLE, "datasets": [dataset(0, [1, 1]), second]}, version)
    assert Image.over(place / "labels/cells").factors(("y", "x")) == [(1, 1), (2, 4)]
    make_image(place, WHOLE, version)
    assert Image.over(place / "labels/cells").factors(("y", "x")) == [(1, 1), (2, 4)]


@pytest.mark.parametrize("multiscale", [
    {"datasets": WHOLE["datasets"]}, {**WHOLE, "axes": ["y", "x"]}, {**WHOLE, "axes": None}, {"axes": AXES},
    {**WHOLE, "datasets": None}, {**WHOLE, "datasets": [{}]}, {**WHOLE, "datasets": ["0", "1"]},
    {**WHOLE, "datasets": [{"path": "7"}]}, {**WHOLE, "axes": AXES[:1]},
    {**WHOLE, "datasets": [dataset(0, [1, 1]), dataset(1, [2])]},
    {**WHOLE, "datasets": [dataset(0, [0, 0]), dataset(1, [2, 2])]},
    {**WHOLE, "datasets": [dataset(0, [1, 1]), dataset(1, ["wide", "high"])]},
    {**WHOLE, "datasets": [dataset(0, [1, 1]), dataset(1, [float("inf"), 2])]}])
def test_an_image_that_makes_no_sense_is_refused_in_one_line(tmp_path, version, multiscale):
    place = make_image(tmp_path / "image.zarr", multiscale, version)
    with pytest.raises(SinkError, match=r"levels of .*image\.zarr makes no sense .*choose another") as refusal:
        Image.over(place / "labels/cells")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", ["{", "3", '{"zarr_format": 3, "node_type": "group", "attributes": 3}'])
def test_damaged_metadata_are_no_image(tmp_path, content):
    (tmp_path / "image.zarr").mkdir()
    (tmp_path / "image.zarr/zarr.json").write_text(content)
    with pytest.raises(SinkError, match="is not a zarr group; labels are added to"):
        Image.over(tmp_path / "image.zarr/labels/cells")


@pytest.mark.parametrize("ome", [3, {"multiscales": {}}, {"multiscales": {"0": 1}}, {"multiscales": [3]}, {}])
def test_other_things_under_the_same_name_are_no_image(tmp_path, ome):
    place = make_image(tmp_path / "image.zarr", WHOLE)
    content = json.loads((place / "zarr.json").read_bytes())
    content["attributes"]["ome"] = ome
    (place / "zarr.json").write_text(json.dumps(content))
    with pytest.raises(SinkError, match=r"not an OME-Zarr image|makes no sense"):
        Image.over(place / "labels/cells")


def test_a_sink_looks_at_its_image_when_it_is_needed_and_once(tmp_path, monkeypatch):
    place = tmp_path / "image.zarr"
    sink = open_sink(place / "labels/cells", SPEC)  # there is nothing yet
    check_output(place / "labels/cells", ["ngff"])
    make_image(place, WHOLE)
    looks, look = [], Image.over.__func__
    monkeypatch.setattr(Image, "over", classmethod(lambda cls, output: looks.append(output) or look(cls, output)))
    assert [level.shape for level in sink.levels()] == [SIZES, (5, 8)]
    assert sink.room.output == 10 * 31 + 5 * 8
    sink.create()
    assert len(looks) == 1
    again = pickle.loads(pickle.dumps(sink))
    assert len(looks) == 1
    assert (again.levels(), len(looks)) == (sink.levels(), 2)
