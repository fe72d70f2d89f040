"""Processes that share a run: fixed parts and claims give the bytes of one process, whatever is lost on the way."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile
from standins import LabelNet, Stopping

import tiler
from tiler.errors import BlockFailed, Interrupted, PlanChangedError, PlanError, SinkError
from tiler.jobs import tried
from tiler.running.parts import member
from tiler.running.perform import Silent
from tiler.stores import claims
from tiler.stores.notes import FolderNotes, notes_at
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 250, (2, 61, 53), dtype=np.uint8)
CHOICES = {"tile": "22", "block": "32"}
BLOCKS = 2 * 2 * 2
KINDS = {"probabilities": (PoolingNet, {}), "instances": (LabelNet, {"kind": "instances", "min_size": 3})}


class Heard(Silent):
    """Keeps what it is told."""

    def __init__(self):
        self.notes, self.warnings, self.stages = [], [], []

    def stage(self, name):
        self.stages.append(name)

    def warn(self, message):
        self.warnings.append(message)

    def note(self, message):
        self.notes.append(message)

    def times(self, read, compute, write):
        pass


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(member, "PAUSE", 0.01)
    monkeypatch.setattr(tried, "PAUSES", (0.0,))


@pytest.fixture
def source(tmp_path):
    tifffile.imwrite(tmp_path / "stack.tif", VOLUME, photometric="minisblack")
    return tmp_path / "stack.tif"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Files of outputs that one process wrote, by kind; they have the name that the tests give theirs."""
    folder = tmp_path_factory.mktemp("whole")
    tifffile.imwrite(folder / "stack.tif", VOLUME, photometric="minisblack")
    return {kind: files(run(folder / "stack.tif", folder / kind / "out.zarr", kind)) for kind in KINDS}


def run(source, output, kind="probabilities", listener=None, **options):
    model, more = KINDS[kind]
    return tiler.segment(source, model(), output, listener=listener, **CHOICES, **more, **options)


def files(output):
    """Every file of an output but where the input lies, which differs between folders."""
    found = {path.relative_to(output).as_posix(): path.read_bytes() for path in Path(output).rglob("*")
             if path.is_file()}
    described = json.loads(found.pop("zarr.json"))
    described["attributes"]["tiler"] |= {"source": None, "plan": None}
    return {**found, "zarr.json": json.dumps(described).encode()}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_in_any_order_give_the_bytes_of_one_process(source, tmp_path, whole, kind):
    output = tmp_path / "out.zarr"
    for part in (2, 0, 1):
        assert not output.exists()
        run(source, output, kind, part=f"{part}/3")
    assert files(output) == whole[kind]
    assert tiler.check(output, model=KINDS[kind][0]()).sound
    assert tiler.status(output).finished
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["out.zarr", "out.zarr.journal", "out.zarr.parts", "stack.tif"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{"claim": True}, {"part": "{}/2"}], ids=["claim", "part"])
def test_processes_at_the_same_time_give_the_bytes_of_one(source, tmp_path, whole, kind, options):
    """Threads stand for processes here; the slow tests start real ones."""
    output, failed = tmp_path / "out.zarr", []

    def work(number):
        try:
            given = {name: value.format(number) if isinstance(value, str) else value for name, value in options.items()}
            run(source, output, kind, **given)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert files(output) == whole[kind]


@pytest.mark.parametrize("options", [{"claim": True}, {"part": "0/1"}], ids=["claim", "part"])
def test_a_process_that_was_stopped_goes_on_by_the_same_command(source, tmp_path, whole, options):
    output, stopping = tmp_path / "out.zarr", Stopping(after=3)
    with pytest.raises(Interrupted):
        tiler.segment(source, PoolingNet(), output, listener=stopping, stop=stopping.stop, **CHOICES, **options)
    done = tiler.status(output).stages[0].done
    again = Stopping()
    run(source, output, listener=again, **options)
    assert again.blocks == BLOCKS - done
    assert files(output) == whole["probabilities"]
    heard = Heard()
    run(source, output, listener=heard, **options)
    assert heard.stages == ["finished"]


