"""What a run refuses is refused before a voxel is read, and by its plan too."""

from __future__ import annotations

import numpy as np
import pytest
from standins import LabelNet

import tiler
from tiler.errors import PlanError, SinkError, TilerError
from tiler.options.regions import parse_roi
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 255, (2, 40, 37), dtype=np.uint8)


class Unreadable:
    """An array of which nothing may be read."""

    def __init__(self, dtype):
        self.shape, self.dtype, self.ndim = VOLUME.shape, np.dtype(dtype), 3

    def __getitem__(self, index):
        raise AssertionError("a voxel was read")


@pytest.mark.parametrize("call", [tiler.plan, tiler.segment])
@pytest.mark.parametrize(("dtype", "options", "words"), [
    (np.float32, {"normalise": "volume:1,99"}, "percentiles need integers of up to 16 bits"),
    (np.uint32, {"normalise": "volume:1,99"}, "percentiles need integers of up to 16 bits"),
    (np.uint8, {"executor": "dask"}, "an array in memory cannot be written by other processes"),
    (np.uint8, {"ngff": "0.4"}, "ngff= cannot be chosen here: an array in memory has no files"),
])
def test_a_result_in_memory(call, dtype, options, words):
    with pytest.raises(TilerError, match=words):
        call(Unreadable(dtype), PoolingNet(), **options)


@pytest.mark.parametrize("call", [tiler.plan, tiler.segment])
@pytest.mark.parametrize(("output", "options", "words"), [
    ("out.tif", {"ngff": "0.4"}, "out.tif: .tif outputs have no such choice: leave out ngff="),
    ("in.npy", {}, "is the input"),
    ("out.xyz", {}, "outputs end in"),
    ("in.zarr/labels/cells", {}, "in.zarr"),
])
def test_a_result_that_is_written(call, output, options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("in.npy", VOLUME)
    with pytest.raises(SinkError, match=words):
        call("in.npy", PoolingNet(), output, **options)


@pytest.mark.parametrize("call", [tiler.plan, tiler.segment, tiler.lazy])
@pytest.mark.parametrize("options", [
    {"average": "d4"}, {"head": "softmax"}, {"classes": "all"}, {"precision": "float64"}, {"backend": "openvino"},
    {"tiling": "whole"}, {"resize": 32}, {"weights": "w.safetensors"}, {"device": "cpu"}, {"threads": 1},
    {"dtype": "uint8"}, {"kind": "labels"}, {"normalise": "125,45"}], ids=str)
def test_options_of_the_model_are_refused_with_a_predictor(call, options):
    """It was opened with others, and they would be ignored."""
    with pytest.raises(PlanError, match=r"tiler\.open_model") as refused:
        call(Unreadable(np.uint8), PoolingNet(), **options)
    assert f"{next(iter(options))}=" in str(refused.value)


def test_instances_are_not_made_of_probabilities():
    with pytest.raises(PlanError, match="the predictor gives probabilities"):
        tiler.segment(VOLUME, PoolingNet(), kind="instances")


def test_a_predictor_says_what_its_values_mean(tmp_path):
    """Labels are written as labels, of which instances can be made; without a word they are probabilities."""
    np.save(tmp_path / "in.npy", VOLUME)
    for net, options, kind in ((LabelNet(), {}, "labels"), (LabelNet(), {"kind": "instances"}, "instances"),
                               (PoolingNet(), {}, "probabilities")):
        tiler.segment(tmp_path / "in.npy", net, tmp_path / "out.zarr", overwrite=True, **options)
        written = tiler.open_volume(tmp_path / "out.zarr")
        assert _provenance(tmp_path / "out.zarr")["kind"] == kind
        assert written.dtype == (np.uint32 if kind == "instances" else net.dtype)


def test_the_provenance_claims_nothing_of_a_predictor_that_is_not_known(tmp_path):
    np.save(tmp_path / "in.npy", VOLUME)
    tiler.segment(tmp_path / "in.npy", PoolingNet(), tmp_path / "out.zarr")
    options = _provenance(tmp_path / "out.zarr")["options"]
    assert not {"average", "precision", "head", "dtype", "threads"} & {name for name, value in options.items() if value}
    assert options["kind"] == "probabilities"


def _provenance(path):
    from tiler.sinks import open_finished

    return open_finished(path)


@pytest.mark.parametrize("option", [{"workers": 3}, {"executor": "serial"}, {"ngff": "0.4"}, {"min_size": 3}], ids=str)
def test_a_lazy_result_refuses_what_it_would_ignore(option):
    with pytest.raises(PlanError, match=f"{next(iter(option))}= cannot be chosen here: a lazy result"):
        tiler.lazy(VOLUME, PoolingNet(), **option)


@pytest.mark.parametrize("text", ["z=3:5,z=1:2", "t=3:5", "t=:", "q=1:2", "z=1,q=2"])
def test_a_region_names_each_axis_of_an_image_once_and_one_time_point(text):
    with pytest.raises(PlanError, match=r"each axis once|give one, as in t=3"):
        parse_roi(text)


@pytest.mark.parametrize(("options", "name", "other"), [
    ({"kind": "instances", "seeds": "probability"}, "seeds", "split"),
    ({"kind": "instances", "seed_height": 3}, "seed_height", "split"),
    ({"kind": "instances", "split_limit": 5}, "split_limit", "split"),
    ({"ensemble": "scores"}, "ensemble", "weights"),
    ({"ensemble": "scores", "weights": "one.safetensors"}, "ensemble", "weights")])
def test_options_that_would_do_nothing_are_refused(options, name, other):
    with pytest.raises(PlanError, match=rf"{name}.* belongs to .*{other}"):
        tiler.Options(**options).resolved()


@pytest.mark.parametrize(("options", "words"), [
    ({"execution": "stages", "tile": 64}, "`tile` belongs to tiles"),
    ({"execution": "stages", "tiling": "blend"}, "overlapping windows, which are tiles"),
    ({"execution": "stages", "tiling": "whole"}, "one plain pass over each input, not stages"),
    ({"execution": "tiles", "tiling": "whole"}, "one plain pass over each input, not tiles"),
    ({"execution": "stages", "border": "mirror"}, "its own padding at the faces"),
    ({"execution": "stages", "average": "rot7"}, "seven rotations are averaged over tiles"),
    ({"tiling": "stages"}, "not one of exact, blend, whole")])
def test_an_execution_that_contradicts_another_option_is_refused(options, words):
    with pytest.raises(PlanError, match=words.replace("`", ".?")):
        tiler.Options(**options).resolved()


def test_files_of_weights_are_found_from_anywhere(tmp_path, monkeypatch):
    (tmp_path / "a.pth").touch()
    (tmp_path / "b.pth").touch()
    monkeypatch.chdir(tmp_path)
    assert tiler.Options(weights="a.pth,b.pth").given()["weights"] == (str(tmp_path / "a.pth"), str(tmp_path / "b.pth"))
    assert tiler.Options(weights="onnx").given()["weights"] == "onnx"
