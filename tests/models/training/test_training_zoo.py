"""Every network of the registry is trained by its own loss and recipe, and its weights are all that inference needs."""

import threading

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import tiler
from tiler.errors import GeometryError, Interrupted, ModelError, PlanError, WeightsError
from tiler.models import load_model, read_card
from tiler.models.training import OBJECTIVES, RECIPES, SilentTraining, own_recipe, train
from tiler.models.training import run as loop
from tiler.models.training.networks import Network, build
from tiler.models.training.recipes import Recipe
from tiler.models.training.rehearsal import Rehearsal
from tiler.models.training.tiles import Window
from tiler.models.zoo import registry

WIDE = {"fcn-alexnet": 4, "esfpnet-t": 4, "esfpnet-s": 4, "esfpnet-l": 4}
TILES = {"unet": 60, "unet3plus": 176, "unet3plus-ds": 176, "unet3plus-cgm": 176, "ciresan-n4": 98, "ciresan-n65": 64,
         "gain-resnet50": 64}
DEEP = {"esfpnet-s", "esfpnet-l"}
"""Run in seconds, with the operators of the first one, many times over."""
SHALLOW = {"depth": 2}
ARGUMENTS = {"unet": {"depth": 1}, "unet3plus": SHALLOW, "unet3plus-ds": SHALLOW, "unet3plus-cgm": SHALLOW,
             "unetpp-bilinear": SHALLOW, "unetpp-corners": SHALLOW, "caunet": {"rates": [1, 2], **SHALLOW},
             "ciresan-n4": {"hidden": 4}, "ciresan-n65": {"hidden": 4}}
