"""Programs of torch.export as models."""

import warnings

import pytest
import torch
from networks import ToTheSkip
from torch import nn

from tiler.errors import ModelError
from tiler.models import load_model
from tiler.models.probe import probe


def saved(module, path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(module.eval(), (torch.randn(1, 1, 32, 32),), **options), path)
    return path


@pytest.mark.parametrize("sizes", [None, {"x": dict.fromkeys((2, 3), torch.export.Dim.AUTO)}], ids=["one", "free"])
def test_a_program_runs_at_every_size_and_is_proved(tmp_path, sizes):
    """One size is what torch.export makes unasked: interpolation to it is by its factor."""
    network = ToTheSkip().eval()
    loaded = load_model(saved(network, tmp_path / "net.pt2", dynamic_shapes=sizes), trust=True)
    assert (loaded.in_channels, loaded.ndim) == (1, 2)
    image = torch.randn(1, 1, 44, 60)
    assert torch.allclose(loaded.build()(image), network(image), atol=1e-6)
    report = probe(loaded.bare(), 1)
    assert report.proved
    assert report.footprint == probe(network, 1, prove=False).footprint
    assert {value.device.type for value in loaded.meta().state_dict().values()} == {"meta"}


def test_a_constant_of_one_size_is_found_by_the_probe(tmp_path):
    class Positions(nn.Module):
        def __init__(self):
            super().__init__()
            self.ramp = nn.Parameter(torch.linspace(0, 1, 32))

        def forward(self, x):
            return x * self.ramp

    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), Positions())
    loaded = load_model(saved(network, tmp_path / "net.pt2"), trust=True)
    with pytest.raises(ModelError, match="runs at no size"):
        probe(loaded.bare(), 1)


def test_other_files_are_refused_in_one_line(tmp_path):
    (tmp_path / "net.pt2").write_bytes(b"no zip")
    with pytest.raises(ModelError, match=r"no TorchScript or torch\.export file") as caught:
        load_model(tmp_path / "net.pt2", trust=True)
    assert "\n" not in str(caught.value)
