"""Damage of an unfinished output is found when the run goes on, and the blocks are computed again."""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
import tifffile
from standins import LabelNet, Stopping

import tiler
from tiler.errors import Interrupted, TilerError
from tiler.geometry import Box
from tiler.sinks.target import Target
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(1, 250, (3, 40, 44), dtype=np.uint8)


def cut(file):
    file.write_bytes(file.read_bytes()[:-7])


def zeroed(file):
    file.write_bytes(bytes(file.stat().st_size))


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def emptied(file):
    file.write_bytes(b"")


def deleted(file):
    file.unlink()


DAMAGES = (cut, zeroed, flipped, emptied, deleted)


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, VOLUME, photometric="minisblack")
    return path


class Told(Stopping):
    """Remembers what it was told."""

    def __init__(self, after=None):
        super().__init__(after)
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


def stopped(source, output, after=7, net=LabelNet, **options):
    listener = Told(after)
    with pytest.raises(Interrupted):
        tiler.segment(source, net(), output, block="1x16x16", listener=listener, stop=listener.stop,
                      executor="serial", **options)


def chunks(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and "/c/" in path.as_posix())


def content(output):
    if output.is_dir():
        return {path.relative_to(output): path.read_bytes() for path in chunks(output)}
    volume = tiler.open_volume(output)
    return volume.read(Box.of_shape(volume.shape[1:]))


def same(one, other):
    if one.is_dir():
        return content(one) == content(other)
    return np.array_equal(content(one), content(other))


@pytest.mark.parametrize(("name", "damage"), [*(("out.zarr", damage) for damage in DAMAGES), ("out.h5", cut),
                                              ("out.ome.tif", deleted)])
def test_a_damaged_chunk_is_computed_again(source, tmp_path, name, damage):
    straight, output = tmp_path / f"straight{name[3:]}", tmp_path / name
    tiler.segment(source, LabelNet(), straight, block="1x16x16")
    for options in ({}, {"verify": True}):
        stopped(source, output, overwrite=output.exists())
        damage(chunks(Target(output).partial)[2])
        found = tiler.check(output, model=LabelNet(), windows=0)
        assert len(found.damaged) == 1
        assert found.damaged[0].startswith("block ")
        listener = Told()
        tiler.segment(source, LabelNet(), output, resume=True, listener=listener, **options)
        assert "1 finished blocks were damaged" in listener.warnings[0]
        assert same(output, straight)
        assert tiler.check(output, model=LabelNet(), windows=0).sound


def damage_in_place(partial):
    """Change one voxel of the first block in a file that holds all of them."""
    content = bytearray(partial.read_bytes())
    content[len(content) - VOLUME.size * (2 if partial.suffixes[-2] == ".mrc" else 1)] ^= 1
    partial.write_bytes(content)


@pytest.mark.parametrize("name", ["out.npy", "out.tif", "out.mrc"])
def test_a_damaged_voxel_of_a_single_file_is_computed_again(source, tmp_path, name):
    straight, output = tmp_path / f"straight{name[3:]}", tmp_path / name
    tiler.segment(source, LabelNet(), straight, block="1x16x16")
    stopped(source, output)
    damage_in_place(Target(output).partial)
    assert len(tiler.check(output, model=LabelNet(), windows=0).damaged) == 1
    listener = Told()
    tiler.segment(source, LabelNet(), output, resume=True, listener=listener)
    assert "1 finished blocks were damaged" in listener.warnings[0]
    assert listener.blocks == 3 * 3 * 3 - 7 + 1
    assert output.read_bytes() == straight.read_bytes()


class FloatNet(PoolingNet):
    """Values of which no chunk is all zeros, which N5 and precomputed volumes do not store."""

    @property
    def dtype(self):
        return np.dtype(np.float32)

    def __call__(self, batch):
        return super().__call__(batch).astype(np.float32) + 1


SHARDS = {"chunk": "1x8x8", "shard": "1x16x16"}


@pytest.mark.parametrize(("name", "damage", "options"), [
    *(("out.n5", damage, {}) for damage in DAMAGES), *(("out.precomputed", damage, {}) for damage in (cut, deleted)),
    *(("out.precomputed", damage, SHARDS) for damage in (zeroed, deleted))])
def test_a_damaged_chunk_of_tensorstore_is_computed_again(source, tmp_path, name, damage, options):
    straight, output = tmp_path / f"straight{name[3:]}", tmp_path / name
    tiler.segment(source, FloatNet(), straight, block="1x16x16", **options)
    stopped(source, output, net=FloatNet, **options)
    found = sorted(file for file in Target(output).partial.rglob("*") if file.is_file() and file.suffix != ".json")
    damage([file for file in found if file.name != "info"][2])
    listener = Told()
    tiler.segment(source, FloatNet(), output, resume=True, listener=listener)
    assert "1 finished blocks were damaged" in listener.warnings[0]
    assert {file.relative_to(output): file.read_bytes() for file in output.rglob("*") if file.is_file()} == \
        {file.relative_to(straight): file.read_bytes() for file in straight.rglob("*") if file.is_file()}


