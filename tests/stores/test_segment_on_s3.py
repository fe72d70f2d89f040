"""Segmentations from a store to a store, over a bad line: equal to the local result, resumable, one run at a time."""

import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from s3_server import SECRET
from standins import LabelNet, Stopping

import tiler
from tiler.errors import Interrupted, JournalError, SinkError
from tiler.running.journal import Journal, journal_path
from tiler.running.output import output_of
from tiler.sinks.listing import Listing
from tiler.stores import asking
from tiler.stores.address import Address
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 250, (2, 61, 53), dtype=np.uint8)
CHOICES = {"tile": "22", "block": "16"}
BLOCKS = 2 * 4 * 4


def read(address):
    return zarr.open_array(asking("zarr_store").zarr_store(Address.parse(str(address)) / "0", read_only=True))[:]


@pytest.fixture
def source(root):
    address = Address.parse(f"{root}/volume.zarr")
    store = asking("zarr_store").zarr_store(address, read_only=False)
    zarr.create_array(store, shape=VOLUME.shape, dtype="uint8", chunks=(1, 16, 16))[:] = VOLUME
    return str(address)


@pytest.fixture
def output(root):
    return f"{root}/out.zarr"


@pytest.fixture(scope="module")
def local():
    return tiler.segment(VOLUME, PoolingNet(), **CHOICES)


def test_over_a_bad_line_nothing_is_lost(server, source, output, local, caplog):
    caplog.set_level(logging.DEBUG)
    with server.failing(share=0.05, latency=0.02) as faults:
        given = tiler.segment(source, PoolingNet(), output, workers=8, **CHOICES)
        report = tiler.check(output, model=PoolingNet(), windows=2)
    assert str(given) == output
    assert len(faults.injected) > 5
    np.testing.assert_array_equal(read(output), local)
    assert report.sound
    left = {each.key.split("/")[0] for each in asking().listing(Address.parse(output.removesuffix("/out.zarr")))}
    assert left == {"volume.zarr", "out.zarr", "out.zarr.journal"}
    kept = asking().get_all([Address.parse(output) / each.key for each in asking().listing(Address.parse(output))])
    assert SECRET.encode() not in b"".join(each.content for each in kept)
    header = json.dumps(Journal.load(journal_path(Address.parse(output))).header)
    assert SECRET not in header + caplog.text


def test_a_killed_run_is_resumed(server, source, output, local):
    script = Path(__file__).with_name("killed_run.py")
    killed = subprocess.run([sys.executable, script, source, output, "12"], check=False, capture_output=True)
    assert killed.returncode == -9
    with pytest.raises(SinkError, match="has an unfinished run: resume="):
        tiler.segment(source, PoolingNet(), output, **CHOICES)
    listener = Stopping()
    tiler.segment(source, PoolingNet(), output, resume=True, listener=listener, **CHOICES)
    assert BLOCKS - 12 - 1 <= listener.blocks <= BLOCKS - 12  # the last block may be durable and not yet counted
    np.testing.assert_array_equal(read(output), local)
    with pytest.raises(SinkError, match="exists: overwrite="):
        tiler.segment(source, PoolingNet(), output, **CHOICES)


def test_labels_are_numbered_there_and_a_new_run_replaces_an_older_one(source, output):
    stopping = Stopping(after=5)
    with pytest.raises(Interrupted):
        tiler.segment(source, LabelNet(), output, kind="instances", listener=stopping, stop=stopping.stop, **CHOICES)
    tiler.segment(source, LabelNet(), output, kind="instances", overwrite=True, **CHOICES)
    expected = tiler.segment(VOLUME, LabelNet(), kind="instances", **CHOICES)
    np.testing.assert_array_equal(read(output), expected)
    kept = {each.key.split("/")[0] for each in asking().listing(Address.parse(output.removesuffix("/out.zarr")))}
    assert kept == {"volume.zarr", "out.zarr", "out.zarr.journal"}


def test_labels_are_added_to_an_image(root, source):
    image, few = f"{root}/image.zarr", {"tile": "62", "block": "1x32x53"}
    tiler.segment(source, PoolingNet(), image, **few)
    for name in ("cells", "others"):
        stopping = Stopping(after=3)
        with pytest.raises(Interrupted):
            tiler.segment(source, LabelNet(), f"{image}/labels/{name}", kind="instances", listener=stopping,
                          stop=stopping.stop, **few)
        tiler.segment(source, LabelNet(), f"{image}/labels/{name}", resume=True)
    content = json.loads(asking().get(Address.parse(f"{image}/labels/zarr.json")).content)
    assert content["attributes"]["ome"] == {"version": "0.5", "labels": ["cells", "others"]}
    np.testing.assert_array_equal(read(f"{image}/labels/cells"), tiler.segment(VOLUME, LabelNet(), kind="instances"))
    kept = {each.key.split("/")[0] for each in asking().listing(Address.parse(root))}
    assert kept == {"volume.zarr", "image.zarr", "image.zarr.journal", "image.zarr.labels.cells.journal",
                    "image.zarr.labels.others.journal"}


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_labels_that_are_replaced_are_not_listed_until_they_are_whole_again(root, source):
    """On an object store nothing can be built beside old results, which are gone as soon as the run begins."""
    image, few = f"{root}/image.zarr", {"tile": "62", "block": "1x32x53"}
    tiler.segment(source, PoolingNet(), image, **few)
    tiler.segment(source, LabelNet(), f"{image}/labels/cells", kind="labels", **few)
    zarr.consolidate_metadata(asking("zarr_store").zarr_store(Address.parse(image), read_only=False))
    stopping = Stopping(after=1)
    with pytest.raises(Interrupted):
        tiler.segment(source, LabelNet(), f"{image}/labels/cells", kind="labels", overwrite=True, listener=stopping,
                      stop=stopping.stop, **few)
    assert labels_of(image) == []
    tiler.segment(source, LabelNet(), f"{image}/labels/cells", resume=True)
    assert labels_of(image) == ["cells"]


