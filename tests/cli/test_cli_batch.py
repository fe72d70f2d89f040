"""Names of several outputs: templates, formats, and patterns that no shell has expanded."""

from __future__ import annotations

from pathlib import Path

import pytest

from tiler.cli.batch import pair_up
from tiler.cli.segment import with_model_opened
from tiler.errors import PlanError


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b.tif", "a.ome.tif", "sub/c.tif", "odd[1].tif"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).touch()


def outputs(sources, output=None, suffix=None):
    return [str(pair.output) for pair in pair_up(tuple(sources), output, suffix)]


def test_a_name_with_stem_names_the_output_of_each_input(inputs):
    assert outputs(["b.tif", "a.ome.tif"], "out/{stem}_cells.tif") == ["out/b_cells.tif", "out/a_cells.tif"]
    assert outputs(["b.tif"], "{stem}.zarr/labels/cells") == ["b.zarr/labels/cells"]
    assert outputs(["b.tif"], "{stem}_cells", "ome.tif") == ["b_cells.ome.tif"]


def test_a_table_belongs_to_each_input(inputs):
    def tables(sources, table):
        return [pair.files["table"] for pair in pair_up(tuple(sources), "out/", None, {"table": table})]

    assert tables(["b.tif", "a.ome.tif"], "out/{stem}.csv") == ["out/b.csv", "out/a.csv"]
    assert tables(["b.tif"], "cells.csv") == ["cells.csv"]
    with pytest.raises(PlanError, match=r"2 inputs need a table each: a name with {stem}; t.csv names one file"):
        tables(["b.tif", "a.ome.tif"], "t.csv")
    with pytest.raises(PlanError, match="cannot name a table"):
        tables(["b.tif"], "{x}.csv")
    with pytest.raises(PlanError, match=r"would both be written to x.zarr"):
        pair_up(("b.tif",), "x.zarr", None, {"table": "x.zarr"})


@pytest.mark.parametrize(("output", "suffix", "expected"), [
    (None, "tif", "b_segmented.tif"), (None, None, "b_segmented.zarr"), ("out/", "h5", "out/b_segmented.h5"),
    ("x.ome.tif", "ome.tif", "x.ome.tif"),
])
def test_a_format_ends_the_names_that_are_not_given(inputs, output, suffix, expected):
    assert outputs(["b.tif"], output, suffix) == [expected]


@pytest.mark.parametrize(("pattern", "names"), [
    ("*.tif", ["a", "b", "odd[1]"]), ("**/*.tif", ["a", "b", "odd[1]", "c"]), ("odd[1].tif", ["odd[1]"]),
    ("[ab].*", ["a", "b"])])
def test_a_pattern_stands_for_the_files_that_match(inputs, pattern, names):
    assert outputs([pattern], "out/") == [f"out/{name}_segmented.zarr" for name in names]


@pytest.mark.parametrize(("sources", "output", "suffix", "message"), [
    (["*.png"], None, None, r"no file matches \*.png"),
    (["b.tif"], "{name}.tif", None, "stands for the name of each input, and nothing else"),
    (["b.tif"], "{stem.tif", None, "stands for the name of each input, and nothing else"),
    (["b.tif", "a.ome.tif"], "x.tif", None, "or a name with {stem}; x.tif names one file"),
    (["b.tif", "sub/../b.tif"], "{stem}.tif", None, "would both be written to b.tif"),
    (["b.tif"], "x.tif", "h5", "x.tif does not end in .h5: leave out format="),
])
def test_names_that_make_no_sense_are_refused(inputs, sources, output, suffix, message):
    with pytest.raises(PlanError, match=message):
        outputs(sources, output, suffix)


def test_a_model_is_not_shared_by_inputs_whose_sizes_decide_how_it_is_opened():
    given = {"model": "unet", "trust": False}
    for name, value in (("rescale", "auto"), ("average", "rot7")):
        options = {**given, name: value, "weights": None}
        assert with_model_opened(options, inputs=2, quiet=True) == {**given, name: value}
