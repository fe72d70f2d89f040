"""Labels inside an OME-Zarr image: listed there, as many levels, its version, and nothing of it in the way."""

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaozarrs
import zarr
from standins import LabelNet, Stopping

import tiler
from tiler.errors import Interrupted, SinkError
from tiler.evaluation.meaning import written_by_tiler
from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import open_sink
from tiler.sinks.pyramid import mode_of, reduced

SIZES = (2, 600, 40)
VOLUME = np.random.default_rng(0).integers(0, 250, SIZES, dtype=np.uint8)
SCALE, OFFSET = (50.0, 4.0, 4.0), (100.0, 8.0, 16.0)
FILES = {"0.5": "zarr.json", "0.4": ".zattrs"}
CHOICES = {"tile": "62", "block": "1x200x40"}


def make_image(path, ngff="0.5"):
    """An OME-Zarr image of two levels, of somebody else's making."""
    calibration = Calibration(("z", "y", "x"), SIZES, SCALE, ("nanometer",) * 3, OFFSET)
    spec = OutputSpec((1, *SIZES), np.dtype("uint8"), calibration, ("grey",), False, SIZES, (1, 300, 40), ngff=ngff)
    sink = open_sink(path, spec)
    sink.create()
    sink.write(Box.of_shape(SIZES), VOLUME[None])
    sink.finish({})
    return path


@pytest.fixture(params=["0.5", "0.4"])
def ngff(request):
    return request.param


@pytest.fixture
def image(tmp_path, ngff):
    return make_image(tmp_path / "image.zarr", ngff)


def listed(image, ngff):
    content = json.loads((image / "labels" / FILES[ngff]).read_bytes())
    return (content["attributes"]["ome"] if ngff == "0.5" else content)["labels"]


def names(folder):
    """Files in a folder, without the empty files of locks, which stay."""
    return sorted(path.name for path in folder.iterdir() if path.suffix not in (".lock", ".listing"))


@pytest.mark.parametrize(("kind", "dtype"), [("labels", "uint8"), ("instances", "uint32")])
def test_labels_belong_to_their_image(image, ngff, kind, dtype, tmp_path):
    before = (image / FILES[ngff]).read_bytes()
    place = tiler.segment(image, LabelNet(), image / "labels" / "cells", kind=kind, **CHOICES)
    assert place == image / "labels/cells"
    assert listed(image, ngff) == ["cells"]
    assert (image / FILES[ngff]).read_bytes() == before
    assert names(tmp_path) == ["image.zarr", "image.zarr.labels.cells.journal"]
    assert set(names(image / "labels")) == {"cells", FILES[ngff]} | ({".zgroup"} if ngff == "0.4" else set())
    expected = tiler.segment(VOLUME, LabelNet(), kind=kind, **CHOICES)
    volume = tiler.open_volume(place)
    assert (volume.dtype, volume.calibration.scale, volume.calibration.offset) == (dtype, SCALE, OFFSET)
    np.testing.assert_array_equal(volume.read(Box.of_shape(SIZES))[0], expected)
    np.testing.assert_array_equal(zarr.open_array(place / "1", mode="r")[...], reduced(expected, (1, 2, 2), mode_of))
    assert tiler.check(place, model=LabelNet(), windows=2).sound
    assert written_by_tiler(place / "0").kind == kind
    assert written_by_tiler(image / "0").kind == "probabilities"


def test_an_independent_validator_accepts_the_image_with_its_labels(image, ngff):
    for kind in ("labels", "instances"):
        tiler.segment(image, LabelNet(), image / "labels" / kind, kind=kind, roi="0:1,7:500,3:30", **CHOICES)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of levels that are more or fewer than the image's, too
        yaozarrs.validate_zarr_store(str(image))
        members = zarr.open_group(image / "labels", mode="r").members()  # which warns of what is no zarr
        assert sorted(name for name, _ in members) == ["instances", "labels"]
    assert listed(image, ngff) == ["labels", "instances"]
    shorten(image / "labels/labels" / FILES[ngff])
    with pytest.raises(ValueError, match="has 1 datasets, but parent image multiscale index 0 has 2"):
        yaozarrs.validate_zarr_store(str(image))


