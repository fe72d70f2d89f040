"""`tiler check` certifies sound outputs and finds damaged ones and those that were wrong from the start."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from cli_cases import BLOCKS

from tiler.geometry import Box
from tiler.models.predictor.open_predictor import TorchPredictor
from tiler.planning.resolve import Plan
from tiler.running.journal import Journal

CHUNK = 20


def damage(output, place):
    """One voxel of the stored array is another."""
    if output.suffix == ".zarr":
        array = zarr.open_array(output / "0", mode="r+")
        array[place] = array[place] + 1
    elif output.suffix == ".npy":
        array = np.load(output, mmap_mode="r+")
        array[place] += 1
        array.flush()
    else:
        array = tifffile.memmap(output, mode="r+")
        array[place] += 1
        array.flush()


@pytest.mark.parametrize("output", ["out.zarr", "out.npy", "out.tif"])
@pytest.mark.parametrize("options", [
    (), ("--dtype", "float16"), ("--precision", "float64", "--dtype", "float64"), ("--as", "labels"),
    ("--as", "instances", "--min-size", "2"), ("--as", "labels", "--classes", "class 0"),
    ("--as", "instances", "--classes", "class 0")])
def test_one_damaged_block_of_many_is_found_and_named(segment, tiler, output, options):
    classes = () if "--as" in options else ("--classes", "class 1")
    assert segment("stack.tif", "-o", output, *options, *classes).code == 0
    sound = tiler("check", output)
    assert (sound.code, sound.err) == (0, "")
    assert sound.out.splitlines()[-1] == "sound"
    z, y, x = place = tuple(np.random.default_rng(3).integers(0, (3, 61, 53)))
    damage(Path(output), place)
    found = tiler("check", output)
    assert found.code == 1
    (named,) = [line for line in found.out.splitlines() if line.startswith("  damaged: ")]
    assert str(chunk_at(z, y, x)) in named
    assert found.out.splitlines()[-1].startswith("NOT sound")


def chunk_at(z, y, x):
    y, x = y // CHUNK * CHUNK, x // CHUNK * CHUNK
    return Box.between((z, y, x), (z + 1, min(y + CHUNK, 61), min(x + CHUNK, 53)))


def test_a_chunk_that_was_lost_is_found(segment, tiler):
    segment("stack.tif", "-o", "out.zarr")
    chunks = sorted(path for path in Path("out.zarr/0/c").rglob("*") if path.is_file())
    chunks[len(chunks) // 2].unlink()
    report = json.loads(tiler("check", "out.zarr", "--json").out)
    assert not report["sound"]
    assert len(report["damaged"]) == 1


def test_a_wrong_context_is_found_where_every_checksum_is_right(segment, tiler, monkeypatch):
    """Tiles with a context of 4 less, which a network that keeps its size silently takes."""
    right = TorchPredictor.footprint
    plan = ("--threads", "1", "--tile", "60", "--block", "28", "--border", "mirror")
    with monkeypatch.context() as patch:
        patch.setattr(TorchPredictor, "footprint", property(lambda self: less(right.fget(self))))
        assert segment("stack.tif", "-o", "wrong.zarr", model="padded", plan=plan).code == 0
    found = tiler("check", "wrong.zarr")
    assert found.code == 1
    assert "  wrong: [" in found.out
    assert "damaged" not in found.out
    assert segment("stack.tif", "-o", "right.zarr", model="padded", plan=plan).code == 0
    assert tiler("check", "right.zarr").code == 0


def less(footprint):
    shift = (0, 4, 4)
    return replace(footprint, low=tuple(a - b for a, b in zip(footprint.low, shift, strict=True)),
                   high=tuple(a - b for a, b in zip(footprint.high, shift, strict=True)))


def test_the_numbers_of_a_check(segment, tiler):
    segment("stack.tif", "-o", "out.zarr")
    report = json.loads(tiler("check", "out.zarr", "--json", "--windows", "3", "--seed", "1").out)
    assert (report["blocks"], report["recorded"], report["windows"]) == (BLOCKS, BLOCKS, 3)
    assert report["tile"] != report["other_tile"]
    assert 0 < report["share"] < 1
    assert report["worst"] <= report["allowed"]
    assert report["sound"]
    none = json.loads(tiler("check", "out.zarr", "--json", "--windows", "0").out)
    assert (none["windows"], none["share"], none["sound"]) == (0, 0, True)


@pytest.mark.parametrize(("name", "words"), [
    ("nope.zarr", "nope.zarr does not exist: there is nothing to check"),
    ("stack.tif", "stack.tif has no journal (stack.tif.journal): only what tiler segment wrote")])
def test_what_is_no_output_is_not_checked(tiler, name, words):
    outcome = tiler("check", name)
    assert (outcome.code, len(outcome.lines)) == (1, 1)
    assert words in outcome.err


def test_an_unfinished_output_is_not_certified(segment, tiler, folder):
    segment("stack.tif", "-o", "out.zarr")
    journal = Path("out.zarr.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-5]))
    outcome = tiler("check", "out.zarr", "--windows", "0")
    assert outcome.code == 1
    assert outcome.out.splitlines()[0] == f"blocks: {BLOCKS - 4} of {BLOCKS} are finished and sound"
    assert outcome.out.splitlines()[-1].startswith("unfinished: ")


def test_inputs_and_models_may_have_moved(segment, tiler, networks, folder):
    segment("stack.tif", "-o", "out.zarr")
    (folder / "elsewhere").mkdir()
    shutil.move("stack.tif", "elsewhere/stack.tif")
    shutil.copy(networks, "elsewhere/networks.py")
    missing = tiler("check", "out.zarr")
    assert (missing.code, len(missing.lines)) == (1, 1)
    assert "stack.tif does not exist" in missing.err
    assert tiler("check", "out.zarr", "--source", "elsewhere/stack.tif",
                 "--model", "elsewhere/networks.py:Net").code == 0


def test_the_plan_that_is_checked_is_the_one_in_the_journal(segment, tiler):
    segment("stack.tif", "-o", "out.zarr", "--roi", "1:3,7:50,3:40")
    plan = Plan.from_json(Journal.load(Path("out.zarr.journal")).header["plan"])
    assert plan.region == Box.between((1, 7, 3), (3, 50, 40))
    assert tiler("check", "out.zarr").out.splitlines()[-1] == "sound"


def test_a_mask_may_have_moved(segment, tiler, folder):
    tifffile.imwrite("tissue.tif", np.ones((3, 61, 53), np.uint8), photometric="minisblack")
    assert segment("stack.tif", "-o", "out.zarr", "--mask", "tissue.tif").code == 0
    shutil.move("tissue.tif", "moved.tif")
    assert "tissue.tif" in tiler("check", "out.zarr", "--windows", "1").err
    assert tiler("check", "out.zarr", "--windows", "1", "--mask", "moved.tif").code == 0
