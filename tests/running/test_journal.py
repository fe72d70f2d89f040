"""Durable before recorded; a torn last line is dropped, any other damage is refused."""

from __future__ import annotations

import errno
import fcntl
import re
import subprocess
import sys

import pytest
from filelock import FileLock, Timeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiler.errors import JournalError, SinkError
from tiler.running.journal import Journal
from tiler.running.output import output_of

RECORD = st.tuples(st.sampled_from(["statistics", "model"]), st.integers(0, 50))
RECORDS = st.lists(RECORD, unique=True, max_size=12)


def write(path, entries):
    journal = Journal.create(path, {"plan": {"tile": 572}})
    for stage, index in entries:
        journal.append(stage, index, {"checksum": f"{stage}{index}"})
    journal.close()


def read(path):
    journal = Journal.load(path)
    return [(stage, index) for stage in ("statistics", "model") for index in journal.records(stage)]


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(RECORDS, st.data())
def test_a_journal_cut_anywhere_holds_a_prefix_of_the_records(tmp_path, entries, data):
    path = tmp_path / "out.journal"
    write(path, entries)
    whole = path.read_bytes()
    head = whole.index(b"\n") + 1
    cut = data.draw(st.integers(head, len(whole)))
    path.write_bytes(whole[:cut])
    kept = whole[head:cut].count(b"\n")
    assert sorted(read(path)) == sorted(entries[:kept])
    again = Journal.reopen(path)
    again.append("model", 99, {"checksum": "new"})
    again.close()
    assert Journal.load(path).records("model")[99] == {"checksum": "new"}
    assert len(read(path)) == kept + 1


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_other_damage_is_refused_and_its_line_named(tmp_path, data):
    path = tmp_path / "out.journal"
    write(path, [("model", n) for n in range(5)])
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 2))
    content[place] ^= data.draw(st.sampled_from([1, 2, 4, 64]))
    path.write_bytes(bytes(content))
    with pytest.raises(JournalError, match=r"damaged at line \d+.*overwrite="):
        Journal.load(path)


def test_a_record_can_be_taken_back(tmp_path):
    path = tmp_path / "out.journal"
    journal = Journal.create(path, {})
    journal.append("model", 1, {"checksum": "a"})
    journal.append("model", 2, {"checksum": "b"})
    journal.forget("model", 1)
    journal.close()
    assert Journal.load(path).records("model") == {2: {"checksum": "b"}}


def test_a_missing_journal_and_an_unknown_format_are_one_line(tmp_path):
    with pytest.raises(JournalError, match="no journal"):
        Journal.load(tmp_path / "none.journal")
    (tmp_path / "empty.journal").write_bytes(b"")
    with pytest.raises(JournalError, match=r"is empty: start anew with overwrite="):
        Journal.load(tmp_path / "empty.journal")
    Journal.create(tmp_path / "newer.journal", {"format": {}}).close()
    with pytest.raises(JournalError, match=r"has format \{\}, this version reads 1"):
        Journal.load(tmp_path / "newer.journal")


def test_a_journal_opened_for_reading_takes_no_records(tmp_path):
    path = tmp_path / "out.journal"
    write(path, [])
    with pytest.raises(JournalError, match="reading only"):
        Journal.load(path).append("model", 0, {})


def test_a_lock_that_cannot_be_made_is_not_taken_for_another_run(tmp_path, monkeypatch):
    """As in /proc, where nobody can make a file."""
    def give_up(lock, **options):
        raise Timeout(lock.lock_file)

    monkeypatch.setattr(FileLock, "acquire", give_up)
    with pytest.raises(SinkError, match=r"cannot write .*out.zarr: nothing can be made in .*\(output=\)"), \
            output_of(tmp_path / "out.zarr").lock():
        pass
    with pytest.raises(SinkError, match=f"nothing can be made in {re.escape(str(tmp_path))} ") as refusal, \
            output_of(tmp_path / "image.zarr/labels/cells").lock():  # whose lock lies beside the image
        pass
    assert "\n" not in str(refusal.value)


def test_a_second_run_on_one_output_is_refused_also_from_another_process(tmp_path):
    output = tmp_path / "out.zarr"
    code = ("import sys; from pathlib import Path; from tiler.running.output import output_of; "
            "from tiler.errors import JournalError\n"
            "try:\n    output_of(sys.argv[1]).lock().__enter__()\nexcept JournalError as e:\n    print(e)")
    with output_of(output).lock():
        command = [sys.executable, "-c", code, str(output)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "another run is writing" in said
    with output_of(output).lock():
        pass
    assert [(path.name, path.stat().st_size) for path in tmp_path.iterdir()] == [("out.zarr.lock", 0)]


def test_a_run_that_waits_at_the_door_and_one_that_comes_later_do_not_both_get_in(tmp_path):
    """One opened the lock file while another run held it; a file that is removed at release would lock two of them."""
    output = output_of(tmp_path / "out.zarr")
    with output.lock():
        early = (tmp_path / "out.zarr.lock").open("r+b")
    with early:
        fcntl.flock(early, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(JournalError, match="another run is writing"), output.lock():
            pass
    with output.lock():
        pass


def test_a_journal_on_a_full_disk_is_one_line(tmp_path, monkeypatch):
    output = output_of(tmp_path / "out.zarr")
    journal = output.begin_journal({"plan": {}})

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(JournalError, match=r"cannot write the journal .*No space left on device.*resume=True goes on"):
        journal.append("model", 0, {})
    journal.close()
    with pytest.raises(JournalError, match=r"cannot write the journal of .*No space left on device"):
        output.begin_journal({"plan": {}})
    assert not (tmp_path / "out.zarr.journal").exists()