def test_blocks_of_a_process_that_is_lost_go_to_another(source, tmp_path, whole, monkeypatch):
    """It had claimed all that was left and is on a machine of which nothing is heard."""
    output, stopping = tmp_path / "out.zarr", Stopping(after=3)
    with pytest.raises(Interrupted):
        tiler.segment(source, PoolingNet(), output, listener=stopping, stop=stopping.stop, claim=True, **CHOICES)
    (folder,) = (tmp_path / "out.zarr.parts").iterdir()
    lost = claims.Claims(notes_at(folder), "claims")
    lost._beat()
    for number in range(BLOCKS):
        lost.take(f"model/{number}")
    monkeypatch.setattr(claims.psutil, "pid_exists", lambda process: False)
    run(source, output, claim=True)
    assert files(output) == whole["probabilities"]


def test_a_part_that_is_being_done_is_refused(source, tmp_path):
    output = tmp_path / "out.zarr"
    run(source, output, part="0/2")
    (folder,) = (tmp_path / "out.zarr.parts").iterdir()
    with claims.Claims(notes_at(folder), "part 1/2") as other:
        assert other.take("part-1")
        with pytest.raises(SinkError, match=r"part 1/2 is being done by process \d+ on .*part="):
            run(source, output, part="1/2")
        with pytest.raises(SinkError, match="is being written by 1 processes"):
            run(source, output, overwrite=True)
    run(source, output, part="1/2")
    assert output.exists()


@pytest.mark.parametrize(("options", "message"), [
    ({"part": "1/3"}, "was begun in 2 parts; got part="),
    ({"claim": True}, "was begun in 2 parts; got claim="),
    ({"resume": True}, "was begun by several processes: the same command with part="),
    ({}, "was begun by several processes: the same command with part="),
    ({"part": "1/2", "overwrite": True}, "a part cannot replace an output"),
])
def test_what_does_not_belong_to_the_run_is_refused(source, tmp_path, options, message):
    output = tmp_path / "out.zarr"
    run(source, output, part="0/2")
    with pytest.raises(SinkError, match=message):
        run(source, output, **options)


def test_parts_with_other_options_or_inputs_are_refused(source, tmp_path):
    output = tmp_path / "out.zarr"
    run(source, output, part="0/2")
    with pytest.raises(PlanChangedError, match="nan was not given, is now zero"):
        run(source, output, part="1/2", nan="zero")
    with pytest.raises(PlanChangedError, match=r"tile was \[22\], is now not given"):
        tiler.segment(source, PoolingNet(), output, part="1/2", block="32")
    tifffile.imwrite(tmp_path / "other.tif", VOLUME + 1, photometric="minisblack")
    with pytest.raises(PlanChangedError, match="source"):
        run(tmp_path / "other.tif", output, part="1/2")


@pytest.mark.parametrize(("part", "message"), [
    ("16/16", r"parts count from 0.*0-15|SLURM_ARRAY_TASK_ID - 1"), ("17/16", "0/16 to 15/16; got 17/16"),
    ("3", "is not a part such as 3/16"), ("3/0", "there is at least one part"), ("-1/4", "is not a part")])
def test_a_part_that_makes_no_sense_is_refused(part, message):
    with pytest.raises(PlanError, match=message):
        tiler.Options(part=part)


@pytest.mark.parametrize("name", ["out.tif", "out.ome.tif", "out.h5", "out.npy", "out.mrc"])
def test_formats_that_one_process_writes_are_refused_by_plan_and_segment(source, tmp_path, name):
    for function in (tiler.plan, tiler.segment):
        with pytest.raises(SinkError, match=r"several processes cannot write \..*: choose .zarr, .n5, .precomputed"):
            function(source, PoolingNet(), tmp_path / name, part="0/2", **CHOICES)


