"""Files beside an output have one name, however the output is reached, and every output has its own."""

import itertools
from pathlib import Path

import pytest

from tiler.errors import JournalError, SinkError
from tiler.running.output import output_of
from tiler.stores.address import place_of
from tiler.stores.label_places import beside, is_label


@pytest.mark.parametrize(("output", "told"), [
    ("s3://lab/a.zarr/labels/x", True), ("s3://lab/p.zarr/A/1/labels/x.zarr", True), ("s3://lab/a/labels/x", False),
    ("s3://lab/x.zarr", False), ("s3://lab/labels/x.zarr", False), ("/x.zarr", False),
    ("/labels/x.zarr", False), ("/nowhere/a.ZARR/labels/x", True), ("/nowhere/a.zarr/labels/deep/x", False)])
def test_label_images_are_known_by_their_place(output, told):
    output = place_of(output)
    assert is_label(output) == told
    assert told or beside(output, ".lock") == output.with_name(output.name + ".lock")


PLACES = ["p.zarr/A/1/labels/x", "p.zarr/A.1/labels/x", "p.zarr/A=2E1/labels/x", "p.zarr/A.1/labels/x.zarr",
          "p.zarr/A/labels/labels/x", "p.zarr/A.labels/labels/x", "p.zarr/labels/x", "q.zarr/labels/x"]


@pytest.mark.parametrize("root", ["s3://lab", "/nowhere"])
def test_two_outputs_share_no_file(root):
    for one, other in itertools.combinations(PLACES, 2):
        assert beside(place_of(f"{root}/{one}"), ".journal") != beside(place_of(f"{root}/{other}"), ".journal")
    assert str(beside(place_of(f"{root}/p.zarr/A/1/labels/x"), ".journal")) == f"{root}/p.zarr.A.1.labels.x.journal"


def make_group(folder: Path) -> Path:
    """A zarr without the suffix .zarr."""
    folder.mkdir(parents=True)
    (folder / "zarr.json").write_text("{}")
    return folder


def test_it_lies_outside_of_every_zarr(tmp_path):
    collection = make_group(tmp_path / "collection")
    image = make_group(collection / "more" / "image")
    assert beside(image / "labels/x", ".lock") == tmp_path / "collection.more.image.labels.x.lock"


@pytest.mark.parametrize("real", ["real.zarr", "real"])
def test_links_lead_to_one_lock(tmp_path, real):
    make_group(tmp_path / "data" / real)
    (tmp_path / "alias.zarr").symlink_to(tmp_path / "data" / real)
    by_link, directly = tmp_path / "alias.zarr/labels/x", tmp_path / "data" / real / "labels/x"
    assert beside(by_link, ".journal") == beside(directly, ".journal") == tmp_path / f"data/{real}.labels.x.journal"
    again = output_of(directly)
    with output_of(by_link).lock(), pytest.raises(JournalError, match="another run is writing"), again.lock():
        pass


@pytest.mark.parametrize("name", ["/", ".", "", "a" * 300 + ".zarr", "a" * 250 + ".tif", "a" * 245 + ".zarr",
                                  "a\0.zarr", "image.zarr/labels/" + "a" * 250])
def test_names_that_no_file_can_have_are_refused_in_one_line(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SinkError) as refused:
        output_of(name)
    assert refused.value.option == "output"
    assert "\n" not in str(refused.value)
    assert output_of("a" * 242 + ".zarr").state.value == "nothing"