def labels_of(image):
    """Names in the list, which are those of the groups in the metadata that are kept in one piece."""
    content = json.loads(asking().get(Address.parse(f"{image}/labels/zarr.json")).content)
    store = asking("zarr_store").zarr_store(Address.parse(image), read_only=True)
    kept = zarr.open_consolidated(store, mode="r")["labels"]
    listed = sorted(content["attributes"]["ome"]["labels"])
    assert listed == sorted(kept.attrs["ome"]["labels"]) == sorted(kept.group_keys())
    return listed


def test_a_list_that_another_run_changes_meanwhile_is_read_again(root, source, monkeypatch):
    image = Address.parse(f"{root}/image.zarr")
    tiler.segment(source, PoolingNet(), str(image), tile="62", block="1x32x53")
    objects, others = asking(), []
    write = objects.put_if

    def late(address, content, mark):
        if address.name == "zarr.json" and not others:
            others.append(address)
            Listing(image, "0.5").add("others", [])
        return write(address, content, mark)

    monkeypatch.setattr(objects, "put_if", late)
    Listing(image, "0.5").add("cells", [])
    content = json.loads(objects.get(image / "labels/zarr.json").content)
    assert content["attributes"]["ome"]["labels"] == ["others", "cells"]


def test_what_was_damaged_is_found_and_computed_again(source, output, local):
    stopping = Stopping(after=20)
    with pytest.raises(Interrupted):
        tiler.segment(source, PoolingNet(), output, listener=stopping, stop=stopping.stop, **CHOICES)
    asking().delete(Address.parse(output) / "0/c/0/0/0")  # it would read as zeros
    tiler.segment(source, PoolingNet(), output, resume=True, verify=True, **CHOICES)
    np.testing.assert_array_equal(read(output), local)
    asking().delete(Address.parse(output) / "0/c/0/0/0")
    assert len(tiler.check(output, model=PoolingNet()).damaged) == 1


def test_the_output_is_not_the_input(source):
    for output in (source, f"{source}/inner.zarr"):
        with pytest.raises(SinkError, match="the input"):
            tiler.segment(source, PoolingNet(), output, **CHOICES)


def test_one_run_at_a_time(output, monkeypatch):
    address = output_of(output)
    with address.lock(), pytest.raises(JournalError, match="another run is writing"), address.lock():
        pass
    lease = asking("lease")
    with address.lock(), monkeypatch.context() as patch:
        patch.setattr(lease.psutil, "pid_exists", lambda process: False)
        with address.lock():  # left behind by a process of this machine that is gone
            pass
    monkeypatch.setattr(lease, "EXPIRES", -1.0)
    with address.lock(), address.lock():  # left behind by another machine
        pass


def test_a_lock_is_renewed_and_a_lost_one_is_not_taken_away(output, monkeypatch, caplog):
    lease = asking("lease")
    monkeypatch.setattr(lease, "RENEWED", 0.05)
    lock = Address.parse(f"{output}.lock")
    with output_of(Address.parse(output)).lock():
        first = asking().get(lock)
        _until(lambda: asking().get(lock) != first)
        asking().put(lock, b"another run's")
        _until(lambda: "taken over" in caplog.text)
    assert asking().get(lock).content == b"another run's"


def test_two_runs_never_write_one_journal(output):
    path = journal_path(Address.parse(output))
    ours = Journal.create(path, {"plan": {}})
    theirs = Journal.reopen(path)
    theirs.append("model", 0, {"checksum": "a"})
    with pytest.raises(JournalError, match="another run goes on"):
        ours.append("model", 1, {"checksum": "b"})
    assert Journal.load(path).records("model") == {0: {"checksum": "a"}}
    asking().delete(path / "000000000")
    with pytest.raises(JournalError, match="objects of it are missing"):
        Journal.load(path)


def test_a_lost_answer_to_a_line_is_not_another_run(server, output):
    path = journal_path(Address.parse(output))
    journal = Journal.create(path, {"plan": {}})
    with server.failing(chosen=lambda method, address: method == "PUT" and faults_left.pop(), status="cut"):
        faults_left = [False, True]
        journal.append("model", 0, {"checksum": "a"})
    assert Journal.load(path).records("model") == {0: {"checksum": "a"}}


@pytest.mark.slow
def test_processes_open_the_store_by_themselves(server, source, output, local):
    with server.failing(share=0.05, latency=0.02):
        tiler.segment(source, PoolingNet(), output, executor="dask", workers=2, **CHOICES)
    np.testing.assert_array_equal(read(output), local)


def _until(happened):
    """Within the test's own timeout."""
    while not happened():
        time.sleep(0.01)
