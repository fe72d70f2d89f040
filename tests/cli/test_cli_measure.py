"""`tiler measure`: a table on stdout or in a file."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tifffile

import tiler as package


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.zeros((3, 20, 30), np.uint16)
    labels[:2, 2:9, 3:9], labels[1:, 12:, 20:] = 7, 300
    tifffile.imwrite("cells.tif", labels, photometric="minisblack")
    tifffile.imwrite("raw.tif", np.arange(1800, dtype=np.uint16).reshape(3, 20, 30), photometric="minisblack")
    return tmp_path


def test_a_table_opens_in_pandas_and_is_that_of_python(folder, tiler):
    pandas = pytest.importorskip("pandas")
    told = tiler("measure", "cells.tif", "raw.tif", "-o", "t.csv", "--quiet")
    assert (told.code, told.err) == (0, "")
    assert told.out == "2 objects, 17 columns: t.csv\n"
    frame, table = pandas.read_csv("t.csv"), package.measure("cells.tif", "raw.tif")
    assert frame["id"].tolist() == [7, 300]
    assert {"voxels", "y", "z_start", "sections", "touches_border", "raw_mean", "raw_std"} <= set(frame)
    for name, column in table.items():
        np.testing.assert_array_equal(frame[name], column)


def test_without_a_file_the_table_alone_is_on_stdout(folder, tiler):
    told = tiler("measure", "cells.tif", "--quiet")
    assert told.out.splitlines()[0].startswith("id,voxels,z,y,x,")
    assert [line.split(",")[0] for line in told.out.splitlines()[1:]] == ["7", "300"]


def test_json_tells_what_was_written(folder, tiler):
    told = json.loads(tiler("measure", "cells.tif", "-o", "t.csv", "--json", "-q").out)
    assert (told["objects"], told["output"], told["columns"][0]) == (2, "t.csv", "id")
    assert tiler("measure", "cells.tif", "--json").code == 2


@pytest.mark.parametrize(("arguments", "message"), [
    (["raw.tif", "cells.tif", "-o", "t.xlsx"], "tables end in .csv or .parquet, got t.xlsx (-o)"),
    (["raw.tif", "-o", "none/t.csv"], "its folder does not exist"),
    (["cells.tif", "-o", "a" * 300 + ".csv"], "File name too long"),
    (["none.tif"], "none.tif"),
])
def test_what_is_wrong_is_one_line(folder, tiler, arguments, message):
    told = tiler("measure", *arguments)
    assert told.code == 1
    assert message in told.err
    assert len(told.err.splitlines()) == 1
