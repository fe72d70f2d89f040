"""Learning curves: points are drawn at the right places."""

import csv
from xml.etree import ElementTree

from tiler.models.training.curves import COLUMNS, PANEL, TOP, Axes, write_csv, write_svg

ROWS = [{"step": 10, "seconds": 1.0, "learning_rate": 0.1, "loss": 1.0},
        {"step": 20, "seconds": 2.0, "learning_rate": 0.1, "loss": 0.01, "v_rand_thinned": 0.9, "pixel_error": 0.2},
        {"step": 30, "seconds": 3.0, "learning_rate": 0.1, "loss": 0.1, "v_rand_thinned": 1.0, "pixel_error": 0.1}]


def drawn(rows, tmp_path):
    write_svg(rows, tmp_path / "w.svg")
    root = ElementTree.parse(tmp_path / "w.svg").getroot()
    return [element.get("d") for element in root.iter() if element.tag.endswith("path")], list(root.itertext())


def test_values_lie_on_a_logarithmic_axis(tmp_path):
    axes = Axes(TOP, 30, 0.01, 1)
    assert [axes.y(value) for value in (1, 0.1, 0.01)] == [TOP, TOP + PANEL / 2, TOP + PANEL]
    assert axes.ticks() == [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1]
    paths, _ = drawn(ROWS, tmp_path)
    assert [path.count("L") for path in paths] == [2, 0, 1], "a perfect score has no place on a logarithmic axis"


def test_the_best_of_each_curve_is_written_beside_it(tmp_path):
    texts = drawn(ROWS, tmp_path)[1]
    assert {"training loss: 0.01 at 20", "1 - v_rand_thinned: 0.1 at 20", "pixel_error: 0.1 at 30"} <= set(texts)


def test_a_run_without_rows_or_without_validation_is_drawn_too(tmp_path):
    assert drawn([], tmp_path)[0] == []
    assert len(drawn(ROWS[:1], tmp_path)[0]) == 1


def test_what_a_row_does_not_have_stays_empty(tmp_path):
    write_csv(ROWS, tmp_path / "w.csv")
    with (tmp_path / "w.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert (rows[0]["pixel_error"], rows[1]["pixel_error"]) == ("", "0.2")
