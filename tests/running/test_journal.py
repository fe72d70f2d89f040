"""Durable before recorded; a torn last line is dropped, any other damage is refused."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from filelock import FileLock, Timeout
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiler.errors import JournalError, SinkError
from tiler.running.journal import Journal, exclusive

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
    with pytest.raises(JournalError, match=r"damaged at line \d+.*--overwrite"):
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
    with pytest.raises(JournalError, match="format None"):
        Journal.load(tmp_path / "empty.journal")


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
    with pytest.raises(SinkError, match=r"cannot write .*out.zarr: nothing can be made in .*\(-o\)"), \
            exclusive(tmp_path / "out.zarr"):
        pass
    with pytest.raises(SinkError, match=f"nothing can be made in {re.escape(str(tmp_path))} ") as refusal, \
            exclusive(tmp_path / "image.zarr/labels/cells"):  # whose lock lies beside the image
        pass
    assert "\n" not in str(refusal.value)


def test_a_second_run_on_one_output_is_refused_also_from_another_process(tmp_path):
    output = tmp_path / "out.zarr"
    code = ("import sys; from pathlib import Path; from tiler.running.journal import exclusive; "
            "from tiler.errors import JournalError\n"
            "try:\n    exclusive(Path(sys.argv[1])).__enter__()\nexcept JournalError as e:\n    print(e)")
    with exclusive(output):
        command = [sys.executable, "-c", code, str(output)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "another run is writing" in said
    with exclusive(output):
        pass
    assert not list(tmp_path.iterdir())
