"""The published package `unet2d_nuclei_broad` from the command line, against its published output."""

import numpy as np
import pytest

from tiler.cli.main import _run
from tiler.models import load_model
from tiler.models.probe import probe

pytest.importorskip("bioimageio.spec")
CLOSE, MORE = 1.5e-6, 5e-7
"""What the untiled network is off, and how much further a tiled one may be."""


@pytest.fixture
def package(shared):
    return shared / "bioimageio" / "unet2d_nuclei_broad"


@pytest.fixture
def image(package, tmp_path):
    path = tmp_path / "nuclei.npy"
    np.save(path, np.load(package / "test_input.npy")[0, 0])
    return path


def off(package, image, capsys, *arguments, region=np.s_[:, :]):
    """Largest difference from the published output, and what was said on stderr."""
    output = image.with_name("found.npy")
    code = _run(["segment", str(image), "-o", str(output), "--overwrite", "--threads", "1", *map(str, arguments)])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    published = np.load(package / "test_output.npy")[0, 0][region]
    return float(np.abs(np.load(output) - published).max()), captured.err


def test_a_region_by_small_tiles_is_that_of_the_published_output(package, image, capsys):
    """The law: a region is scaled by the whole image and sees what surrounds it."""
    difference, told = off(package, image, capsys, "--model", package / "bioimageio.yaml", "--tile", 136,
                           "--roi", "0:1,200:264,0:64", region=np.s_[200:264, :64])
    assert difference <= CLOSE + MORE
    assert "halo of 32 x 32 is enough, its network needs 56 x 56" in told


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["onnx", "torchscript"])
def test_tiled_and_untiled_are_equally_near_to_the_published_output(package, image, capsys, weights):
    arguments = ("--model", package, "--weights", weights, "--trust")
    untiled, _ = off(package, image, capsys, *arguments, "--tile", 512)
    tiled, _ = off(package, image, capsys, *arguments, "--tile", 240)
    assert untiled <= CLOSE
    assert tiled <= untiled + MORE


@pytest.mark.slow
def test_the_probe_finds_what_was_measured(package):
    report = probe(load_model(package).bare(), 1)
    assert report.proved
    assert report.context.low[1:] == report.context.high[1:] == (54, 54)
    assert report.footprint.low[1:] == report.footprint.high[1:] == (56, 56)
