"""`tiler segment` and `tiler plan`: files they write, text they print, and files they leave alone."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from cli_cases import BLOCKS, PLAN, STACK

from tiler import api
from tiler.cli.batch import pair_up
from tiler.cli.talk import Bars


def read(path):
    return {".zarr": lambda: zarr.open_array(path / "0", mode="r")[:], ".npy": lambda: np.load(path),
            ".tif": lambda: tifffile.imread(path)}[path.suffix]()


def test_the_default_output_stands_in_the_working_directory(segment, folder):
    (folder / "data").mkdir()
    shutil.move("stack.tif", "data/stack.tif")
    outcome = segment("data/stack.tif")
    assert (outcome.code, outcome.out) == (0, "stack_segmented.zarr\n")
    assert {path.name for path in folder.iterdir()} == {
        "data", "stack_segmented.zarr", "stack_segmented.zarr.journal", "stack_segmented.zarr.lock"}
    assert os.listdir("data") == ["stack.tif"]


@pytest.mark.parametrize("output", ["out.npy", "out.tif", "deep/er/out.zarr"])
def test_every_format_holds_the_same_result(segment, folder, output):
    assert segment("stack.tif", "-o", "plain.zarr").code == 0
    assert segment("stack.tif", "-o", output).out == f"{output}\n"
    whole = read(folder / "plain.zarr")
    found = read(folder / output)
    # ImageJ and OME keep channels behind z, arrays before it.
    np.testing.assert_array_equal(np.moveaxis(found, 1, 0) if output.endswith(".tif") else found, whole)
    np.testing.assert_allclose(whole.sum(0), 1, atol=1e-5)


def test_outputs_go_into_a_folder(segment, folder):
    (folder / "there").mkdir()
    assert segment("stack.tif", "-o", "there").out == "there/stack_segmented.zarr\n"
    assert segment("stack.tif", "-o", "new/").out == "new/stack_segmented.zarr\n"


def test_a_folder_is_called_by_its_name_also_as_a_dot(segment, folder, monkeypatch):
    (folder / "sections").mkdir()
    tifffile.imwrite(folder / "sections" / "z0.tif", STACK[0])
    monkeypatch.chdir(folder / "sections")
    assert segment(".", "-o", "../out/").out == "../out/sections_segmented.zarr\n"


def test_a_level_of_a_zarr_is_called_after_the_zarr(segment, folder):
    zarr.save_array(str(folder / "volume.zarr/s0"), STACK)
    assert segment("volume.zarr/s0").out == "volume_segmented.zarr\n"


@pytest.mark.parametrize(("inputs", "output"), [
    (["stack.tif", "./stack.tif"], None), (["stack.tif", "copy/stack.tif"], "out/"),
    (["stack.tif", "stack.npy"], None), (["stack.tif", "other.tif"], "out.zarr"),
])
def test_two_inputs_with_one_output_name_are_refused_before_anything_runs(segment, folder, inputs, output):
    outcome = segment(*inputs, *(["-o", output] if output else []))
    assert outcome.code == 1
    assert len(outcome.lines) == 1
    assert "-o" in outcome.err
    assert os.listdir() == ["stack.tif"]


def test_an_existing_zarr_is_no_folder_for_several_outputs(segment, folder):
    zarr.save_array(str(folder / "volume.zarr"), STACK)
    before = sorted(Path("volume.zarr").rglob("*"))
    assert segment("stack.tif", "other.tif", "-o", "volume.zarr").code == 1
    assert sorted(Path("volume.zarr").rglob("*")) == before


def test_one_failing_input_does_not_stop_the_others(segment, folder):
    tifffile.imwrite("colour.tif", np.full((40, 40, 3), (9, 0, 0), np.uint8), photometric="rgb")
    np.save("image.npy", STACK[0])
    outcome = segment("stack.tif", "colour.tif", "image.npy", "-o", "out/")
    assert outcome.code == 1
    assert outcome.out.splitlines() == ["out/stack_segmented.zarr", "out/image_segmented.zarr"]
    assert outcome.lines[-2] == "tiler: 1 of 3 inputs failed:"
    assert outcome.lines[-1].startswith("  colour.tif: ")
    assert "3 channels" in outcome.lines[-1]


def test_an_unforeseen_error_does_not_stop_the_others_either(segment, folder, monkeypatch):
    np.save("image.npy", STACK[0])
    plain = api.segment

    def flawed(source, *arguments, **options):
        if source == "stack.tif":
            raise ZeroDivisionError("no such luck\nand a second line")
        return plain(source, *arguments, **options)

    monkeypatch.setattr(api, "segment", flawed)
    outcome = segment("stack.tif", "image.npy")
    assert outcome.out == "image_segmented.zarr\n"
    assert outcome.lines[-2] == "tiler: 1 of 2 inputs failed:"
    assert "unexpected ZeroDivisionError: no such luck and a second line" in outcome.lines[-1]


@pytest.mark.parametrize("command", [["plan"], ["segment", "--dry-run"]])
def test_a_plan_writes_nothing(tiler, networks, command):
    outcome = tiler(*command, "stack.tif", "-m", f"{networks}:Net", *PLAN)
    assert (outcome.code, outcome.err) == (0, "")
    for words in (r"tile, core +1x60x60, 1x20x20", rf"blocks, tiles +{BLOCKS}, {BLOCKS}", "peak memory", "1x4x4"):
        assert re.search(words, outcome.out), outcome.out
    assert os.listdir() == ["stack.tif"]


@pytest.mark.parametrize("command", [["plan"], ["segment", "--dry-run"], ["segment"]])
def test_json_is_one_object_an_input(tiler, networks, command):
    np.save("image.npy", STACK[0])
    outcome = tiler(*command, "stack.tif", "image.npy", "-m", f"{networks}:Net", "--json", "--quiet", *PLAN)
    found = [json.loads(line) for line in outcome.out.splitlines()]
    assert [each["source"] for each in found] == ["stack.tif", "image.npy"]
    assert [each["output"] for each in found] == ["stack_segmented.zarr", "image_segmented.zarr"]
    if command != ["segment"]:
        assert found[0]["estimate"]["blocks"] == BLOCKS


def test_progress_is_plain_lines_where_there_is_no_terminal(segment):
    outcome = segment("stack.tif")
    assert re.fullmatch(rf"model: {BLOCKS} of {BLOCKS} blocks, .*voxels/s", outcome.lines[-2])
    assert "\x1b" not in outcome.err


def test_quiet_is_silent(segment):
    outcome = segment("stack.tif", "--quiet")
    assert (outcome.out, outcome.err) == ("stack_segmented.zarr\n", "")


@pytest.mark.parametrize("no_color", ["", "1"])
def test_a_terminal_gets_a_bar_and_no_colour_where_none_is_wanted(segment, monkeypatch, no_color):
    monkeypatch.setenv("FORCE_COLOR", "1")  # for rich, this makes anything a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    seen = []
    plain = Bars.finished_block
    monkeypatch.setattr(Bars, "finished_block", lambda self, *block: (plain(self, *block), seen.append(block)))
    outcome = segment("stack.tif")
    assert len(seen) == BLOCKS
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9]|\x1b\[38;", outcome.err)) is not bool(no_color)


def test_the_log_file_tells_what_was_done_and_the_traceback_of_what_was_not(segment, folder):
    assert segment("stack.tif", "--log-file", "log.txt").code == 0
    assert segment("missing.tif", "--log-file", "log.txt", "--verbose").code == 1
    log = Path("log.txt").read_text()
    assert "INFO stack.tif -> stack_segmented.zarr" in log
    assert "ERROR missing.tif: missing.tif does not exist" in log
    assert "Traceback" in log


def test_nothing_is_left_in_logging(segment):
    before = [list(logging.getLogger(name).handlers) for name in ("", "tiler")]
    segment("stack.tif", "--verbose", "--log-file", "log.txt")
    assert [list(logging.getLogger(name).handlers) for name in ("", "tiler")] == before


def test_warnings_of_the_library_are_shown_once(segment, folder):
    tifffile.imwrite("inverted.tif", STACK, photometric="miniswhite")
    outcome = segment("inverted.tif")
    assert outcome.code == 0
    assert [line for line in outcome.lines if line.startswith("warning: ")] == [
        f"warning: {Path('inverted.tif').absolute()} says that 0 is white: its voxels are read as stored"]


def test_a_region_is_the_same_region_of_the_whole(segment, folder):
    assert segment("stack.tif", "-o", "whole.npy").code == 0
    assert segment("stack.tif", "-o", "part.npy", "--roi", "1:3,7:50,3:40").code == 0
    whole, part = np.load("whole.npy"), np.load("part.npy")
    np.testing.assert_allclose(part, whole[:, 1:3, 7:50, 3:40], atol=1e-5)


@pytest.mark.parametrize(("options", "dtype"), [
    (["--as", "labels"], np.uint8), (["--as", "instances"], np.uint32),
    (["--dtype", "uint8", "--head", "none"], np.uint8), (["--dtype", "float16"], np.float16),
    (["--precision", "float64", "--dtype", "float64"], np.float64), (["--classes", "class 1"], np.float32),
])
def test_what_is_written_is_what_was_asked_for(segment, options, dtype):
    assert segment("stack.tif", "-o", "out.npy", *options).code == 0
    found = np.load("out.npy")
    assert found.dtype == dtype
    assert found.shape[-3:] == STACK.shape
    assert len(np.unique(found)) > 1


class Unwritable(io.StringIO):
    """A stream that fails: its reader has gone, or its disk is full."""

    def __init__(self, reason):
        super().__init__()
        self.reason = reason

    def write(self, text):
        raise OSError(self.reason, os.strerror(self.reason))


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("reason", [errno.EPIPE, errno.ENOSPC])
def test_a_stream_that_nobody_reads_costs_no_result(segment, folder, monkeypatch, stream, reason):
    monkeypatch.setattr(sys, stream, Unwritable(reason))
    outcome = segment("stack.tif")
    assert outcome.code == (1 if stream == "stdout" else 0)
    assert "Traceback" not in outcome.err
    assert (folder / "stack_segmented.zarr").is_dir()


def test_a_pipe_that_closes_early_is_no_traceback(outside, folder):
    run = outside("out.zarr", "--log-file", "log.txt")
    run.process.stderr.close()
    run.process.stderr = None
    run.process.communicate(timeout=60)
    assert run.process.returncode == 0, Path("log.txt").read_text()
    assert (folder / "out.zarr").is_dir()


def test_the_place_of_labels_is_an_output_also_where_it_is_a_folder(folder):
    for _ in range(2):
        (pair,) = pair_up(("image.zarr",), "image.zarr/labels/cells")
        assert pair.output == Path("image.zarr/labels/cells")
        (folder / "image.zarr/labels/cells").mkdir(parents=True, exist_ok=True)
    (pair,) = pair_up(("image.zarr",), "image.zarr/labels")
    assert pair.output == Path("image.zarr/labels/image_segmented")


def test_several_inputs_share_one_network(segment, folder, monkeypatch):
    from tiler.models.predictor import open_predictor as module

    opened, real = [], module.open_predictor
    monkeypatch.setattr(module, "open_predictor", lambda *given, **options: opened.append(1) or real(*given, **options))
    np.save("image.npy", np.zeros((2, 40, 40), np.uint8))
    assert segment("stack.tif", "image.npy", "--as", "labels").code == 0
    assert len(opened) == 1
    # What is stored with the output is as for one input: it can be checked and resumed by name.
    assert segment("stack.tif", "--as", "labels", "--resume").code == 0
