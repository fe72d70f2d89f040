"""`table`: a run writes the table that `tiler.measure` would make of its output."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import tifffile
from standins import LabelNet, ProbabilityNet, Stopping

import tiler
from tiler.errors import Interrupted, PlanError, SinkError

VOLUME = np.random.default_rng(0).integers(0, 250, (2, 37, 41), dtype=np.uint8)
LABELS = {"kind": "instances", "block": "32", "executor": "serial", "tile": "46"}


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, VOLUME, imagej=True, resolution=(2, 2), metadata={"axes": "ZYX", "unit": "um", "spacing": 3})
    return path


def rows(path):
    with path.open() as file:
        heading, *found = csv.reader(file)
    return heading, np.array(found, float)


def same(path, columns):
    heading, found = rows(path)
    assert heading == list(columns)
    np.testing.assert_allclose(found, np.stack(list(columns.values()), axis=1), rtol=1e-12)


@pytest.mark.parametrize("rules", [{}, {"connectivity": 26, "min_size": 3, "grow": 2}, {"link": 0.1, "roi": "y=3:30"}])
def test_a_table_is_that_of_the_finished_output(source, tmp_path, rules):
    output, table = tmp_path / "cells.zarr", tmp_path / "new" / "cells.csv"
    tiler.segment(source, LabelNet(), output, table=table, **LABELS, **rules)
    columns = tiler.measure(output)
    assert {"volume_micrometer3", "x_micrometer"} <= columns.keys()
    assert len(columns["id"]) > (rules.get("connectivity") != 26)
    same(table, columns)


def test_probabilities_are_measured_where_objects_are_cut_from_them(tmp_path):
    options = {**LABELS, "threshold": 0.5, "table": tmp_path / "t.csv"}
    ids = tiler.segment(VOLUME, ProbabilityNet(), **options)
    told = tiler.measure(ids, tiler.segment(VOLUME, ProbabilityNet()))
    same(tmp_path / "t.csv", {name.replace("image", "probability"): column for name, column in told.items()})


@pytest.mark.parametrize(("net", "rules"), [(LabelNet, {}), (ProbabilityNet, {"threshold": 0.5})])
@pytest.mark.parametrize("kept", [np.s_[0, :20, :20], np.s_[1, 33:, 35:], np.s_[:0]])
def test_blocks_without_objects_add_nothing_to_a_table(tmp_path, net, rules, kept):
    mask = np.zeros(VOLUME.shape, np.uint8)
    mask[kept] = 1
    ids = tiler.segment(VOLUME, net(), **LABELS, **rules, mask=mask, table=tmp_path / "t.csv")
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 1 + ids.max()


def test_the_blocks_do_not_change_a_table(tmp_path):
    for name, block in (("a", "16"), ("b", "2x40x24")):
        tiler.segment(VOLUME, LabelNet(), kind="instances", block=block, tile="22", table=tmp_path / f"{name}.csv")
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize("after", [9, 21, 28, 33])
def test_a_stopped_run_goes_on_to_the_same_table(source, tmp_path, after):
    table, whole = tmp_path / "cells.csv", tmp_path / "whole.csv"
    tiler.segment(source, LabelNet(), tmp_path / "whole.zarr", table=whole, **LABELS)
    first = Stopping(after)
    with pytest.raises(Interrupted):
        tiler.segment(source, LabelNet(), tmp_path / "c.zarr", listener=first, stop=first.stop, table=table, **LABELS)
    tiler.segment(source, LabelNet(), tmp_path / "c.zarr", resume=True)
    assert table.read_bytes() == whole.read_bytes()


def test_a_table_that_vanished_before_the_end_is_written_again(source, tmp_path):
    table, heard = tmp_path / "cells.csv", Vanishing(tmp_path / "cells.csv")
    with pytest.raises(Interrupted):
        tiler.segment(source, LabelNet(), tmp_path / "c.zarr", listener=heard, stop=heard.stop, table=table, **LABELS)
    assert not table.exists()
    tiler.segment(source, LabelNet(), tmp_path / "c.zarr", resume=True)
    same(table, tiler.measure(tmp_path / "c.zarr"))


class Vanishing(Stopping):
    """Deletes the table as soon as the output is finished from its parts, and stops the run there."""

    def __init__(self, table):
        super().__init__()
        self.table = table

    def stage(self, name):
        if name == "finish":
            self.table.unlink()
            raise Interrupted("stopped")


def test_a_table_is_never_replaced_or_changed_unasked(source, tmp_path):
    table, output = tmp_path / "cells.csv", tmp_path / "cells.zarr"
    table.write_text("mine")
    with pytest.raises(SinkError, match=r"cells.csv exists: overwrite=True replaces it"):
        tiler.segment(source, LabelNet(), output, table=table, **LABELS)
    assert table.read_text() == "mine"
    tiler.segment(source, LabelNet(), output, table=table, overwrite=True, **LABELS)
    with pytest.raises(SinkError, match=r"writes .*cells.csv, not .*other.csv: leave out table="):
        tiler.segment(source, LabelNet(), output, table=tmp_path / "other.csv", resume=True)


@pytest.mark.parametrize(("options", "message"), [
    ({"table": "cells.xlsx"}, "tables end in .csv or .parquet, got .*cells.xlsx"),
    ({"table": "s3://b/cells.csv"}, "is not the path of a file"),
    ({"table": "cells.csv", "kind": "labels"}, 'labels have no objects: say kind="instances", or leave out table='),
])
@pytest.mark.parametrize("function", [tiler.segment, tiler.plan])
def test_tables_that_cannot_be_made_are_refused_before_a_voxel_is_read(function, options, message):
    with pytest.raises((PlanError, SinkError), match=message):
        function(VOLUME, LabelNet(), **{**LABELS, **options})


def test_a_parquet_table_holds_the_same(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    tiler.segment(VOLUME, LabelNet(), **LABELS, table=tmp_path / "t.parquet")
    tiler.segment(VOLUME, LabelNet(), **LABELS, table=tmp_path / "t.csv")
    found = parquet.read_table(tmp_path / "t.parquet")
    assert str(found.schema.field("id").type) == "uint64"
    same(tmp_path / "t.csv", {name: found[name].to_numpy() for name in found.column_names})


def test_parquet_without_pyarrow_is_one_line(monkeypatch):
    monkeypatch.setattr("tiler.objects.table_files.find_spec", lambda name: None)
    with pytest.raises(SinkError, match=r"need pyarrow: pip install 'em-tiler\[parquet\]'"):
        tiler.plan(VOLUME, LabelNet(), **LABELS, table="t.parquet")


def test_a_plan_names_the_table():
    assert "table of objects" in str(tiler.plan(VOLUME, LabelNet(), **LABELS, table="t.csv"))


def test_a_table_that_is_a_folder_is_refused_by_the_plan(tmp_path):
    (tmp_path / "t.csv").mkdir()
    with pytest.raises(SinkError, match=r"t.csv: it is a folder \(table=\)"):
        tiler.plan(VOLUME, LabelNet(), table=tmp_path / "t.csv", **LABELS)


@pytest.mark.parametrize("name", ["table", "outlines"])
def test_a_folder_that_is_a_file_is_refused_by_the_plan(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(SinkError, match="file is not a folder"):
        tiler.plan(VOLUME, LabelNet(), **{name: tmp_path / "file" / "new" / "t.csv"}, **LABELS)
