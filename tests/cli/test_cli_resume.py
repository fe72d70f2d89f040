"""Runs that are killed, stopped, or meet a full disk, and go on to the same bytes."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from cli_cases import BLOCKS, PLAN, count_lines, tree

from tiler.errors import SinkError
from tiler.planning import resolve as planning
from tiler.running.journal import Journal
from tiler.sinks.npy import NpySink
from tiler.sinks.tiff import TiffSink
from tiler.sinks.zarr import ZarrSink

HEADER = 2
"""Lines of a journal before its first block: the plan, and that the output was created."""


def done(output):
    """Numbers of the blocks that a journal records as finished, with repetitions."""
    journal = Journal.load(Path(f"{output}.journal"))
    return sorted(journal.records("model"))


def times_computed(output):
    return Path(f"{output}.count").stat().st_size


def counted(monkeypatch, output):
    """Let the network count in this process, too."""
    monkeypatch.setenv("COUNT", f"{output}.again")
    monkeypatch.setenv("PAUSE", "0")
    return Path(f"{output}.again")


@pytest.mark.parametrize(("blocks", "output", "executor", "again"), [
    (1, "out.zarr", "serial", ["--executor", "threads", "--workers", "3"]),
    (9, "out.zarr", "threads", ["--executor", "serial", "--batch", "4"]),
    (BLOCKS - 3, "out.npy", "threads", ["--memory", "3GiB"]),
])
def test_a_killed_run_goes_on_to_the_same_bytes(outside, segment, monkeypatch, blocks, output, executor, again):
    run = outside(output, "--executor", executor, pause=0.01)
    run.until(HEADER + blocks)
    run.process.send_signal(signal.SIGKILL)
    run.process.communicate()
    before = done(output)
    assert blocks <= len(before) < BLOCKS
    assert not Path(output).exists()
    count = counted(monkeypatch, output)
    assert segment("stack.tif", "-o", output, "--resume", *again, plan=()).code == 0
    assert count.stat().st_size == BLOCKS - len(before)  # a block of this plan is one tile
    assert done(output) == list(range(BLOCKS))
    assert count_lines(run.journal) == HEADER + BLOCKS + 2  # it went on, and it ended
    assert_undisturbed(segment, output)


def assert_undisturbed(segment, output):
    """The same bytes as those of a run that nothing disturbed, under the same name."""
    found = stored(Path(output))
    assert segment("stack.tif", "-o", output, "--overwrite").code == 0
    assert found == stored(Path(output))


def stored(output):
    """All files of an output but the provenance, which tells how much memory there was."""
    return {name: data for name, data in tree(output).items() if name != "zarr.json"}


def test_an_automatic_plan_is_not_made_again_when_memory_has_changed(segment, monkeypatch):
    automatic = ("--threads", "1")
    with monkeypatch.context() as patch:
        patch.setattr(ZarrSink, "write", scarce(ZarrSink.write, 1))
        assert segment("stack.tif", "-o", "out.zarr", plan=automatic).code == 1
    stored_plan = Journal.load(Path("out.zarr.journal")).header["plan"]
    for free in (600 << 20, 1 << 40):
        monkeypatch.setattr(planning, "available_memory", lambda free=free: free)
        with monkeypatch.context() as patch:
            patch.setattr(ZarrSink, "write", scarce(ZarrSink.write, 1))
            segment("stack.tif", "-o", "out.zarr", "--resume", plan=automatic)
    assert Path("out.zarr").is_dir()
    assert Journal.load(Path("out.zarr.journal")).header["plan"] == stored_plan
    found = stored(Path("out.zarr"))
    assert segment("stack.tif", "-o", "out.zarr", "--overwrite", plan=("--threads", "1", "--tile", "x".join(
        map(str, stored_plan["tile"])), "--block", "x".join(map(str, stored_plan["block"])))).code == 0
    assert found == stored(Path("out.zarr"))


def test_one_run_at_a_time_and_a_signal_stops_it_at_a_block_border(outside, segment, tiler):
    run = outside("out.zarr", pause=0.1)
    run.until(HEADER + 1)
    for how in ("--resume", "--overwrite"):
        outcome = segment("stack.tif", "-o", "out.zarr", how)
        assert (outcome.code, len(outcome.lines)) == (1, 1)
        assert "another run is writing out.zarr" in outcome.err
    checked = tiler("check", "out.zarr", "--windows", "0")
    assert checked.out.splitlines()[-1] == "unfinished: tiler segment with --resume goes on"
    run.process.send_signal(signal.SIGTERM)
    outcome = run.outcome()
    assert outcome.code == 130
    assert outcome.lines[-1] == "tiler: stopped between two blocks; the same command with --resume goes on"
    before = done("out.zarr")
    assert len(before) == times_computed("out.zarr")  # whatever was computed was written, too
    outcome = segment("stack.tif", "-o", "out.zarr", "--resume")
    assert outcome.code == 0
    assert outcome.lines[0] == f"model: {len(before)} of {BLOCKS} blocks were finished before"
    assert_undisturbed(segment, "out.zarr")


def test_a_second_signal_aborts_at_once(outside, segment):
    run = outside("out.zarr", pause=1.5)
    while not Path("out.zarr.count").exists():
        assert run.process.poll() is None
        time.sleep(0.01)
    run.process.send_signal(signal.SIGINT)
    assert "stopping at the next block border" in run.process.stderr.readline()
    run.process.send_signal(signal.SIGINT)
    outcome = run.outcome()
    assert outcome.code == 130
    assert outcome.lines[-1] == "tiler: interrupted"
    assert done("out.zarr") == []
    assert segment("stack.tif", "-o", "out.zarr", "--resume").code == 0


def test_a_finished_run_says_so(segment):
    segment("stack.tif", "-o", "out.zarr")
    outcome = segment("stack.tif", "-o", "out.zarr", "--resume")
    assert (outcome.code, outcome.out) == (0, "out.zarr\n")
    assert outcome.lines == ["nothing to do: this output was finished before"]


def scarce(write, blocks):
    """A disk with room for so many blocks."""
    room = [blocks]

    def written(self, box, data):
        if not room[0]:
            error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise SinkError(f"cannot write {self.name}: {error.strerror}") from error
        room[0] -= 1
        write(self, box, data)

    return written


@pytest.mark.parametrize(("output", "sink"), [("out.zarr", ZarrSink), ("out.npy", NpySink), ("out.tif", TiffSink)])
@pytest.mark.parametrize("executor", ["threads", "serial"])
def test_a_disk_that_is_full_for_a_while(segment, monkeypatch, output, sink, executor):
    with monkeypatch.context() as patch:
        patch.setattr(sink, "write", scarce(sink.write, 5))
        outcome = segment("stack.tif", "-o", output, "--executor", executor)
    assert (outcome.code, len(outcome.lines), outcome.out) == (1, 1, "")
    assert "No space left on device" in outcome.err
    assert not Path(output).exists()
    assert len(done(output)) == 5
    assert segment("stack.tif", "-o", output, "--resume", plan=()).code == 0
    assert_undisturbed(segment, output)


@pytest.fixture
def disk(folder):
    """A disk of 60 KiB, where one may be mounted."""
    place = folder / "disk"
    place.mkdir()
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or mount("-t", "tmpfs", "-o", "size=60k", "tmpfs", place):
        pytest.skip("a small disk can be mounted by root alone")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], check=False, capture_output=True).returncode


@pytest.mark.parametrize("name", ["out.zarr", "out.npy", "out.tif"])
def test_a_real_disk_that_is_full_for_a_while(segment, disk, name):
    output = disk / name
    for how in ((), ("--resume",)):
        outcome = segment("stack.tif", "-o", output, "--quiet", *how)
        assert outcome.code == 1
        if name == "out.zarr" and not how:  # which might have been compressed enough
            assert "takes up to 1 MB" in outcome.lines[0]
        *_, line = outcome.lines
        assert ("No space left on device" if name == "out.zarr" else "takes 1 MB, 0 MB are free") in line
        assert not output.exists()
    assert mount("-o", "remount,size=10m", disk) == 0
    assert segment("stack.tif", "-o", output, "--resume").code == 0
    assert_undisturbed(segment, output)


@pytest.mark.parametrize(("options", "words"), [
    (["--tile", "64"], "tile was .*60.*, is now .*64"), (["--roi", "0:1,0:9,0:9"], "region was"),
    (["--nan", "zero"], "nan was refuse, is now zero"), (["--precision", "float64"], "model.precision was float32"),
    (["--as", "labels"], "kind was probabilities, is now labels"),
])
def test_a_changed_option_is_refused_by_name(segment, monkeypatch, options, words):
    with monkeypatch.context() as patch:
        patch.setattr(ZarrSink, "write", scarce(ZarrSink.write, 2))
        segment("stack.tif", "-o", "out.zarr")
    outcome = segment("stack.tif", "-o", "out.zarr", "--resume", *options, plan=())
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert re.search(words, outcome.err), outcome.err
    assert "--overwrite" in outcome.err


def test_an_edited_network_is_another_network(tiler, networks, folder, monkeypatch):
    (folder / "mine.py").write_text(networks.read_text())
    call = ("segment", "stack.tif", "-o", "out.zarr", "-m", "mine.py:Net")
    with monkeypatch.context() as patch:
        patch.setattr(ZarrSink, "write", scarce(ZarrSink.write, 2))
        tiler(*call, *PLAN)
    (folder / "mine.py").write_text(networks.read_text() + "\n# Looks the same.\n")
    outcome = tiler(*call, "--resume")
    assert outcome.code == 1
    assert "model.source was" in outcome.err
