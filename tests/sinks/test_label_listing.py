"""The list of an image's labels and the copies of its metadata: one run at a time, and nothing of others is touched."""

import json
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from filelock import FileLock

from tiler.errors import SinkError
from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import listing, open_sink
from tiler.sinks.listing import Listing

SIZES = (8, 8)
KEPT = {"0.5": "zarr.json", "0.4": ".zmetadata"}
FILES = {"0.5": "zarr.json", "0.4": ".zattrs"}
pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")


@pytest.fixture(params=["0.5", "0.4"])
def ngff(request):
    return request.param


@pytest.fixture
def plate(tmp_path, ngff):
    """An image in a plate, both with all metadata in one piece, and a label image of somebody's that is not whole."""
    zarr_format = {"0.5": 3, "0.4": 2}[ngff]
    plate = zarr.create_group(str(tmp_path / "plate.zarr"), zarr_format=zarr_format, attributes={"theirs": 1})
    image = plate.create_group("A/1")
    datasets = [{"path": str(level), "coordinateTransformations": [{"type": "scale", "scale": [1 << level] * 2}]}
                for level in range(2)]
    ome = {"version": ngff, "multiscales": [{
        "version": ngff, "axes": [{"name": axis, "type": "space"} for axis in "yx"], "datasets": datasets}]}
    image.attrs.update({"ome": ome} if ngff == "0.5" else ome)
    for level in range(2):
        image.create_array(str(level), shape=(8 >> level,) * 2, dtype="uint8")
    for group in (plate, image):
        zarr.consolidate_metadata(group.store, path=group.path)
    image.create_group("labels/other.partial")
    return tmp_path / "plate.zarr"


def sink_of(plate, name, ngff):
    calibration = Calibration(("y", "x"), SIZES, (1.0, 1.0), (None, None), (0.0, 0.0))
    return open_sink(plate / "A/1/labels" / name, OutputSpec(
        (1, 1, *SIZES), np.dtype("uint8"), calibration, ("a",), False, (1, 8, 8), (1, 8, 8), kind="labels", ngff=ngff))


def make_labels(plate, name, ngff):
    sink = sink_of(plate, name, ngff)
    sink.create()
    sink.write(Box.of_shape((1, *SIZES)), np.full((1, 1, *SIZES), len(name), np.uint8))
    sink.finish({})


def listed(group, ngff):
    found = group.attrs.asdict()
    return found.get("ome", found)["labels"]


def test_what_is_kept_is_added_to_and_nothing_else(plate, ngff):
    for name in ("cells", "nuclei"):
        make_labels(plate, name, ngff)
    for place, inner in ((plate, "A/1/labels"), (plate / "A/1", "labels")):
        found = zarr.open_consolidated(str(place))
        assert listed(found[inner], ngff) == ["cells", "nuclei"]
        assert sorted(found[inner].group_keys()) == ["cells", "nuclei"]
        assert [found[f"{inner}/nuclei/{level}"].shape for level in range(2)] == [(8, 8), (4, 4)]
    assert zarr.open_consolidated(str(plate)).attrs["theirs"] == 1
    assert "other.partial" not in (plate / KEPT[ngff]).read_text()


def test_what_is_kept_says_what_is_there(plate, ngff):
    """As zarr itself would put it together."""
    make_labels(plate, "cells", ngff)
    (plate / "A/1/labels/other.partial").rename(plate.parent / "other")
    ours = json.loads((plate / KEPT[ngff]).read_bytes())
    zarr.consolidate_metadata(str(plate))
    theirs = json.loads((plate / KEPT[ngff]).read_bytes())
    assert plain(ours) == plain(theirs)


def plain(content):
    """Without what zarr leaves in the descriptions of groups, which hold nothing."""
    kept = content.get("consolidated_metadata", content)["metadata"]
    return {key: {name: value for name, value in each.items() if name != "consolidated_metadata"}
            for key, each in kept.items() if each}


def test_what_was_kept_of_an_older_label_image_is_gone(plate, ngff):
    make_labels(plate, "cells", ngff)
    zarr.consolidate_metadata(str(plate / "A/1/labels"))
    Listing(plate / "A/1", ngff).take_off("cells")
    for place in (plate, plate / "A/1", plate / "A/1/labels"):
        assert "cells" not in (place / KEPT[ngff]).read_text()
    assert json.loads((plate / "A/1/labels" / FILES[ngff]).read_bytes())


def test_two_runs_that_finish_at_once_are_both_there(plate, ngff, monkeypatch):
    """The second one begins when the first one has read the plate's metadata and not yet written them."""
    write, others = listing.write_json, []
    zarr.open_group(plate / "A/1", use_consolidated=False).create_group("labels/nuclei")

    def late(path: Path, content):
        if path == plate / KEPT[ngff] and not others:
            others.append(threading.Thread(target=Listing(plate / "A/1", ngff).add, args=("nuclei", [])))
            others[0].start()
            others[0].join(0.5)
        write(path, content)

    monkeypatch.setattr(listing, "write_json", late)
    make_labels(plate, "cells", ngff)
    others[0].join(30)
    found = zarr.open_consolidated(str(plate))["A/1/labels"]
    assert sorted(found.group_keys()) == sorted(listed(found, ngff)) == ["cells", "nuclei"]
    assert sorted(path.name for path in plate.parent.iterdir()) == ["plate.zarr", "plate.zarr.listing"]


def test_metadata_are_replaced_in_one_step(plate, ngff, monkeypatch):
    """A crash leaves the old ones."""
    before = (plate / KEPT[ngff]).read_bytes()
    written = []
    monkeypatch.setattr(listing, "write_json", lambda path, content: written.append(path))
    make_labels(plate, "cells", ngff)
    assert plate / KEPT[ngff] in written
    assert (plate / KEPT[ngff]).read_bytes() == before


@pytest.mark.parametrize(("stored", "reason"), [
    ('{"attributes": 3, "labels": 3}', ""),
    ('{"attributes": {"ome": {"labels": "cells"}}, "labels": "cells"}', "'cells' is not a list of names"),
    ("[]", ""), ("{", "")])
def test_a_list_that_makes_no_sense_is_found_before_anything_is_made(plate, ngff, stored, reason):
    (plate / "A/1/labels" / FILES[ngff]).write_text(stored)
    before = sorted(plate.parent.rglob("*"))
    sink = sink_of(plate, "cells", ngff)
    for asked in (sink.create, lambda: sink.room):
        with pytest.raises(SinkError, match=f"list of labels of .* makes no sense, so nothing can be added.*{reason}"):
            asked()
    assert sorted(plate.parent.rglob("*")) == before


def test_a_lock_is_free_after_a_failure_and_not_waited_for_without_end(plate, ngff, monkeypatch):
    lock = plate.parent / "plate.zarr.listing"
    one = Listing(plate / "A/1", ngff)
    (plate / "A/1/labels" / FILES[ngff]).write_text("{")
    with pytest.raises(SinkError, match="makes no sense"):
        one.add("cells", ["0"])
    with FileLock(lock, timeout=0):
        pass
    (plate / "A/1/labels" / FILES[ngff]).write_text("{}")
    monkeypatch.setattr(listing, "PATIENCE", 0.0)
    with FileLock(lock), pytest.raises(SinkError, match=r"another run holds .*plate\.zarr\.listing: go on later with"):
        one.add("cells", ["0"])
