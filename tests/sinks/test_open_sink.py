"""Names, errors, crashes: what all sinks on a file system share."""

import errno
import os
import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tiler.errors import SinkError
from tiler.geometry import Box
from tiler.sinks import open_finished, open_sink, partial_path
from tiler.testing.sinks import ATTRIBUTES, EXAMPLES, blocks_of, example_values, part, written

SPEC = EXAMPLES["a stack"]
NAMES = ["out.zarr", "out.tif", "out.ome.tif", "out.h5", "out.npy"]
STAGED = (".ome.tif", ".h5")


@pytest.fixture(params=NAMES)
def output(request, tmp_path):
    return tmp_path / request.param


def make(output):
    return lambda spec: open_sink(output, spec)


@pytest.mark.parametrize(("name", "message"), [
    ("out.jpg", r"outputs end in \.zarr \.ome\.tif .* \.npy .*; got \.jpg \(output=\)"), ("out", "got no suffix"),
])
def test_unknown_formats_are_refused(tmp_path, name, message):
    with pytest.raises(SinkError, match=message):
        open_sink(tmp_path / name, SPEC)
    with pytest.raises(SinkError, match=message):
        open_finished(tmp_path / name)


def test_the_partial_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert partial_path("out.tif") == tmp_path / "out.tif.partial"


def test_a_parent_that_is_a_file_is_refused_at_once(output):
    (output.parent / "file").write_text("")
    with pytest.raises(SinkError, match="file is a file, not a folder"):
        open_sink(output.parent / "file" / output.name, SPEC)
    with pytest.raises(SinkError, match="file is a file, not a folder"):
        open_sink(output.parent / "file" / "deeper" / output.name, SPEC)


def test_provenance_is_kept(output):
    assert open_finished(output) is None
    sink, _ = written(make(output), SPEC)
    assert open_finished(output) is None
    sink.finish(ATTRIBUTES)
    expected = {"kind": "probabilities", "classes": ["class 0"], **ATTRIBUTES}
    assert {name: open_finished(output)[name] for name in expected} == expected


def test_other_things_of_that_name_have_no_provenance(output):
    if output.suffix == ".zarr":
        output.mkdir()
    else:
        output.write_bytes(b"")
    assert open_finished(output) is None


def test_a_damaged_sidecar_is_named(tmp_path):
    (tmp_path / "a.npy").write_bytes(b"")
    (tmp_path / "a.npy.tiler.json").write_text("{")
    with pytest.raises(SinkError, match=r"a\.npy\.tiler\.json is damaged"):
        open_finished(tmp_path / "a.npy")


class Crash(BaseException):
    """The power fails."""


@pytest.mark.parametrize("step", range(4))
def test_a_crash_while_finishing_is_mended_by_finishing_again(output, step, monkeypatch):
    older, _ = written(make(output), SPEC)
    older.finish({"run": 1})
    spec = replace(SPEC, kind="labels")
    newer, values = written(make(output), spec)
    calls = []

    def crash(source, target):
        if Path(target).parent == output.parent:  # zarr renames files of its own
            calls.append(source)
            if len(calls) == step + 1:
                raise Crash
        return rename(source, target)

    rename = os.replace
    with monkeypatch.context() as patch:
        patch.setattr("os.replace", crash)
        try:
            newer.finish({"run": 2})
        except Crash:
            assert len(calls) == step + 1
    open_sink(output, spec).finish({"run": 2})
    assert open_finished(output)["run"] == 2
    np.testing.assert_array_equal(open_sink(output, spec).read(Box.of_shape(SPEC.shape[1:])), values)
    assert not partial_path(output).exists()
    assert not output.with_name(output.name + ".replaced").exists()


@pytest.mark.parametrize("name", ["out.ome.tif", "out.h5"])
def test_a_crash_while_the_stage_is_removed_does_not_harm_the_output(name, tmp_path, monkeypatch):
    sink, values = written(make(tmp_path / name), SPEC)

    def crash(folder):
        (chunk,) = Path(folder).glob("stage.zarr.partial/0/c/0/0/0")
        chunk.unlink()
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", crash)
        with pytest.raises(Crash):
            sink.finish({"run": 1})
    open_sink(tmp_path / name, SPEC).finish({"run": 1})
    np.testing.assert_array_equal(open_sink(tmp_path / name, SPEC).read(Box.of_shape(SPEC.shape[1:])), values)
    assert {path.name for path in tmp_path.iterdir()} == {name, f"{name}.tiler.json"}


