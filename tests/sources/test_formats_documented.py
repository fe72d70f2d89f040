"""The page of formats names every suffix that is read, written or converted, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from tiler import sinks, sources
from tiler.sources.elsewhere import CONVERTERS

PAGE = (Path(sources.__file__).parents[1] / "docs/pages/formats.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]
HEADINGS = ("format", "option", "text", "formats")


def table(heading):
    """The rows of the table that begins with this word."""
    start = next(number for number, row in enumerate(ROWS) if row[0] == heading) + 1
    end = next((number for number, row in enumerate(ROWS) if number >= start and row[0] in HEADINGS), len(ROWS))
    return ROWS[start:end]


def suffixes(text):
    return set(re.findall(r"(?<![\w/*])\.[a-z][a-z0-9]*(?:\.[a-z]+)?\b", text))


def test_every_suffix_that_is_read_or_written_is_in_the_table_and_no_other():
    known = {suffix for each in (*sources.FORMATS, *sinks.FORMATS) for suffix in each.suffixes}
    assert suffixes(" ".join(row[0] for row in table("format"))) - {".n5"} == known - {".n5", ".precomputed"}
    for suffix in (".n5", ".precomputed"):
        assert f"out{suffix}" in PAGE


def test_every_suffix_that_is_converted_is_in_the_table_and_no_other():
    assert suffixes(" ".join(row[0] for row in table("formats"))) == set(CONVERTERS)


def test_what_is_written_says_so():
    ours = {suffix for each in sinks.FORMATS for suffix in each.suffixes}
    written = [row[2] for row in table("format") if suffixes(row[0]) & ours]
    assert "no" not in written


def test_options_of_storage_are_those_of_the_formats():
    columns = (".zarr", ".n5", ".precomputed", ".h5", ".ome.tif")
    known = {each.suffixes[0]: each.storage for each in sinks.FORMATS}
    for row in table("option"):
        option = re.search(r"--([a-z-]+)", row[0])[1].replace("-", "_")
        for suffix, cell in zip(columns, [*row[1:], *[""] * 5], strict=False):
            assert bool(cell) == (option in known[suffix]), (option, suffix)