def test_an_array_in_memory_and_both_ways_at_once_are_refused(source, tmp_path):
    with pytest.raises(PlanError, match="part= cannot be chosen here: processes cannot share an array in memory"):
        tiler.segment(source, PoolingNet(), part="0/2", **CHOICES)
    with pytest.raises(PlanError, match="leave out one of them"):
        run(source, tmp_path / "out.zarr", part="0/2", claim=True)
    with pytest.raises(PlanError, match="leave out scratch="):
        run(source, tmp_path / "out.zarr", part="0/2", scratch=tmp_path)


def test_finish_says_which_parts_are_missing_and_ends_what_is_whole(source, tmp_path, whole, monkeypatch):
    output = tmp_path / "out.zarr"
    run(source, output, "instances", part="0/3")
    with pytest.raises(SinkError, match=r"of 8 blocks are missing, those of parts 1 and 2 of 3, not running now"):
        tiler.finish(output, model=LabelNet())
    run(source, output, "instances", part="1/3")
    with monkeypatch.context() as patch:
        patch.setattr(member.Member, "wait", lambda self, stage: False)
        patch.setattr(member.Member, "may_finish", lambda self: False)
        run(source, output, "instances", part="2/3")
    assert not output.exists()
    tiler.finish(output, model=LabelNet())
    assert files(output) == whole["instances"]


def test_finish_of_what_one_process_writes_is_refused(source, tmp_path):
    output, stopping = tmp_path / "out.zarr", Stopping(after=1)
    with pytest.raises(Interrupted):
        tiler.segment(source, PoolingNet(), output, listener=stopping, stop=stopping.stop, **CHOICES)
    with pytest.raises(SinkError, match="was begun by one process"):
        tiler.finish(output, model=PoolingNet())
    with pytest.raises(SinkError, match="was begun by one process"):
        run(source, output, part="0/2")


@contextmanager
def failing():
    """No block can be computed."""
    def lost(network, batch):
        raise RuntimeError("device lost")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PoolingNet, "__call__", lost)
        yield


def test_blocks_that_failed_keep_the_output_from_its_name_until_they_are_done(source, tmp_path, whole):
    output = tmp_path / "out.zarr"
    with failing(), pytest.raises(BlockFailed, match=r"4 blocks failed: block 0 at .*: device lost; block 1 at"):
        run(source, output, part="0/2")
    assert tiler.status(output).stages[0].failed == 4
    heard = Heard()
    run(source, output, listener=heard, part="1/2")
    assert "4 of 8 blocks are missing (4 failed), those of part 0 of 2, not running now" in heard.notes[-1]
    assert not output.exists()
    run(source, output, part="0/2")
    assert files(output) == whole["probabilities"]


def test_blocks_that_failed_under_claims_are_tried_by_others(source, tmp_path, whole):
    with failing(), pytest.raises(BlockFailed, match="8 blocks failed"):
        run(source, tmp_path / "out.zarr", claim=True)
    run(source, tmp_path / "out.zarr", claim=True)
    assert files(tmp_path / "out.zarr") == whole["probabilities"]


def test_a_few_blocks_for_many_parts_are_said(source, tmp_path):
    heard = Heard()
    run(source, tmp_path / "out.zarr", listener=heard, part="0/16")
    assert any("16 parts share 8 blocks" in text for text in heard.warnings)


@pytest.mark.parametrize("links", [True, False])
def test_only_one_process_makes_a_note(tmp_path, monkeypatch, links):
    def refuse(*names):
        raise PermissionError("no links here")

    if not links:
        monkeypatch.setattr("os.link", refuse)
    notes, won = FolderNotes(tmp_path / "notes"), []
    threads = [threading.Thread(target=lambda name=name: won.append(notes.create("claims/a.0", name)))
               for name in (b"one", b"two", b"three", b"four")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(won) == [False, False, False, True]
    assert notes.names("claims") == ["a.0"]
    assert notes.read("claims/a.0") in (b"one", b"two", b"three", b"four")
    notes.remove("claims")
    assert notes.names("claims") == []
    assert notes.read("claims/a.0") is None
