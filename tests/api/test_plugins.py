"""Formats and networks of other packages: one is installed into a folder, as pip would do it."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest

import tiler
from tiler.errors import ModelError, SinkError, SourceError
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 255, (2, 40, 37), dtype=np.uint8)
METADATA = "Metadata-Version: 2.1\nName: offering\nVersion: 1.0\n"
ENTRY_POINTS = """
[tiler.sources]
xyz = offering:open_xyz

[tiler.sinks]
xyz = offering:XyzSink

[tiler.models]
offered-net = offering:NET
wrong-net = offering:open_xyz
"""
CODE = '''
from tiler.models import ModelEntry
from tiler.models.zoo.registry import Paper
from tiler.sinks.npy import NpySink
from tiler.sources import open_source

NET = ModelEntry("offered-net", "tiler.models.zoo.unet:UNet", "a network of others", Paper("", ""))

def open_xyz(path):
    import numpy as np
    return open_source(np.frombuffer(path.read_bytes()[-2 * 40 * 37:], np.uint8).reshape(2, 40, 37))

class XyzSink(NpySink):
    """Writes .npy under another name."""
'''


@pytest.fixture(autouse=True)
def offering(tmp_path, monkeypatch):
    folder = tmp_path / "site"
    (folder / "offering-1.0.dist-info").mkdir(parents=True)
    (folder / "offering-1.0.dist-info" / "METADATA").write_text(METADATA)
    (folder / "offering-1.0.dist-info" / "entry_points.txt").write_text(ENTRY_POINTS)
    (folder / "offering.py").write_text(CODE)
    monkeypatch.syspath_prepend(folder)
    importlib.invalidate_caches()
    yield
    sys.modules.pop("offering", None)


def test_formats_of_other_packages_are_read_and_written(tmp_path):
    with (tmp_path / "in.xyz").open("wb") as file:
        np.save(file, VOLUME)
    path = tiler.segment(tmp_path / "in.xyz", PoolingNet(), tmp_path / "out.xyz")
    with path.open("rb") as file:
        np.testing.assert_array_equal(np.load(file), tiler.segment(VOLUME, PoolingNet()))
    with pytest.raises(SourceError, match="this one is open"):
        tiler.open_volume(tmp_path / "in.xyz", axes="zyx")


def test_other_suffixes_are_still_unknown(tmp_path):
    (tmp_path / "in.zyx").touch()
    with pytest.raises(SourceError, match="unknown format"):
        tiler.open_volume(tmp_path / "in.zyx")
    with pytest.raises(SinkError, match="outputs end in"):
        tiler.plan(VOLUME, PoolingNet(), tmp_path / "out.zyx")


def test_a_network_of_another_package_has_a_name():
    from tiler.models.zoo.registry import build, describe, names

    assert "offered-net" in names()
    assert describe("offered-net").description == "a network of others"
    assert type(build("offered-net", base=2, depth=1)).__name__ == "UNet"
    with pytest.raises(ModelError, match="did you mean offered-net"):
        describe("offerednet")
    with pytest.raises(ModelError, match=r"is not a tiler\.models\.ModelEntry of that name"):
        describe("wrong-net")
