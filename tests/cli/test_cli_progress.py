"""Progress for people, programs and logs."""

from __future__ import annotations

import json
import logging
import re

import pytest
from cli_cases import BLOCKS

from tiler.cli.progress import JsonLines, MinuteLog
from tiler.testing.running import ListenerConformance


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self):
        return self.now


class TestJsonLines(ListenerConformance):
    def listener(self):
        return JsonLines()


class TestMinuteLog(ListenerConformance):
    def listener(self):
        return MinuteLog()


@pytest.mark.parametrize("blocks", [61, 36_000])
def test_the_log_of_an_hour_has_a_line_a_minute(caplog, blocks):
    caplog.set_level(logging.INFO, "tiler.cli")
    clock = Clock()
    log = MinuteLog(clock)
    log.stage("model")
    log.started(blocks, 0)
    for index in range(blocks):
        clock.now += 3600 / blocks
        log.times(0.01, 0.08, 0.01)
        log.finished_block(index, 1000)
    log.ended()
    lines = [record.getMessage() for record in caplog.records]
    assert 25 <= len(lines) <= 65
    if blocks == 36_000:
        assert re.match(r"model: 60\d of 36000 blocks, 10.0 kvoxels/s, 5\d min .*left, peak memory ", lines[1])
        assert lines[-1].startswith("done in 3600.0 s; in all threads 360.0 s to read, 2880.0 s to compute, 360.0 s to "
                                    "write, most of it the network, peak memory ")


def test_json_lines_come_once_a_second_and_at_the_end_of_a_stage(capsys):
    clock = Clock()
    heard = JsonLines(clock)
    heard.stage("model")
    heard.started(1000, 0)
    for index in range(1000):
        clock.now += 0.01
        heard.finished_block(index, 5)
    heard.ended()
    told = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [each["event"] for each in told] == ["stage", *["progress"] * 10, "end"]
    assert {name: told[1][name] for name in ("stage", "total", "done", "voxels_per_second", "seconds_left")} == \
        {"stage": "model", "total": 1000, "done": 100, "voxels_per_second": 500.0, "seconds_left": 9.0}
    assert told[-2]["done"] == 1000


def test_with_json_progress_all_of_stderr_is_json(segment):
    outcome = segment("stack.tif", "--progress", "json")
    assert outcome.code == 0
    told = [json.loads(line) for line in outcome.lines]
    assert told[0] == {"event": "stage", "stage": "model", "total": BLOCKS, "done": 0}
    assert told[-1]["event"] == "end"
    assert told[-1]["compute"] > 0
    assert told[-1]["peak_bytes"] > 1e6
    again = segment("stack.tif", "--progress", "json")
    assert [json.loads(line)["event"] for line in again.lines] == ["message"]


def test_the_log_holds_start_plan_stages_and_end_and_the_last_line_what_it_took(segment, folder):
    outcome = segment("stack.tif", "--log-file", "log.txt")
    assert outcome.lines[-1].startswith("done in ")
    assert " s to compute, " in outcome.lines[-1]
    lines = (folder / "log.txt").read_text().splitlines()
    assert next(line for line in lines if " INFO " in line).split(" INFO ")[1].startswith("stack.tif -> ")
    assert any(f"{BLOCKS} blocks of 1x20x20, batch" in line for line in lines)
    assert any(f"INFO model: {BLOCKS} blocks" in line for line in lines)
    assert any("INFO done in " in line for line in lines)


def test_a_part_says_that_others_finish_and_prints_no_name(segment, tiler, folder):
    first = segment("stack.tif", "-o", "out.zarr", "--part", "1/2")
    assert (first.code, first.out) == (0, "")
    assert any("part 1/2 has done its blocks; 18 of 36 blocks are missing, those of part 0 of 2, not running now"
               in line for line in first.lines)
    status = tiler("status", "out.zarr")
    assert status.code == 1
    assert status.out.splitlines()[0] == "out.zarr: model: 18 of 36 blocks, 0 of 1 alive"
    assert "  not begun: 0" in status.out.splitlines()
    refused = tiler("finish", "out.zarr")
    assert refused.code == 1
    assert "18 of 36 blocks are missing, those of part 0 of 2, not running now: the same command with --part" \
        in refused.err
    assert segment("stack.tif", "-o", "out.zarr", "--part", "0/2").out == "out.zarr\n"
    assert tiler("status", "out.zarr").out.splitlines()[0] == "out.zarr: finished"
    assert json.loads(tiler("status", "out.zarr", "--json").out)["finished"] is True
    assert tiler("check", "out.zarr", "--windows", "0").code == 0