@pytest.mark.parametrize(("name", "damage"), [("out.zarr", zeroed), ("out.npy", deleted)])
def test_damaged_labels_that_wait_for_numbers_are_computed_again(source, tmp_path, name, damage):
    straight, output = tmp_path / f"straight{name[3:]}", tmp_path / name
    tiler.segment(source, LabelNet(), straight, kind="instances", block="1x16x16")
    stopped(source, output, kind="instances")
    damage(chunks(tmp_path / f"{name}.stage.zarr.partial")[2])
    assert len(tiler.check(output, model=LabelNet(), windows=0).damaged) == 1
    tiler.segment(source, LabelNet(), output, resume=True)
    assert same(output, straight)


STAGES = {"out.zarr.stage.zarr": {}, "out.zarr.whole.stage.zarr": {"split": "watershed"},
          "out.zarr.objects.stage.zarr": {"grow": 2}, "out.zarr": {"grow": 2}}


@pytest.mark.parametrize(("place", "blocks"), [
    ("out.zarr.stage.zarr", 7), ("out.zarr.whole.stage.zarr", 27 + 27 + 1 + 7),
    ("out.zarr.objects.stage.zarr", 27 + 27 + 1 + 7), ("out.zarr", 27 + 27 + 1 + 27 + 7)])
def test_every_stage_that_stores_voxels_heals(source, tmp_path, place, blocks):
    straight, output, options = tmp_path / "straight.zarr", tmp_path / "out.zarr", STAGES[place]
    tiler.segment(source, LabelNet(), straight, kind="instances", block="1x16x16", **options)
    stopped(source, output, after=blocks, kind="instances", **options)
    deleted(chunks(tmp_path / f"{place}.partial")[2])
    listener = Told()
    tiler.segment(source, LabelNet(), output, resume=True, listener=listener)
    assert "1 finished blocks were damaged" in listener.warnings[0]
    assert same(output, straight)


def test_blocks_that_were_copied_are_read_and_kept(source, tmp_path):
    output, net = tmp_path / "out.zarr", LabelNet()
    stopped(source, output)
    for chunk in chunks(tmp_path / "out.zarr.partial"):
        os.utime(chunk)
    listener = Told()
    tiler.segment(source, net, output, resume=True, listener=listener)
    assert listener.warnings == []
    assert listener.blocks == 3 * 3 * 3 - 7


@pytest.mark.parametrize("gone", ["zarr.json", "0/zarr.json", ""])
@pytest.mark.parametrize("how", [deleted, zeroed])
def test_metadata_that_vanished_name_the_way_out(source, tmp_path, gone, how):
    output = tmp_path / "out.zarr"
    stopped(source, output)
    partial = tmp_path / "out.zarr.partial"
    if gone:
        how(partial / gone)
    else:
        shutil.rmtree(partial)
    try:
        tiler.segment(source, LabelNet(), output, resume=True)
    except TilerError as error:
        assert "overwrite=" in str(error)  # noqa: PT017  it may also be healed
    else:
        assert tiler.check(output, model=LabelNet()).sound
    tiler.segment(source, LabelNet(), output, overwrite=True)
    assert tiler.check(output, model=LabelNet()).sound


@pytest.mark.parametrize("name", ["out.zarr", "out.npy"])
@pytest.mark.parametrize("how", [deleted, emptied])
def test_a_journal_that_vanished_names_the_way_out(source, tmp_path, name, how):
    output = tmp_path / name
    stopped(source, output)
    how(tmp_path / f"{name}.journal")
    for options in ({}, {"resume": True}):
        with pytest.raises(TilerError, match="overwrite=") as refusal:
            tiler.segment(source, LabelNet(), output, **options)
        assert "resume=" not in str(refusal.value)
    tiler.segment(source, LabelNet(), output, overwrite=True)
    assert tiler.check(output, model=LabelNet(), windows=0).sound


def test_a_preallocated_file_that_was_cut_names_the_way_out(source, tmp_path):
    output = tmp_path / "out.npy"
    stopped(source, output)
    cut(tmp_path / "out.npy.partial")
    with pytest.raises(TilerError, match=r"damaged or truncated.*overwrite="):
        tiler.segment(source, LabelNet(), output, resume=True)


@pytest.mark.parametrize("name", ["out.zarr", "out.tif", "out.npy", "out.h5"])
def test_a_resumed_run_leaves_the_same_provenance_as_a_straight_one(source, tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    straight, broken = tmp_path / "a" / name, tmp_path / "b" / name
    tiler.segment(source, PoolingNet(), straight, block="1x16x16", executor="serial", normalise="volume")
    stopped(source, broken, net=PoolingNet, normalise="volume")
    tiler.segment(source, PoolingNet(), broken, resume=True)
    files = [straight.parent / f"{name}.tiler.json"] if straight.is_file() else sorted(straight.rglob("*.json"))
    assert files
    for file in files:
        assert file.read_bytes() == (broken.parent / file.relative_to(straight.parent)).read_bytes()
