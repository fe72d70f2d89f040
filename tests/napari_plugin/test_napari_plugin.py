"""The plugin without a window: its manifest, layers of files, and a run of the engine."""

from __future__ import annotations

import tomllib
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from standins import LabelNet

import tiler
from tiler.errors import Interrupted, PlanError
from tiler.napari_plugin.reader import get_reader, read
from tiler.napari_plugin.work import Progress, Run, model_names, source_of
from tiler.ports import Source
from tiler.testing.predictors import PoolingNet
from tiler.viewing.layers import layers_of

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MANIFEST = ROOT / "tiler" / "napari_plugin" / "napari.yaml"
STACK = np.random.default_rng(2).integers(0, 250, (3, 40, 44), dtype=np.uint8)


@pytest.fixture(scope="module")
def manifest():
    return yaml.safe_load(MANIFEST.read_text())


def test_the_manifest_is_the_one_that_is_installed_and_belongs_to_this_package(manifest):
    (entry,) = PROJECT["project"]["entry-points"]["napari.manifest"].items()
    assert entry == (manifest["name"], "tiler.napari_plugin:napari.yaml")
    assert manifest["name"] == PROJECT["project"]["name"]
    assert PROJECT["tool"]["setuptools"]["package-data"]["tiler.napari_plugin"] == ["napari.yaml"]


def test_every_command_of_the_manifest_is_there(manifest):
    made = manifest["contributions"]
    names = {command["id"]: command["python_name"].split(":") for command in made["commands"]}
    (reader,), (widget,) = made["readers"], made["widgets"]
    module, function = names.pop(reader["command"])
    assert getattr(import_module(module), function) is get_reader
    assert names == {widget["command"]: ["tiler.napari_plugin.widget", "SegmentWidget"]}


def test_the_manifest_is_one_of_napari(manifest):
    """By npe2's own model of it. npe2 is a plugin of pytest that warns at its import, so the test extra is without."""
    npe2 = pytest.importorskip("npe2", reason="npe2 is not installed (pip install 'em-tiler[napari]')")
    assert npe2.PluginManifest.from_file(MANIFEST).name == manifest["name"]


@pytest.fixture
def result(tmp_path):
    """A stack, and what the exact network of the tests makes of a region of it."""
    np.save(tmp_path / "stack.npy", STACK)
    tiler.segment(tmp_path / "stack.npy", PoolingNet(), tmp_path / "cells.zarr", roi="1:3,8:40,4:44")
    return tmp_path


def test_results_are_read_as_layers_where_they_lie(result):
    ((data, look, kind),) = read(str(result / "cells.zarr"))
    assert kind == "image"
    np.testing.assert_array_equal(np.asarray(data), np.asarray(layers_of(result / "cells.zarr", image=False)[0].array))
    assert (look["scale"], look["translate"], look["axis_labels"]) == ((1.0,) * 3, (1.0, 8.0, 4.0), ("z", "y", "x"))
    assert look["units"] == ("pixel",) * 3
    assert look["metadata"] == {"tiler": {"path": str(result / "cells.zarr"), "channel": 0}}


def test_an_image_brings_its_labels(result):
    place = str(result / "cells.zarr/labels/objects")
    tiler.segment(result / "stack.npy", LabelNet(), place, kind="instances", roi="1:3,8:40,4:44")
    (_, _, kind), (data, look, labels) = read(str(result / "cells.zarr"))
    assert (kind, labels) == ("image", "labels")
    assert look["metadata"]["tiler"]["path"] == place
    np.testing.assert_array_equal(np.asarray(data), np.asarray(layers_of(place, image=False)[0].array))


def test_images_are_grey_and_channels_apart(tmp_path):
    np.save(tmp_path / "a.npy", np.stack([STACK, STACK]))
    np.save(tmp_path / "b.npy", STACK)
    layers = read([str(tmp_path / "a.npy"), str(tmp_path / "b.npy")])
    assert [look["name"] for _, look, _ in layers] == ["a 0", "a 1", "b"]
    assert layers[2][1]["colormap"] == "gray"
    assert layers[0][1]["colormap"]["colors"][0] == [0.0, 0.0, 0.0, 1.0]
    np.testing.assert_array_equal(np.asarray(layers[1][0]), STACK)


def test_what_tiler_cannot_read_is_left_to_others(tmp_path, result):
    (tmp_path / "a.tif").write_text("no image")
    assert get_reader(str(tmp_path / "a.tif")) is None
    assert get_reader([str(result / "stack.npy"), str(tmp_path / "no.zarr")]) is None
    assert get_reader(str(result / "stack.npy")) is read


def layer(array, **changes):
    """The attributes of a napari image layer that the plugin uses."""
    ndim = array.ndim - bool(changes.get("rgb"))
    made = {"data": array, "name": "shown", "metadata": {}, "multiscale": False, "rgb": False,
            "scale": np.ones(ndim), "translate": np.zeros(ndim), "units": ("pixel",) * ndim}
    return SimpleNamespace(**{**made, **changes})


def test_a_layer_keeps_its_physical_sizes():
    source = source_of(layer(STACK, scale=np.array([50.0, 4, 4]), translate=np.array([100.0, 8, 8]),
                             units=("nanometer",) * 3))
    assert isinstance(source, Source)
    assert (source.name, source.shape) == ("shown", (1, 3, 40, 44))
    assert source.calibration.scale == (50.0, 4.0, 4.0)
    assert source.calibration.offset == (100.0, 8.0, 8.0)
    assert source.calibration.units == ("nanometer",) * 3
    assert source_of(layer(STACK)).calibration.units == (None,) * 3


def test_colours_levels_and_files_of_layers_are_known(result):
    assert source_of(layer(np.zeros((40, 44, 3), np.uint8), rgb=True)).shape == (3, 1, 40, 44)
    assert source_of(layer(STACK, data=[STACK, STACK[:, ::2, ::2]], multiscale=True)).shape == (1, 3, 40, 44)
    path = str(result / "stack.npy")
    assert source_of(layer(STACK, metadata={"tiler": {"path": path, "channel": 0}})).identity["path"] == path
    with pytest.raises(PlanError, match="5 axes"):
        source_of(layer(np.zeros((1, 1, 1, 9, 9))))


@pytest.mark.parametrize("output", [None, "out.zarr"])
def test_a_run_tells_how_far_it_is_and_gives_layers(tmp_path, output):
    told = []
    run = Run(source_of(layer(STACK)), PoolingNet(), output and tmp_path / output,
              {"block": "20", "tile": "", "device": None}, told.append)
    ((data, look, _),) = run()
    np.testing.assert_array_equal(np.asarray(data), tiler.segment(STACK, PoolingNet()))
    assert look["name"] == ("out P(cell)" if output else "shown P(cell)")
    progress = [each for each in told if isinstance(each, Progress) and each.stage == "model"]
    assert progress[-1] == Progress("model", 18, 18)
    assert [each.done for each in progress[1:]] == list(range(19))


def test_a_run_is_cancelled_between_two_blocks(tmp_path):
    def tell(progress):
        if progress.done == 3:
            run.cancel()

    run = Run(source_of(layer(STACK)), PoolingNet(), tmp_path / "out.zarr", {"block": "20"}, tell)
    with pytest.raises(Interrupted):
        run()
    assert not (tmp_path / "out.zarr").exists()
    assert (tmp_path / "out.zarr.partial").exists()


def test_networks_that_run_at_once_come_first():
    assert model_names()[0] == "unet"
    assert len(model_names()) == len(set(model_names()))