def test_what_an_older_crash_left_is_cleared_away(output):
    for run in (1, 2):
        sink, _ = written(make(output), SPEC)
        left = output.with_name(output.name + ".replaced")
        left.mkdir()
        (left / "chunk").write_text("")
        sink.finish({"run": run})
        assert not left.exists()
    assert open_finished(output)["run"] == 2


def full(*args, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_line(output, monkeypatch):
    sink = open_sink(output, SPEC)
    block = next(blocks_of(SPEC))
    inner = {"out.zarr": "", "out.h5": "/stage.zarr.partial", "out.ome.tif": "/stage.zarr.partial"}
    if output.name in inner:
        sink.create()
        monkeypatch.setattr("zarr.storage._local._put", full)
        with pytest.raises(SinkError, match="No space left on device") as refusal:
            sink.write(block, part(example_values(SPEC), block))
    else:
        monkeypatch.setattr("os.posix_fallocate", full, raising=False)
        with pytest.raises(SinkError, match="No space left on device") as refusal:
            sink.create()
    path = f"{partial_path(output)}{inner.get(output.name, '')}"
    assert str(refusal.value) == f"cannot write {path}: No space left on device"


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="space cannot be reserved on this system")
@pytest.mark.parametrize("name", ["out.tif", "out.npy"])
def test_space_is_reserved_when_the_file_is_made(tmp_path, name):
    spec = EXAMPLES["a stack"]
    large = replace(spec, shape=(1, 64, 256, 256), block=(64, 256, 256), chunk=(64, 256, 256),
                    calibration=replace(spec.calibration, sizes=(64, 256, 256)))
    open_sink(tmp_path / name, large).create()
    assert os.stat(partial_path(tmp_path / name)).st_blocks * 512 >= 64 * 256 * 256


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="the names of open files are not told here")
def test_a_block_is_synced_before_write_returns(output, monkeypatch):
    sink, _ = written(make(output), SPEC)
    sink.create()  # new folders, whatever was synced of the old ones
    synced = []
    fsync = os.fsync

    def record(descriptor):
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", record)
    block = next(blocks_of(SPEC))
    sink.write(block, part(example_values(SPEC), block))
    partial = str(partial_path(output))
    if output.suffix == ".zarr" or output.name.endswith(STAGED):
        partial += "" if output.suffix == ".zarr" else "/stage.zarr.partial"
        layers = range(4 if output.name.endswith(".ome.tif") else 1)
        files = {f"{partial}/0/c/{z}/{y}/0" for z in layers for y in (0, 1)}
        folders = {str(parent) for file in files for parent in list(Path(file).parents)[:4]}
        assert files | folders == set(synced)
    else:
        assert synced == [partial]


def test_an_array_is_not_written_from_another_process():
    sink = open_sink(None, SPEC)
    code = ("import pickle, sys\nfrom tiler.errors import SinkError\n"
            "try: pickle.load(sys.stdin.buffer)\n"
            "except SinkError as error: print(error)")
    found = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(sink), capture_output=True, check=True)
    assert b"cannot be written from another process" in found.stdout


@pytest.mark.parametrize(("example", "shape"), [
    ("an image", (20, 16)), ("a stack", (7, 20, 16)), ("classes of an image", (3, 20, 16)),
    ("classes over time", (2, 2, 6, 9, 21)),
])
def test_an_array_has_the_axes_of_the_input(example, shape):
    sink, values = written(lambda spec: open_sink(None, spec), EXAMPLES[example])
    assert sink.array.shape == shape
    assert sink.array.size == values.size


def test_an_array_that_was_not_created_is_refused():
    with pytest.raises(SinkError, match="was not created"):
        _ = open_sink(None, SPEC).array
