"""The functions of the package, as a user meets them."""

from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import torch
from rich.console import Console
from standins import LabelNet, Stopping
from torch import nn

import tiler
from tiler.errors import AlignmentError, PlanError, SinkError, TilerError
from tiler.executors.serial import Serial
from tiler.executors.threads import Threads
from tiler.geometry import Box
from tiler.options import TABLE
from tiler.options.documents import default_of, words_of
from tiler.ports import Room
from tiler.running import bars
from tiler.running.perform import Silent
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 255, (3, 40, 37), dtype=np.uint8)
PUBLIC = {"Options", "check", "evaluate", "lazy", "open_model", "open_volume", "plan", "segment"}


def test_the_package_lists_its_functions_before_any_is_used():
    code = f"import tiler, sys; assert {PUBLIC} <= set(dir(tiler)); assert 'tiler.api' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert set(tiler.__all__) >= PUBLIC


@pytest.mark.parametrize("documented", [tiler.segment, tiler.Options])
def test_help_lists_every_option(documented):
    lines = documented.__doc__.splitlines()
    for name, option in TABLE.items():
        assert f"    {name}" in lines
        assert f"Default: {default_of(option)}." in " ".join(documented.__doc__.split())
    assert "{options" not in documented.__doc__


def test_help_of_a_model_lists_its_options_alone():
    lines = tiler.open_model.__doc__.splitlines()
    assert {name for name in TABLE if f"    {name}" in lines} == {name for name in TABLE if TABLE[name].of_model}


def test_a_plan_shows_itself():
    plan = tiler.plan(VOLUME, PoolingNet(), tile="30")
    assert "tile, core" in str(plan)
    assert "1x30x30" in str(plan)
    assert "<td style='text-align:left'>1x30x30" in plan._repr_html_()


@pytest.mark.parametrize("executor", [Serial(), Threads(3)], ids=["serial", "threads"])
def test_an_executor_may_be_an_object(executor):
    np.testing.assert_array_equal(tiler.segment(VOLUME, PoolingNet(), executor=executor),
                                  tiler.segment(VOLUME, PoolingNet()))


class Slices:
    """A sink that keeps what it is given, one slice at a time."""

    name, write_unit, room = "slices", (1, 40, 37), Room(0)

    def __init__(self):
        self.blocks, self.about = {}, None

    def create(self):
        self.blocks.clear()

    def write(self, box, data):
        assert box.shape == (1, 40, 37)
        self.blocks[box.start[0]] = data.copy()

    def read(self, box):
        return self.blocks[box.start[0]][:, :, box.slices[1], box.slices[2]]

    def finish(self, attributes, watch=None):
        self.about = attributes


def test_a_sink_may_be_an_object_and_gets_whole_write_units():
    sink = Slices()
    sink_of = tiler.segment(VOLUME, PoolingNet(), sink, tile=22)
    assert sink_of is sink
    found = np.stack([sink.blocks[z][0, 0] for z in range(3)])
    np.testing.assert_array_equal(found, tiler.segment(VOLUME, PoolingNet()))
    assert sink.about is not None


def test_instances_go_into_a_sink_too():
    sink = Slices()
    tiler.segment(VOLUME, LabelNet(), sink, kind="instances")
    found = np.stack([sink.blocks[z][0, 0] for z in range(3)])
    np.testing.assert_array_equal(found, tiler.segment(VOLUME, LabelNet(), kind="instances"))


@pytest.mark.parametrize(("options", "error", "words"), [
    ({"block": "1x16x16"}, AlignmentError, r"1x16x16 are not whole write units of slices.*1x40x37 \(block=\)"),
    ({"ngff": "0.4"}, PlanError, "ngff= cannot be chosen here: a sink"),
    ({"resume": True}, SinkError, "a sink has no journal"),
])
def test_what_a_sink_cannot_do_is_refused(options, error, words):
    with pytest.raises(error, match=words):
        tiler.segment(VOLUME, PoolingNet(), Slices(), **options)


def test_progress_is_shown_by_a_bar(monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80)
    monkeypatch.setattr(bars, "console_of", lambda: console)
    tiler.segment(VOLUME, PoolingNet(), progress=True)
    assert "model" in shown.getvalue()
    assert "voxels/s" in shown.getvalue()


@pytest.mark.parametrize("notebook", [True, False])
def test_the_last_bar_stays_in_a_notebook_alone(notebook):
    progress = bars.showing(Console(file=io.StringIO(), force_jupyter=notebook))
    assert progress.live.transient is not notebook


def test_a_bar_and_a_listener_are_not_wanted_at_once():
    with pytest.raises(PlanError, match="give listener= or progress=, not both"):
        tiler.segment(VOLUME, PoolingNet(), progress=True, listener=Stopping())


def narrow(bias):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax(1))
    net[0].bias.data[:] = torch.tensor([0.0, float(bias)])
    return net


