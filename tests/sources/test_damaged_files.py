"""What the libraries of formats raise for damaged files, whatever it is, becomes one line that names the file."""

import dataclasses
import json

import h5py
import numpy as np
import pytest
import zarr

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import FORMATS, open_source

FOREIGN = (RuntimeError("bad local\nheap"), KeyError("object"), TypeError("not a list"), RecursionError("too deep"),
           OSError(5, "Input/output error"), AttributeError("no such thing"))


def refusal(use):
    with pytest.raises(SourceError) as refused:
        use()
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("known", FORMATS, ids=lambda known: known.suffixes[0])
def test_whatever_opening_raises_is_one_line_that_names_the_file(tmp_path, monkeypatch, known, error):
    def opener(*_, **__):
        raise error

    monkeypatch.setattr("tiler.sources.resolve_name", lambda name: opener)
    path = tmp_path / f"damaged{known.suffixes[0]}"
    path.touch()
    assert str(path) in refusal(lambda: open_source(path))


@pytest.mark.parametrize("error", FOREIGN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("asked", ["fetch", "identity", "holds"])
def test_whatever_an_open_image_raises_is_one_line_that_names_it(error, asked):
    def damaged(*_):
        raise error

    source = open_source(np.zeros((3, 4)))
    raw = type("Raw", (), {"header": dataclasses.replace(source.raw.header, name="cells.abc"),
                           "fetch": source.raw.fetch, "identity": source.raw.identity, asked: damaged})
    source = dataclasses.replace(source, raw=raw)
    box = Box.of_shape(source.shape[1:])
    use = {"fetch": lambda: source.read(box), "identity": lambda: source.identity,
           "holds": lambda: source.check_region(box)}[asked]
    assert "cells.abc" in refusal(use)


def test_a_damaged_imaris_file_is_refused_with_its_name(tmp_path):
    path = tmp_path / "cells.ims"
    with h5py.File(path, "w") as file:
        file.create_dataset("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data", data=np.zeros((3, 4, 5), "u1"))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"HEAP", b"xxxx"))
    assert str(path) in refusal(lambda: open_source(path))


@pytest.mark.parametrize("stored", ["text", 3, [1], True])
@pytest.mark.parametrize("version", [2, 3])
def test_attributes_of_a_zarr_that_are_no_object_cost_no_voxel(tmp_path, caplog, version, stored):
    values = np.arange(12, dtype="u1").reshape(3, 4)
    path = tmp_path / "a.zarr"
    zarr.create_array(path, data=values, zarr_format=version)
    file = path / (".zattrs" if version == 2 else "zarr.json")
    told = json.loads(file.read_text())
    file.write_text(json.dumps(stored if version == 2 else {**told, "attributes": stored}))
    source = open_source(path)
    np.testing.assert_array_equal(source.read(Box.of_shape(source.shape[1:]))[0, 0], values)
    assert "attributes" in caplog.text