Y, X = np.mgrid[:48, :40]
LABELS = ((Y // 9 + X // 7) % 2 * 200).astype(np.uint8)[None]
IMAGES = (LABELS // 2 + np.random.default_rng(0).integers(0, 90, LABELS.shape)).astype(np.uint8)


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(loop, "write_svg", lambda rows, path: None)


def small(name, **options):
    batch = 2 if name in ("caunet", "gain-resnet50") else 1
    changes = {"tile": TILES.get(name, 32), "batch": batch, "precision": "float32"}
    return {"model": name, "base": WIDE.get(name, 1), "arguments": ARGUMENTS.get(name), "threads": 1, "seed": 1,
            "steps": 2, **options, "changes": changes | options.get("changes", {})}


def colours(name):
    """RGB frames for the network that is made for them."""
    return np.stack([IMAGES] * 3, 1) if name.startswith("esfpnet") else IMAGES


@pytest.mark.parametrize("name", registry.names())
def test_every_network_is_trained_and_its_file_is_enough_to_run_it(name, tmp_path):
    path, images = tmp_path / "w.safetensors", colours(name)
    source = tiler.open_volume(images, axes="zcyx") if images.ndim == 4 else images
    train(source, LABELS, path, **small(name))
    card, found = read_card(path), load_file(path)
    own = own_recipe(name)
    assert card.provenance["recipe"]["name"] == own.name
    assert card.provenance["recipe"]["loss"] in (own.loss, "cross-entropy")
    assert card.classes == ("background", "object")[-OBJECTIVES[card.provenance["recipe"]["loss"]].channels:]
    before = build(name, card.arguments, seed=1).state_dict()
    moved = [key for key, value in found.items() if not torch.equal(value, before[key])]
    assert any(key.endswith("weight") for key in moved)
    assert all(torch.isfinite(value).all() for value in found.values())
    load_model(name, path).build()
    if name in DEEP:
        return
    axes = "zcyx" if images.ndim == 4 else "zyx"
    consent = {"tiling": "whole"} if registry.describe(name).exactness == "STAGES" else {}
    result = np.asarray(tiler.segment(images, name, weights=path, axes=axes, threads=1, **consent))
    assert result.shape == ((3, *LABELS.shape) if name == "gain-resnet50" else LABELS.shape)
    assert 0 <= np.min(result) < np.max(result) <= 1


@pytest.mark.parametrize(("name", "heads"), [("unetpp-ds", 4), ("unet3plus-ds", 5)])
def test_every_head_is_supervised(name, heads, tmp_path):
    result = train(IMAGES, LABELS, tmp_path / "w.safetensors", **small(name, steps=1, arguments=None))
    before = build(name, read_card(result.weights).arguments, seed=1).state_dict()
    after = load_file(result.weights)
    moved = [key for key in after if key.startswith("heads") and not torch.equal(after[key], before[key])]
    assert len([key for key in moved if key.endswith("weight")]) == heads


def test_a_deeply_supervised_network_goes_on_bit_for_bit(tmp_path):
    class Stops(SilentTraining):
        def stepped(self, step, loss):
            if step == 1:
                stop.set()

    options, stop = small("unet3plus-cgm", steps=3), threading.Event()
    train(IMAGES, LABELS, tmp_path / "a.safetensors", **options)
    with pytest.raises(Interrupted, match="after 1 of 3"):
        train(IMAGES, LABELS, tmp_path / "b.safetensors", stop=stop, listener=Stops(), **options)
    train(IMAGES, LABELS, tmp_path / "b.safetensors", resume=True)
    one, other = (load_file(tmp_path / name) for name in ("a.safetensors", "b.safetensors"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_frozen_body_stays_as_it_was(tmp_path):
    result = train(IMAGES, LABELS, tmp_path / "w.safetensors", **small("fcn32s-fixed", steps=1))
    before = build("fcn32s-fixed", read_card(result.weights).arguments, seed=1).state_dict()
    moved = {key for key, value in load_file(result.weights).items() if not torch.equal(value, before[key])}
    assert moved == {"score.weight", "score.bias"}


def test_a_finer_network_begins_with_a_coarser_one(tmp_path):
    coarse = train(IMAGES, LABELS, tmp_path / "a.safetensors", **small("fcn32s", steps=1)).weights
    fine = train(IMAGES, LABELS, tmp_path / "b.safetensors", init=coarse,
                 **small("fcn16s", steps=1, changes={"learning_rate": 1e-20})).weights
    one, other = load_file(coarse), load_file(fine)
    assert all(torch.allclose(one[key], other[key], rtol=0, atol=1e-20) for key in one if key != "last.weight")
    assert other["score_finer.0.weight"].abs().max() < 1e-20
    with pytest.raises(WeightsError, match=r"does not fit the network .*\(init=\)"):
        train(IMAGES, LABELS, tmp_path / "c.safetensors", init=coarse, **small("fcn16s", base=2))


def test_weights_to_begin_with_are_named_by_their_own_option(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"PK\x03\x04 a pickle")
    for name in ("bad", "none"):
        with pytest.raises(WeightsError, match=r"\(init=\)") as caught:
            train(IMAGES, LABELS, tmp_path / "w.safetensors", init=tmp_path / f"{name}.safetensors", **small("unetpp"))
        assert "weights=" not in str(caught.value)


@pytest.mark.parametrize(("name", "options", "error", "says"), [
    ("gain-resnet50", {"changes": {"loss": "cross-entropy"}}, PlanError, "not trained by cross-entropy: .* guided-att"),
    ("unetpp", {"changes": {"loss": "guided-attention"}}, PlanError, "for classifiers of whole .* its own is bce-dice"),
    ("own.py:net", {}, ModelError, r"there is no file .*own.py \(model=\)"),
    ("unetpp", {"arguments": {"rates": [1]}}, ModelError, r"unetpp has no rates: it has in_channels, .*arguments="),
    ("fcn8s", {"depth": 3}, ModelError, "fcn8s has no depth"),
    ("unetpp", {"arguments": {"classes": 2}}, ModelError, "classes of unetpp cannot be 2, the loss bce-dice needs 1"),
    ("esfpnet-t", {"arguments": {"in_channels": 3}}, ModelError, "the images have 1"),
    ("unet", {"arguments": {"ndim": 1}}, ModelError, "ndim of unet cannot be 1, tiler trains networks of 3 axes or 2"),
    ("unetpp", {"arguments": {"dropout": "much"}}, ModelError, "does not take these arguments"),
    ("unetpp", {"changes": {"weights.border": "paper"}}, PlanError, "bce-dice gives pixels no weights"),
    ("unetpp", {"changes": {"loss": "dice"}}, PlanError, "no loss 'dice'"),
    ("unetpp", {"changes": {"tile": 40}}, GeometryError, "nearest legal tiles are 32 and 48"),
    ("ciresan-n4", {"changes": {"tile": 94}}, GeometryError, "nearest legal tile is 95"),
    ("unet3plus", {"changes": {"tile": 160}}, GeometryError, "outputs of at least 176 px, a tile of 160 gives 160"),
    ("caunet", {"changes": {"batch": 1}}, ModelError, "1 tiles of 32 px a step: Expected more than 1 value"),
])
def test_what_a_network_cannot_is_said_in_one_line(name, options, error, says, tmp_path):
    with pytest.raises(error, match=says) as caught:
        train(IMAGES, LABELS, tmp_path / "w.safetensors", **small(name, **options))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "arguments", "tile", "expected"), [
    ("unet", {}, 572, Window((572, 572), (388, 388), (92, 92))),
    ("ciresan-n65", {}, 65, Window((65, 65), (6, 6), (29, 29))),
    ("unet-wide", {}, 64, Window((64, 64), (64, 64), (0, 0))),
])
def test_the_output_lies_where_the_footprint_says(name, arguments, tile, expected):
    module = build(name, {"base": 1, **arguments}, seed=0)
    assert Rehearsal(Network.registered(name, module), 1).require(tile) == expected


@pytest.mark.parametrize(("name", "wanted", "expected"), [
    ("unetpp", 444, 448), ("unet", 444, 444), ("fcn32s", 441, 441)])
def test_a_recipe_s_tile_gives_way_to_the_nearest_that_fits(name, wanted, expected):
    network = Network.registered(name, build(name, {"base": 1}, seed=0))
    assert Rehearsal(network, 1).nearest(wanted) == expected


def test_networks_that_the_engine_does_not_run_are_not_validated(tmp_path, monkeypatch):
    def refuses(*_, **__):
        raise ModelError("no bounded context")

    monkeypatch.setattr("tiler.models.training.validation.plan", refuses)
    two = {"images": np.concatenate([IMAGES] * 2), "labels": np.concatenate([LABELS] * 2)}
    with pytest.raises(PlanError, match=r"unet-wide cannot be validated: no bounded context; train without"):
        train(**two, output=tmp_path / "w.safetensors", validate="1:2", **small("unet-wide"))
    assert not (tmp_path / "w.safetensors").exists()


def test_classifiers_are_not_validated(tmp_path):
    two = {"images": np.concatenate([IMAGES] * 2), "labels": np.concatenate([LABELS] * 2)}
    with pytest.raises(PlanError, match="gain-resnet50 cannot be validated: it says what a whole image shows"):
        train(**two, output=tmp_path / "w.safetensors", validate="1:2", **small("gain-resnet50"))


def test_recipes_from_before_there_was_a_choice_of_losses_are_read():
    stored = RECIPES["default"].to_json()
    del stored["loss"], stored["bias_rate"]
    assert Recipe.from_json(stored).loss == "cross-entropy"
    assert Recipe.from_json(stored).bias_rate == 1


def test_every_own_recipe_has_a_loss_that_fits_its_weights():
    for name in registry.names():
        made = own_recipe(name)
        assert made.loss == "auto" or OBJECTIVES[made.loss].weighted or made.weights == RECIPES["default"].weights
