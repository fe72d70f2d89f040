"""Networks, losses and augmentations of the user's own: they train, go on bit for bit, and run by the engine."""

import sys
import threading
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import tiler
from tiler.errors import GeometryError, Interrupted, ModelError, PlanChangedError, PlanError, WeightsError
from tiler.models import Normalisation, read_card
from tiler.models.loading import build_recipes, libraries, open_model
from tiler.models.training import SilentTraining, networks, recipe, train
from tiler.models.training import run as loop
from tiler.models.training.beginning import arguments_in, begin_with, start_of
from tiler.models.training.networks import Network, arguments_of, build

Z, Y, X = np.mgrid[:6, :40, :32]
LABELS = ((Y // 9 + X // 7) % 2 * 200).astype(np.uint8)
IMAGES = (LABELS // 2 + np.random.default_rng(0).integers(0, 90, LABELS.shape)).astype(np.uint8)
SMALL = {"threads": 1, "seed": 1, "steps": 4}
CHANGES = {"tile": 24, "batch": 2, "precision": "float32"}

CODE = '''
import torch
from torch import nn
from tiler.models.loading.slices_as_channels import SlicesAsChannels


def planar(head=2):
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.InstanceNorm2d(4, affine=True), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2),
                         nn.ConvTranspose2d(4, 4, 2, stride=2), nn.Conv2d(4, head, 1))


def several():
    return SlicesAsChannels(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 1)), 3)


def volume():
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool3d((1, 2, 2)),
                         nn.ConvTranspose3d(4, 4, (1, 2, 2), stride=(1, 2, 2)), nn.Conv3d(4, 2, 1))


def three():
    return planar(3)


def two_channels():
    return nn.Conv2d(2, 2, 3)


def squared(scores, classes, weights):
    return (weights * (scores.softmax(1)[:, -1] - classes) ** 2).mean()


def pixelwise(scores, classes, weights):
    return scores[:, 0]


def broken(*_):
    raise ValueError("no such thing\\nat all")


def inverted(image, classes, weights, random):
    return (-image if random.random() < 2 else image), classes, weights


def cropped(image, classes, weights, random):
    return image[..., 1:], classes, weights
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A folder with the user's file, in which the test works."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(loop, "write_svg", lambda rows, path: None)
    Path("mine.py").write_text(CODE)
    return tmp_path


def run(output, model, *, images=IMAGES, labels=LABELS, **options):
    changes = {**CHANGES, **options.pop("changes", {})}
    return train(images, labels, output, model=f"mine.py:{model}", changes=changes, **{**SMALL, **options})


class Stops(SilentTraining):
    def __init__(self, stop):
        self.stop = stop

    def stepped(self, step, loss):
        if step == 2:
            self.stop.set()


def equal(one, other):
    one, other = load_file(one), load_file(other)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("model", "classes", "tile"), [
    ("planar", ("background", "object"), "4 steps of 2 tiles of 24 px"),
    ("several", ("object",), "tiles of 3 x 24 x 24 px"),
    ("volume", ("background", "object"), "tiles of 24 x 24 x 24 px"),
])
def test_a_network_of_ones_own_is_trained_goes_on_to_the_bit_and_runs(model, classes, tile, mine):
    run("a.safetensors", model, validate="4:6", validate_every=4)
    stop = threading.Event()
    with pytest.raises(Interrupted, match="after 2 of 4"):
        run("b.safetensors", model, validate="4:6", validate_every=4, stop=stop, listener=Stops(stop))
    train(IMAGES, LABELS, "b.safetensors", resume=True)
    assert equal("a.safetensors", "b.safetensors")
    card = read_card(Path("a.safetensors"))
    assert (card.architecture, card.classes) == (f"mine.py:{model}", classes)
    assert tile in card.training_data
    assert len(card.provenance["code"]["model"]) == 64
    assert str(mine) not in str(card)
    consent = {"tiling": "whole"} if model == "planar" else {}  # instance norm sees the whole slice
    found = np.asarray(tiler.segment(IMAGES, f"mine.py:{model}", weights="a.safetensors", threads=1, **consent))
    assert found.shape == LABELS.shape
    assert 0 <= found.min() < found.max() <= 1, "the weights say which head makes probabilities of the scores"


def test_a_registered_network_is_trained_on_volumes_with_flat_voxels(mine):
    changes = {"planes": 3, "tile": 24, "precision": "float32"}
    path = train(IMAGES, LABELS, "w.safetensors", model="unet", base=1, depth=1, changes=changes, **SMALL,
                 arguments={"ndim": 3, "flat": 1, "padding": "same"}).weights
    assert np.asarray(tiler.segment(IMAGES, "unet", weights=path, threads=1)).shape == LABELS.shape


def test_a_loss_and_an_augmentation_of_ones_own(mine):
    plain = run("a.safetensors", "planar")
    own = run("b.safetensors", "planar", loss="mine.py:squared", augment="mine.py:inverted")
    assert not equal(plain.weights, own.weights)
    recipe = read_card(own.weights).provenance["recipe"]
    assert (recipe["loss"], recipe["augment"]) == ("mine.py:squared", "mine.py:inverted")
    assert set(read_card(own.weights).provenance["code"]) == {"model", "loss", "augmentation"}
    three = run("c.safetensors", "three", loss="mine.py:squared", classes=("a", "b", "c"))
    assert read_card(three.weights).classes == ("a", "b", "c")


def test_arguments_of_a_factory_are_stated_in_the_weights(mine):
    path = run("a.safetensors", "planar", arguments={"head": 1}).weights
    assert read_card(path).arguments == {"head": 1}
    assert read_card(path).classes == ("object",)
    assert train(IMAGES, LABELS, path, resume=True).steps == 4
    found = tiler.segment(IMAGES, "mine.py:planar", weights=path, threads=1, tiling="whole")
    assert np.asarray(found).shape == LABELS.shape
    again = run("b.safetensors", "planar", steps=1, init=path, changes={"learning_rate": 1e-30, "average": 0}).weights
    assert torch.equal(load_file(again)["9.weight"], load_file(path)["9.weight"]), "as --init they bring arguments too"


def test_a_network_of_a_library_is_trained_by_its_name(mine, monkeypatch):
    stand_in = ModuleType("stand_in")
    exec(CODE, stand_in.__dict__)
    stand_in.__version__ = "1.5"
    monkeypatch.setitem(sys.modules, "stand_in", stand_in)
    monkeypatch.setattr(libraries, "LIBRARIES", {"smp": libraries.Library(("stand_in",), "stand-in")})
    for module in (networks, build_recipes, open_model):
        monkeypatch.setattr(module, "LIBRARIES", libraries.LIBRARIES)
    path = train(IMAGES, LABELS, "w.safetensors", model="smp:planar", arguments={"head": 1}, changes=CHANGES,
                 **SMALL).weights
    assert read_card(path).provenance["code"] == {"model": "1.5"}
    found = tiler.segment(IMAGES, "smp:planar", weights=path, threads=1, tiling="whole")
    assert np.asarray(found).shape == LABELS.shape


def test_a_checkpoint_of_another_program_is_begun_with(mine):
    start = run("a.safetensors", "planar", steps=1).weights
    torch.save({"state_dict": {f"module.{name}": value for name, value in load_file(start).items()}}, "x.pth")
    path = run("b.safetensors", "planar", steps=1, init="x.pth",
               changes={"learning_rate": 1e-30, "average": 0}).weights
    one, other = load_file(start), load_file(path)
    assert all(torch.equal(one[name], other[name]) for name in one if name.startswith("0."))


def test_a_changed_file_ends_a_run(mine):
    run("a.safetensors", "planar", loss="mine.py:squared")
    Path("mine.py").write_text(CODE.replace("** 2", "** 4"))
    with pytest.raises(PlanChangedError, match="code was"):
        train(IMAGES, LABELS, "a.safetensors", resume=True)


@pytest.mark.parametrize(("rule", "stated"), [
    ("100,50", (1, (100,), (50,))), ("none", (1, (0,), (1,))),
    (Normalisation(255, (0.5,), (0.25,)), (255, (0.5,), (0.25,)))])
def test_the_user_s_normalisation_is_stated_in_the_weights(rule, stated, mine):
    card = read_card(run("a.safetensors", "planar", steps=1, normalise=rule).weights)
    assert card.normalisation == Normalisation(*stated)


def test_another_head_begins_at_random_and_is_named(mine):
    body = run("a.safetensors", "planar", steps=1).weights
    heard = Heard()
    path = run("b.safetensors", "three", steps=1, init=body, loss="mine.py:squared", classes=("a", "b", "c"),
               changes={"learning_rate": 1e-20, "average": 0}, listener=heard).weights
    one, other = load_file(body), load_file(path)
    kept = [name for name in one if name.endswith(("weight", "bias"))][:-2]
    assert all(torch.allclose(one[name], other[name], rtol=0, atol=1e-12) for name in kept if "9" not in name)
    (note,) = heard.warnings
    assert "a.safetensors does not fit 2 of" in note
    assert "9.weight (3 x 4 x 1 x 1, 2 x 4 x 1 x 1 in the file)" in note


class Heard(SilentTraining):
    def __init__(self):
        self.warnings = []

    def warn(self, message):
        self.warnings.append(message)


def test_bundled_weights_are_begun_with_by_name():
    start = start_of("unet")
    arguments = arguments_of("unet", {}, recipe("default", loss="cross-entropy"), 1, arguments_in(start.card, "unet"))
    assert start.card.arguments.items() <= arguments.items()
    network = Network.registered("unet", build("unet", arguments, seed=0))
    assert begin_with(network, start) == ()
    assert torch.equal(network.module.head.weight, load_file(start.path)["head.weight"].float())


def test_weights_of_another_network_are_no_beginning(mine):
    save_file({"0.weight": torch.zeros(4, 1, 3, 3), "other": torch.zeros(9)}, "x.safetensors")
    with pytest.raises(WeightsError, match=r"are not weights of the model .*\(init=\)"):
        run("w.safetensors", "planar", init="x.safetensors")
    with pytest.raises(WeightsError, match=r"unetpp has no bundled weights.*\(init=\)"):
        run("w.safetensors", "planar", init="unetpp")


def test_frozen_parts_stay_as_they_are(mine):
    start = run("a.safetensors", "planar", steps=1).weights
    path = run("b.safetensors", "planar", init=start, freeze=("4", "5")).weights
    one, other = load_file(start), load_file(path)
    same = {name for name in one if torch.equal(one[name], other[name])}
    assert same == {name for name in one if name.startswith(("4.", "5."))}, "running statistics are frozen too"
    assert read_card(path).provenance["freeze"] == ["4", "5"]


@pytest.mark.parametrize(("model", "options", "error", "says"), [
    ("planar", {"base": 4}, ModelError, "planar raised TypeError.* unexpected keyword argument 'base'"),
    ("two_channels", {}, ModelError, "mine.py:two_channels takes 2 channels, the images have 1"),
    ("three", {}, PlanError, r"gives 3 channels, tiler's losses are for 1 .*loss=.file.py:function"),
    ("planar", {"loss": "bce-dice"}, PlanError, "gives 2 channels, the loss bce-dice needs 1"),
    ("planar", {"loss": "mine.py:none"}, ModelError, r"mine.py has no function 'none' \(loss=\)"),
    ("planar", {"loss": "none.py:f"}, ModelError, r"there is no file .*none.py \(loss=\)"),
    ("planar", {"loss": "mine.py:broken"}, ModelError, r"mine.py:broken raised ValueError: no such thing \(loss=\)"),
    ("planar", {"loss": "mine.py:pixelwise"}, ModelError, r"pixelwise returns a tensor \(2, 24, 24\), a loss is one"),
    ("planar", {"augment": "mine.py:cropped"}, ModelError, r"must return image, classes and weights .*augment="),
    ("planar", {"augment": "mine.py"}, PlanError, "file.py:function, got 'mine.py'"),
    ("planar", {"freeze": ("enc",)}, PlanError, r"no parameter's name begins with 'enc': there are 0, 1.*freeze="),
    ("planar", {"freeze": ("0", "1", "4", "5", "8", "9")}, PlanError, "every parameter of the network is frozen"),
    ("planar", {"normalise": "volume"}, PlanError, "MEAN,STD or none, got 'volume'"),
    ("volume", {"changes": {"tile": 25}}, GeometryError, "tile 25 x 25 x 25 does not .* are .*24 x 24 and .*26 x 26"),
    ("planar", {"changes": {"planes": 3}}, GeometryError, "takes slices, a tile of 3 planes was asked for"),
    ("several", {"loss": "structure"}, PlanError, "structure is for networks of slices"),
    ("three", {"loss": "mine.py:squared", "validate": "4:6"}, PlanError, "cannot be validated: it gives 3 channels"),
])
def test_what_cannot_be_is_refused_before_the_first_step(model, options, error, says, mine):
    with pytest.raises(error, match=says) as caught:
        run("w.safetensors", model, **options)
    assert "\n" not in str(caught.value)
    assert not Path("w.safetensors").exists()
    assert not Path("w.training/checkpoint.safetensors").exists()