def shorten(file):
    """One level less."""
    content = json.loads(file.read_bytes())
    content.get("attributes", {}).get("ome", content)["multiscales"][0]["datasets"].pop()
    file.write_text(json.dumps(content))


def test_metadata_tell_the_image_the_colours_and_the_place(image, ngff):
    tiler.segment(image, LabelNet(), image / "labels/labels", kind="labels", roi="0:1,7:500,3:30", **CHOICES)
    found = yaozarrs.open_group(str(image / "labels/labels")).ome_metadata()
    assert isinstance(found, (yaozarrs.v05 if ngff == "0.5" else yaozarrs.v04).LabelImage)
    assert found.image_label.source.image == "../../"
    assert [color.label_value for color in found.image_label.colors] == [0]  # this network names one class
    assert [len(each.datasets) for each in found.multiscales] == [2]
    one = tiler.open_volume(image / "labels/labels")
    assert one.shape == (1, 1, 493, 27)
    assert one.calibration.offset == (100.0, 8.0 + 4 * 7, 16.0 + 4 * 3)


def test_the_levels_are_those_of_the_image(tmp_path):
    """Which halved z and ends where this output would have gone on, or has levels where it would have none."""
    image = tmp_path / "image.zarr"
    group = zarr.create_group(str(image))
    scales = [(10.0, 4.0, 4.0), (20.0, 8.0, 8.1), (20.0, 32.0, 32.0)]
    for level, scale in enumerate(scales):
        shape = [round(size * first / step) for size, first, step in zip(SIZES, scales[0], scale, strict=True)]
        group.create_array(str(level), shape=shape, dtype="uint8", chunks=(1, 300, 40), dimension_names=tuple("zyx"))
    group["0"][...] = VOLUME
    datasets = [{"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": scale}]}
                for level, scale in enumerate(scales)]
    axes = [{"name": axis, "type": "space"} for axis in "zyx"]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}]}
    tiler.segment(image, LabelNet(), image / "labels/cells", kind="labels", **CHOICES)
    shapes = [zarr.open_array(image / "labels/cells" / str(level), mode="r").shape for level in range(3)]
    assert shapes == [(2, 600, 40), (1, 300, 20), (1, 75, 5)]
    yaozarrs.validate_zarr_store(str(image))


def test_a_stopped_run_is_resumed_and_nothing_is_listed_before(image, ngff, tmp_path):
    place, listener = image / "labels/cells", Stopping(after=3)
    with pytest.raises(Interrupted):
        tiler.segment(image, LabelNet(), place, kind="instances", listener=listener, stop=listener.stop, **CHOICES)
    assert names(image / "labels") == ["cells.partial"]
    assert [path.name for path in tmp_path.glob("*.stage.zarr*")] == ["image.zarr.labels.cells.stage.zarr.partial"]
    yaozarrs.validate_zarr_store(str(image))
    with pytest.raises(SinkError, match="has an unfinished run: resume="):
        tiler.segment(image, LabelNet(), place, kind="instances")
    again = Stopping()
    tiler.segment(image, LabelNet(), place, resume=True, listener=again)
    assert again.blocks > 3
    assert listed(image, ngff) == ["cells"]
    assert names(tmp_path) == ["image.zarr", "image.zarr.labels.cells.journal"]


def test_a_crash_before_the_list_is_written_is_mended(image, ngff, monkeypatch):
    class Crash(BaseException):
        """The power fails."""

    def crash(*given):
        raise Crash

    place = image / "labels/cells"
    with monkeypatch.context() as patch:
        patch.setattr("tiler.sinks.listing.Listing.add", crash)
        with pytest.raises(Crash):
            tiler.segment(image, LabelNet(), place, kind="labels", **CHOICES)
    assert not (image / "labels" / FILES[ngff]).exists()
    tiler.segment(image, LabelNet(), place, resume=True)
    assert listed(image, ngff) == ["cells"]


