"""`tiler train` reports wrong input in one line with exit code 1 and loses nothing."""

import errno
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
import torch
from safetensors.torch import load_file

from tiler.cli.main import _run
from tiler.models import read_card
from tiler.models.training import run as loop

RANDOM = np.random.default_rng(2)
IMAGES = RANDOM.integers(0, 256, (5, 40, 40)).astype(np.uint8)
LABELS = np.where(RANDOM.random((5, 40, 40)) < 0.7, 255, 0).astype(np.uint8)
SMALL = ("--base", "2", "--depth", "1", "--tile", "40", "--batch", "1", "--threads", "1", "--steps", "2",
         "--precision", "float32", "-q")


@pytest.fixture
def stacks(tmp_path, monkeypatch):
    """A folder of images and labels, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "write_svg", lambda rows, path: None)
    tifffile.imwrite("images.tif", IMAGES)
    tifffile.imwrite("labels.tif", LABELS)
    return tmp_path


def refused(capsys, *arguments):
    """The one line on stderr of a command that must fail."""
    assert _run(["train", *map(str, arguments)]) == 1
    spoken = capsys.readouterr()
    assert spoken.out == ""
    assert spoken.err.count("\n") == 1
    assert spoken.err.startswith("tiler: ")
    return spoken.err


@pytest.mark.parametrize(("labels", "says"), [
    (LABELS[:, :30], "wrong.tif are 5 x 30 x 40 in 1 channel, images"),
    (LABELS[:2], "2 x 40 x 40"),
    (np.zeros_like(LABELS), "hold one class only (every pixel is 0)"),
    (LABELS / np.float32(255), "are float32, not integers"),
], ids=["another shape", "fewer slices", "one class", "no integers"])
def test_wrong_labels(labels, says, stacks, capsys):
    tifffile.imwrite("wrong.tif", labels)
    assert says in refused(capsys, "images.tif", "wrong.tif", "-o", "w.safetensors", *SMALL)
    assert not list(stacks.glob("w.*"))


def test_images_of_different_size(stacks, capsys):
    Path("frames").mkdir()
    for number, size in enumerate((40, 40, 39, 40, 40)):
        tifffile.imwrite(f"frames/{number}.tif", IMAGES[number, :, :size])
    line = refused(capsys, "frames", "labels.tif", "-o", "w.safetensors", *SMALL)
    assert "2.tif is of shape (40, 39)" in line
    assert not list(stacks.glob("w.*"))


@pytest.mark.parametrize(("given", "says"), [
    ("2:9", "2:9 are no range within the 5 slices given (0:5)"), ("0:5", "all that there are"),
    ("two", "is not a range of slices")])
def test_validation_outside_the_stack(given, says, stacks, capsys):
    line = refused(capsys, "images.tif", "labels.tif", "-o", "w.safetensors", "--validate", given, *SMALL)
    assert says in line
    assert "--validate" in line
    assert not list(stacks.glob("w.*"))


def test_an_argument_given_twice(stacks, capsys):
    line = refused(capsys, "images.tif", "labels.tif", "-o", "w.safetensors", "--model-arg", "base=4", *SMALL)
    assert "base is 2 by --base, and 4 by --model-arg: give one of them" in line
    assert not list(stacks.glob("w.*"))


def test_a_seed_beyond_the_generators(stacks, capsys):
    command = ["train", "images.tif", "labels.tif", "-o", "w.safetensors", *SMALL, "--seed"]
    assert _run([*command, str(2**43)]) == 2
    assert "Invalid value for '--seed'" in capsys.readouterr().err
    assert _run([*command, str(2**43 - 1)]) == 0


def test_a_disk_that_is_full_in_the_middle_of_a_run(stacks, capsys, monkeypatch):
    command = ["images.tif", "labels.tif", "-o"]
    assert _run(["train", *command, "whole.safetensors", *SMALL]) == 0
    capsys.readouterr()
    written, write = [], Path.write_bytes

    def fills_up(path, content):
        written.extend([path] * path.name.startswith("checkpoint"))
        if len(written) == 2:
            write(path, b"half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", fills_up)
    line = refused(capsys, *command, "w.safetensors", *SMALL)
    assert "cannot write checkpoint" in line
    assert "No space left on device" in line
    assert "--resume" in line
    monkeypatch.setattr(Path, "write_bytes", write)
    assert _run(["train", *command, "w.safetensors", "--resume", "-q"]) == 0
    one, other = load_file("whole.safetensors"), load_file("w.safetensors")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_too_little_room_is_said_before_the_first_step(stacks, capsys, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=10))
    assert "make room" in refused(capsys, "images.tif", "labels.tif", "-o", "w.safetensors", *SMALL)
    assert not list(stacks.glob("w.*"))


def test_weights_to_begin_with_that_are_none(stacks, capsys):
    line = refused(capsys, "images.tif", "labels.tif", "-o", "w.safetensors", "--init", "labels.tif", *SMALL)
    assert "labels.tif" in line
    assert "(--init)" in line
    assert "--weights" not in line


def test_arguments_of_the_network_are_stored_and_not_repeated(stacks):
    """`tiler segment --model NAME --weights FILE` is all that it takes."""
    assert _run(["train", "images.tif", "labels.tif", "-o", "w.safetensors", "--model", "unetpp", "--model-arg",
                 "up=bilinear", *SMALL]) == 0
    card = read_card(Path("w.safetensors"))
    assert (card.arguments["up"], card.arguments["depth"], card.classes) == ("bilinear", 1, ("object",))
    assert _run(["segment", "images.tif", "--model", "unetpp", "--weights", "w.safetensors", "-o", "s.tif", "-q"]) == 0
    assert tifffile.imread("s.tif").shape == IMAGES.shape