def test_a_model_is_opened_once_for_several_volumes(monkeypatch):
    opened = tiler.open_model(narrow(1), threads=1, precision="float64", average="flip4")
    monkeypatch.setattr("tiler.models.predictor.open_predictor.open_predictor", None)
    for volume in (VOLUME, VOLUME[:, ::-1]):
        found = tiler.segment(volume, opened, tile=16)
        assert tiler.plan(volume, opened).essence["model"]["average"] == "flip4"
        np.testing.assert_array_equal(found, tiler.segment(volume, opened.predictor, tile=16))


def test_an_opened_model_brings_its_options_along(tmp_path):
    np.save(tmp_path / "in.npy", VOLUME)
    opened = tiler.open_model(narrow(1), threads=1, kind="instances", dtype="uint64")
    path = tiler.segment(tmp_path / "in.npy", opened, tmp_path / "out.npy", min_size=2)
    assert tiler.open_volume(path).dtype == np.uint64
    assert np.load(path).max() > 1
    assert tiler.check(path, model=opened).sound
    with pytest.raises(PlanError, match=r"average= cannot be chosen here: the model is already opened"):
        tiler.segment(VOLUME, opened, average="d4")


@pytest.mark.parametrize(("call", "words"), [
    (lambda: tiler.open_model(narrow(0), tile=16), "tile= cannot be chosen here: they belong to a segmentation"),
    (lambda: tiler.open_model(PoolingNet()), "already opened"),
    (lambda: tiler.open_model("nonet"), "unknown model"),
])
def test_what_cannot_be_opened_is_refused(call, words):
    with pytest.raises(TilerError, match=words):
        call()


MINE = '''
from pathlib import Path
import torch
from torch import nn

def make():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Softmax(1))
    net.load_state_dict(torch.load(Path(__file__).parent / "w.pt"))
    return net
'''


@pytest.fixture(params=["file.py:factory", "package.module:factory"])
def mine(request, tmp_path, monkeypatch):
    """The name of a factory that loads ``w.pt``."""
    package = tmp_path / "mine_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "mine.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    yield package, f"{package / 'mine.py'}:make" if request.param.startswith("file") else "mine_package.mine:make"
    for name in [name for name in sys.modules if name.startswith("mine_package")]:
        del sys.modules[name]


def test_weights_that_were_trained_in_between_are_used(mine):
    """Nothing remembers the network of yesterday, whose factory has not changed."""
    folder, name = mine
    for bias in (0, 30):
        torch.save(narrow(bias).state_dict(), folder / "w.pt")
        expected = tiler.segment(VOLUME, narrow(bias), threads=1)
        np.testing.assert_array_equal(tiler.segment(VOLUME, name, threads=1), expected)


def test_a_package_that_is_rewritten_in_place_is_read_again(tmp_path):
    pytest.importorskip("bioimageio.spec")
    from tiler.models.exporting.export import ExportOptions, export
    from tiler.models.loading.weights import WeightsCard, save_weights
    from tiler.models.zoo.unet import UNet

    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = UNet(base=1, depth=1)
        card = WeightsCard("unet", {"base": 1, "depth": 1}, ("background", "object"), None, "none", "none")
        save_weights(tmp_path / "w.safetensors", net.state_dict(), card)
        export("unet", tmp_path / "model.zip", ExportOptions(overwrite=True), weights=tmp_path / "w.safetensors")
        found.append(tiler.segment(VOLUME, tmp_path / "model.zip", threads=1))
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_a_volume_can_be_a_box():
    whole, region = tiler.segment(VOLUME, PoolingNet()), Box.between((1, 3, 5), (2, 30, 20))
    np.testing.assert_array_equal(tiler.segment(VOLUME, PoolingNet(), roi=region), whole[region.slices])


def test_a_keyword_of_evaluate_that_does_not_exist_is_told_the_one_that_was_meant():
    with pytest.raises(TypeError, match="no option 'invrt': did you mean invert"):
        tiler.evaluate(VOLUME, VOLUME, invrt=True)


def test_every_choice_of_an_evaluation_is_a_keyword():
    from dataclasses import fields

    from tiler.evaluation.request import Choices, EvaluationRequest

    plain = {"proposal", "labels", "protocol", "slices", "roi", "mask"}
    assert set(Choices.__annotations__) == {field.name for field in fields(EvaluationRequest)} - plain


def test_what_can_be_chosen_of_a_model_is_what_models_know():
    from tiler.models.inference.backends import NAMES
    from tiler.models.predictor.averaging import TURNS

    assert set(words_of(TABLE["average"])) == {*TURNS, "rot7"}
    assert set(words_of(TABLE["backend"])) == set(NAMES)


def test_a_warning_spells_options_as_they_stand_in_a_call(caplog):
    Silent().warn("the network was trained on other values: `normalise=volume` may serve better")
    assert 'normalise="volume" may serve better' in caplog.text
