"""Checkpoints: they give back what was put in, and the last one stays when a new one cannot be written."""

import errno

import pytest
import torch
from torch import nn

from tiler.errors import JournalError, SinkError
from tiler.models.training import checkpoint as module
from tiler.models.training.catalogue import recipe
from tiler.models.training.checkpoint import Checkpoint, pack, unpack, write_whole
from tiler.models.training.optimisation import MovingAverage, make_optimiser


def trained(kind, steps=3):
    torch.manual_seed(1)
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1))
    optimiser = make_optimiser(network, recipe(kind), torch.device("cpu"))
    average = MovingAverage(network, 0.9)
    for step in range(steps):
        optimiser.zero_grad()
        network(torch.randn(2, 1, 6, 6)).square().mean().backward()
        optimiser.step()
        average.update(network, step)
    return network, optimiser, average


@pytest.mark.parametrize("kind", ["default", "paper"])
def test_what_was_packed_comes_back(tmp_path, kind):
    network, optimiser, average = trained(kind)
    tensors = pack(network, optimiser, average.state)
    Checkpoint(3, tensors, {"seed": 1}, {"rows": []}).save(tmp_path / "c.safetensors")
    loaded = Checkpoint.load(tmp_path / "c.safetensors")
    assert (loaded.step, loaded.settings, loaded.record) == (3, {"seed": 1}, {"rows": []})
    other = trained(kind, steps=0)
    unpack(loaded.tensors, other[0], other[1], other[2].state)
    again = pack(other[0], other[1], other[2].state)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)
    (tmp_path / "any").touch()
    assert (tmp_path / "c.safetensors").stat().st_mode == (tmp_path / "any").stat().st_mode, "others may read it too"


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "c.safetensors"
    Checkpoint(1, {"a": torch.ones(2)}, {}, {}).save(path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "save", full)
    with pytest.raises(SinkError, match=r"No space left on device.*resume="):
        Checkpoint(2, {"a": torch.zeros(2)}, {}, {}).save(path)
    assert Checkpoint.load(path).step == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.safetensors"]


def test_what_is_being_written_never_bears_the_name(tmp_path):
    path = tmp_path / "x"
    write_whole(path, lambda new: new.write_text("old"), "text")

    def write(new):
        new.write_text("new")
        assert path.read_text() == "old"

    write_whole(path, write, "text")
    assert path.read_text() == "new"


@pytest.mark.parametrize("content", [b"", b"\x10\0\0\0\0\0\0\0{}", b"nonsense" * 9])
def test_damaged_checkpoints_are_refused(tmp_path, content):
    path = tmp_path / "c.safetensors"
    path.write_bytes(content)
    with pytest.raises(JournalError, match="overwrite="):
        Checkpoint.load(path)


def test_checkpoints_of_a_later_version_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "FORMAT", 99)
    Checkpoint(1, {"a": torch.ones(2)}, {}, {}).save(tmp_path / "c.safetensors")
    monkeypatch.undo()
    with pytest.raises(JournalError, match="format 99"):
        Checkpoint.load(tmp_path / "c.safetensors")