def test_a_name_in_use_is_refused_and_replaced_on_demand(image, ngff):
    place = image / "labels/cells"
    for name in ("cells", "others"):
        tiler.segment(image, LabelNet(), image / "labels" / name, kind="labels", **CHOICES)
    with pytest.raises(SinkError, match="cells exists: overwrite=True replaces it, output= chooses another name"):
        tiler.segment(image, LabelNet(), place, kind="instances", **CHOICES)
    tiler.segment(image, LabelNet(), place, kind="instances", overwrite=True, **CHOICES)
    assert tiler.open_volume(place).dtype == "uint32"
    assert listed(image, ngff) == ["cells", "others"]


def test_names_that_others_listed_stay(image, ngff):
    (image / "labels").mkdir()
    theirs = {"labels": ["nuclei"], "mine": 7}
    content = theirs if ngff == "0.4" else {"zarr_format": 3, "node_type": "group", "attributes": {
        "ome": {"version": "0.5", **theirs}}}
    (image / "labels" / FILES[ngff]).write_text(json.dumps(content))
    tiler.segment(image, LabelNet(), image / "labels/cells", kind="labels", **CHOICES)
    found = json.loads((image / "labels" / FILES[ngff]).read_bytes())
    assert (found["attributes"]["ome"] if ngff == "0.5" else found) == {
        **theirs, "labels": ["nuclei", "cells"], **({"version": "0.5"} if ngff == "0.5" else {})}


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_consolidated_metadata_know_the_labels(image, ngff):
    zarr.consolidate_metadata(str(image))
    tiler.segment(image, LabelNet(), image / "labels/cells", kind="labels", **CHOICES)
    assert zarr.open_consolidated(str(image))["labels/cells/1"].shape == (2, 300, 20)


@pytest.mark.parametrize(("place", "options", "message"), [
    ("nothing.zarr/labels/cells", {}, r"nothing\.zarr does not exist; labels are added to an OME-Zarr image"),
    ("plain.zarr/labels/cells", {}, r"plain\.zarr is not an OME-Zarr image, so labels cannot be added"),
    ("array.zarr/labels/cells", {}, r"array\.zarr is not a zarr group; labels are added to"),
    ("old.zarr/labels/cells", {}, r"old\.zarr is OME-NGFF 0\.3 in zarr 2; labels are added to 0\.5 in zarr 3 and 0\.4"),
    ("image.zarr/labels/cells", {"ngff": "0.4"}, r"image\.zarr is OME-NGFF 0\.5, and so are its labels; got 0\.4"),
    ("image.zarr/labels/cells", {"kind": "probabilities"}, "which probabilities cannot be: say kind=.labels"),
    ("image.zarr/labels/cells.tif", {}, r"is the place of a label image inside a zarr.*leave out \.tif"),
    ("image.zarr/labels/deeper/cells", {}, "outputs end in .zarr"),
    *((f"image.zarr/labels/{name}", {"overwrite": True}, f"a label image cannot be called {name}, since names that")
      for name in ("cells.partial", "Cells.Replaced", "zarr.json", ".zattrs", ".zgroup", ".zmetadata", "__cells")),
])
def test_where_no_labels_can_be_is_said_in_one_line(tmp_path, place, options, message):
    make_image(tmp_path / "image.zarr")
    zarr.create_group(str(tmp_path / "plain.zarr"))
    zarr.create_array(str(tmp_path / "array.zarr"), data=VOLUME)
    old = zarr.create_group(str(tmp_path / "old.zarr"), zarr_format=2)
    old.attrs["multiscales"] = [{"version": "0.3", "axes": ["z", "y", "x"], "datasets": [{"path": "0"}]}]
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SinkError, match=message) as refusal:
        tiler.segment(VOLUME, LabelNet(), tmp_path / place, **{"kind": "labels", **CHOICES, **options})
    assert "\n" not in str(refusal.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_inside_the_image_the_name_alone_will_do(tmp_path, monkeypatch):
    image = make_image(tmp_path / "image.zarr").rename(tmp_path / "image")  # which does not say what it is
    monkeypatch.chdir(image)
    assert tiler.segment(VOLUME, LabelNet(), "labels/cells", kind="labels", **CHOICES) == Path("labels/cells")
    assert listed(image, "0.5") == ["cells"]
    assert names(tmp_path) == ["image", "image.labels.cells.journal"]
