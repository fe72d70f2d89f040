"""Runs in stages give the plain pass with interruptions, other processes, averages, masks, objects and films."""

from __future__ import annotations

import pickle
import signal
import subprocess
import sys
from itertools import product

import dask.array as da
import numpy as np
import pytest
import staged_networks
import torch
from scipy import ndimage
from standins import Stopping

import tiler
from tiler.errors import Interrupted, PlanError, UnboundedContextError
from tiler.models import PredictorOptions, WeightsCard, open_predictor, save_weights
from tiler.models.aten.random_weights import random_copy
from tiler.models.inference.network import Session
from tiler.sinks.target import Target

NAMES = ("planar", "volumes")
CPU = {"device": "cpu", "threads": 1, "normalise": "0,255", "head": "softmax", "classes": "all", "executor": "serial"}
WIDE = {**CPU, "precision": "float64", "dtype": "float64"}
OBJECTS = {"kind": "instances", "classes": "1", "threshold": 0.5, "fill_holes": True, "split": "watershed",
           "seed_height": 0.5, "grow": 1, "min_size": 4}
SMOOTH = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(3, 41, 50)), (0.5, 2, 2))
STACK = np.round((SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH) * 255).astype(np.uint8)
TISSUE = np.zeros(STACK.shape, np.uint8)
TISSUE[:2, 7:33, 12:40] = 1
MOVIE = np.stack([STACK, STACK[::-1] // 2])


def model(name):
    """The factory of a network, by its file."""
    return f"{staged_networks.__file__}:{name}"


def scores(module, volume):
    """``(k, z, y, x)`` of a plain call of each section, or of the volume."""
    x = torch.from_numpy(np.array(volume, "f8")) / 255
    with torch.no_grad():
        return module.double()(x[None, None])[0] if module.ndim == 3 else module.double()(x[:, None]).movedim(0, 1)


def one_pass(name, volume=STACK):
    """Probabilities of a plain call."""
    return scores(getattr(staged_networks, name)(), volume).softmax(0).numpy()


def assert_near(found, expected, share=1e-12):
    np.testing.assert_allclose(np.asarray(found).reshape(expected.shape), expected, rtol=0,
                               atol=share * np.ptp(expected))


@pytest.fixture(scope="module")
def straight():
    """Results of uninterrupted serial runs, which run in stages."""
    plans = [tiler.plan(STACK, model(name), **CPU) for name in NAMES]
    assert all(plan.staged for plan in plans)
    return {name: tiler.segment(STACK, model(name), **CPU) for name in NAMES}


@pytest.fixture
def source(tmp_path):
    np.save(tmp_path / "in.npy", STACK)
    return tmp_path / "in.npy"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Bytes that an uninterrupted serial run writes."""
    folder = tmp_path_factory.mktemp("undisturbed")
    np.save(folder / "in.npy", STACK)
    return files(tiler.segment(folder / "in.npy", model("planar"), folder / "out.zarr", **CPU))


def files(output):
    """All bytes of an output but its provenance."""
    return {path.relative_to(output): path.read_bytes() for path in sorted(output.rglob("*"))
            if path.is_file() and path != output / "zarr.json"}


RUNS = [pytest.param("planar", {"average": "d4"}, marks=pytest.mark.slow), ("planar", {"mask": TISSUE}),
        pytest.param("planar", OBJECTS, marks=pytest.mark.slow), ("volumes", OBJECTS)]
IDS = ["d4", "mask", "objects", "objects of a volume"]


@pytest.mark.parametrize(("name", "options"), RUNS, ids=IDS)
def test_a_run_that_is_stopped_goes_on_to_the_same_bytes(source, tmp_path, name, options):
    options = {**CPU, **options}
    if "mask" in options:
        np.save(tmp_path / "tissue.npy", TISSUE)
        options["mask"] = tmp_path / "tissue.npy"
    tiler.segment(source, model(name), tmp_path / "straight.zarr", **options)
    for resume in (False, True):
        listener = Stopping(after=1)
        with pytest.raises(Interrupted):
            tiler.segment(source, model(name), tmp_path / "out.zarr", resume=resume, listener=listener,
                          stop=listener.stop, **options)
    tiler.segment(source, model(name), tmp_path / "out.zarr", resume=True, **options)
    assert files(tmp_path / "out.zarr") == files(tmp_path / "straight.zarr")
    assert tiler.check(tmp_path / "out.zarr").sound


KILLED = """
import os, signal, sys
import tiler
from tiler.running.perform import Silent
class Killing(Silent):
    def finished_block(self, index, voxels):
        os.kill(os.getpid(), signal.SIGKILL)
source, model, output, options = sys.argv[1:]
tiler.segment(source, model, output, listener=Killing(), **eval(options))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_a_run_that_is_killed_goes_on_to_the_same_bytes(source, tmp_path, undisturbed):
    run = subprocess.run([sys.executable, "-c", KILLED, source, model("planar"), tmp_path / "out.zarr", repr(CPU)],
                         check=False)
    assert run.returncode == -signal.SIGKILL
    listener = Stopping()
    tiler.segment(source, model("planar"), tmp_path / "out.zarr", resume=True, listener=listener, **CPU)
    assert listener.blocks == len(STACK) - 1
    assert files(tmp_path / "out.zarr") == undisturbed


@pytest.mark.slow
def test_processes_of_dask_write_the_same_bytes(source, tmp_path, undisturbed):
    options = {**CPU, "executor": "dask", "workers": 1}
    assert files(tiler.segment(source, model("planar"), tmp_path / "out.zarr", **options)) == undisturbed


def chunks(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and "/c/" in path.as_posix())


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def test_damage_is_found(source, tmp_path):
    tiler.segment(source, model("volumes"), tmp_path / "out.zarr", **CPU)
    assert tiler.check(tmp_path / "out.zarr").sound
    flip(chunks(tmp_path / "out.zarr")[0])
    report = tiler.check(tmp_path / "out.zarr", windows=0)
    assert not report.sound
    assert len(report.damaged) == 1


def test_damage_of_an_unfinished_output_is_healed(source, tmp_path, undisturbed):
    listener, output = Stopping(after=2), tmp_path / "out.zarr"
    with pytest.raises(Interrupted):
        tiler.segment(source, model("planar"), output, listener=listener, stop=listener.stop, **CPU)
    flip(chunks(Target(output).partial)[0])
    assert len(tiler.check(output, windows=0).damaged) == 1
    tiler.segment(source, model("planar"), output, resume=True, **CPU)
    assert files(output) == undisturbed


@pytest.mark.parametrize("name", NAMES)
def test_wrong_values_are_found_by_computing_again(source, tmp_path, monkeypatch, name):
    with monkeypatch.context() as patch:
        patch.setattr(Session, "staged", lambda self, *args, real=Session.staged: real(self, *args).flip(2) + 0.5)
        tiler.segment(source, model(name), tmp_path / "out.zarr", **CPU)
    report = tiler.check(tmp_path / "out.zarr")
    assert not report.damaged
    assert not report.sound


@pytest.mark.parametrize("name", NAMES)
def test_a_lazy_result_is_the_same(straight, name):
    for given in (STACK, da.from_array(STACK, chunks=(1, 20, 25))):
        result = tiler.lazy(given, model(name), **{key: value for key, value in CPU.items() if key != "executor"})
        np.testing.assert_array_equal(result[:, 1].compute(), straight[name][:, 1])
        np.testing.assert_array_equal(result.compute(), straight[name])


@pytest.mark.parametrize("name", NAMES)
def test_the_average_of_eight_orientations_is_that_of_plain_calls(name):
    total = 0
    for turns, flip_it in product(range(4), (False, True)):
        turned = np.rot90(STACK[:, :, ::-1] if flip_it else STACK, turns, (1, 2))
        back = np.rot90(one_pass(name, turned), -turns, (2, 3))
        total = total + (back[..., ::-1] if flip_it else back)
    assert_near(tiler.segment(STACK, model(name), average="d4", **WIDE), total / 8)


@pytest.mark.parametrize("name", NAMES)
def test_inside_a_mask_nothing_changes_and_outside_is_zero(straight, name):
    found = tiler.segment(STACK, model(name), mask=TISSUE, **CPU)
    np.testing.assert_array_equal(found, np.where(TISSUE > 0, straight[name], 0))


@pytest.mark.parametrize("name", NAMES)
def test_objects_are_components_of_the_plain_call(name):
    above = one_pass(name)[1] > 0.5
    shape = ndimage.generate_binary_structure(3, 1)
    if name == "planar":
        shape[[0, 2]] = False
    expected, count = ndimage.label(above, shape)
    assert count > 3
    found = tiler.segment(STACK, model(name), **{**WIDE, "dtype": "uint32", "kind": "instances", "classes": "1"},
                          threshold=0.5)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", NAMES)
def test_rules_of_objects_give_what_they_give_of_the_probabilities(straight, name):
    found = tiler.segment(STACK, model(name), **{**CPU, **OBJECTS})
    threads = tiler.segment(STACK, model(name), **{**CPU, **OBJECTS, "executor": "threads", "workers": 3})
    np.testing.assert_array_equal(threads, found)
    above = straight[name][1] > 0.5
    assert (found > 0)[above].mean() > 0.9  # of which only the smallest ones were dropped
    assert found.max() > 3


def weights_of(name, seed, folder):
    module = random_copy(getattr(staged_networks, name)(), seed).float()
    path = folder / f"{name}{seed}.safetensors"
    save_weights(path, module.state_dict(), WeightsCard("mine", {}, ("a", "b"), None, "none", "none"))
    return path, module


@pytest.mark.parametrize("name", NAMES)
def test_an_ensemble_is_the_mean_of_its_members(tmp_path, name):
    members = [weights_of(name, seed, tmp_path) for seed in (1, 2)]
    expected = sum(scores(module, STACK).softmax(0).numpy() for _, module in members) / 2
    weights = [path for path, _ in members]
    assert_near(tiler.segment(STACK, model(name), weights=weights, **WIDE), expected)


@pytest.mark.parametrize("returns", ["out", "aux"])
def test_one_output_of_several_is_the_one_of_the_plain_call(returns):
    with torch.no_grad():
        outputs = staged_networks.several().double()(torch.from_numpy(STACK)[:, None].double() / 255)
    expected = outputs[returns].movedim(0, 1).softmax(0).numpy()
    assert_near(tiler.segment(STACK, model("several"), returns=returns, **WIDE), expected)


def test_a_film_is_each_of_its_frames(straight):
    found = tiler.segment(MOVIE, model("planar"), axes="tzyx", **CPU)
    again = tiler.segment(MOVIE[1], model("planar"), **CPU)
    np.testing.assert_array_equal(found, np.stack([straight["planar"], again]))  # t, c, z, y, x
    frames = tiler.segment(STACK, model("planar"), axes="tyx", **CPU)
    np.testing.assert_array_equal(frames, np.moveaxis(straight["planar"], 0, 1))


@pytest.mark.parametrize(("name", "options"), [
    ("volumes", {}), ("shallow", {}), ("shallow", {"tiling": "whole"}), ("shallow", {"tiling": "blend", "tile": 16}),
    ("gated", {})], ids=["stages", "shallow", "whole", "blend", "gated"])
def test_a_film_of_volumes_is_never_mixed(name, options):
    with pytest.raises(PlanError, match="takes volumes: choose one"):
        tiler.segment(MOVIE, model(name), axes="tzyx", **options, **WIDE)
    if options.get("tiling") != "blend":
        found = tiler.segment(MOVIE, model(name), axes="tzyx", roi="t=1", **options, **WIDE)
        assert_near(found, one_pass(name, MOVIE[1]))


@pytest.mark.parametrize(("name", "tiling"), [("shallow", "whole"), ("shallow", "blend"), ("gated", None)])
def test_objects_of_volumes_go_through_sections(name, tiling):
    found = tiler.segment(STACK, model(name), kind="instances", threshold=0.0, tiling=tiling,
                          **{**WIDE, "dtype": "uint32", "classes": "1"})
    np.testing.assert_array_equal(found, 1)


def test_slices_that_see_their_neighbours_are_the_plain_call():
    assert_near(tiler.segment(STACK, model("neighbours"), **WIDE), one_pass("neighbours"))


def test_slices_without_neighbours_at_the_ends_of_the_stack_are_refused_by_the_name_of_the_layer():
    with pytest.raises(UnboundedContextError, match=r"fine\.1 \(InstanceNorm2d\)"):
        tiler.plan(STACK, model("valid_neighbours"), **WIDE)


@pytest.mark.parametrize("name", NAMES)
def test_a_pickled_predictor_gives_the_same(name):
    options = PredictorOptions(device="cpu", threads=1, head="softmax", normalise="0,255", average="flip4")
    predictor = open_predictor(getattr(staged_networks, name)(), options=options)
    fresh = pickle.loads(pickle.dumps(predictor))
    expected = predictor(STACK[None, None])
    np.testing.assert_array_equal(fresh(STACK[None, None]), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(predictor))(STACK[None, None]), expected)
    assert fresh.identity == predictor.identity
