"""A batch says which input it is at, and ends with a table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tiler.cli.batch import Pair
from tiler.cli.outcomes import Outcome, Turn, conclude, table_of
from tiler.cli.progress import Lines
from tiler.cli.talk import Named
from tiler.errors import Interrupted, SourceError

GOOD = Outcome(Pair("a.tif", Path("out/a.tif"), {"table": "a.csv"}), None, 12.34, 1205)
BAD = Outcome(Pair("longer.tif", Path("out/b.tif")), SourceError("longer.tif does not exist"))


def test_the_table_of_a_batch_has_a_row_for_each_input():
    assert table_of([GOOD, BAD]) == ["input       objects  seconds  output",
                                     "a.tif          1205     12.3  out/a.tif",
                                     "longer.tif        -        -  failed"]
    plain = Outcome(GOOD.pair, None, 1.0)
    assert table_of([plain, plain])[0].split() == ["input", "seconds", "output"]


@pytest.mark.parametrize(("outcomes", "quiet", "code", "lines"), [
    ([GOOD], False, 0, 0), ([GOOD, GOOD], False, 0, 3), ([GOOD, GOOD], True, 0, 0), ([GOOD, BAD], False, 1, 5),
    ([GOOD, Outcome(BAD.pair, Interrupted("not begun"))], True, 130, 2)])
def test_a_single_input_and_quiet_runs_have_no_table(outcomes, quiet, code, lines, capsys):
    assert conclude(outcomes, quiet) == code
    assert len(capsys.readouterr().err.splitlines()) == lines


def test_json_tells_what_there_is():
    assert json.loads(json.dumps(GOOD.to_json())) == {
        "source": "a.tif", "output": "out/a.tif", "seconds": 12.34, "objects": 1205, "table": "a.csv"}


def test_progress_names_the_input(capsys):
    assert Turn(1, 1).named(GOOD.pair) == ""
    listener = Named(Lines(), Turn(2, 5).named(Pair("folder/b.tif", Path("b.zarr"))))
    listener.stage("model")
    listener.started(1, 0)
    listener.finished_block(0, 10)
    assert capsys.readouterr().err.startswith("2 of 5, b.tif: model: 1 of 1 blocks")
