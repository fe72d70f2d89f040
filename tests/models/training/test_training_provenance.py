"""Provenance in a weights file, for programs and for people."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tiler.models import Normalisation, describe, read_card, save_weights
from tiler.models.training import recipe
from tiler.models.training.provenance import card_of
from tiler.models.training.settings import Settings


def settings(**changes) -> Settings:
    return Settings(**{
        "model": "unetpp", "arguments": {"classes": 1}, "classes": ("membrane", "cell"), "recipe": recipe("unetpp"),
        "steps": 7, "validate": (3, 5), "validate_every": 2, "seed": 4, "threads": 1, "device": "cpu",
        "normalisation": Normalisation(255.0, (0.5,), (0.2,)), "data": "abc", "init": None,
        "versions": {"tiler": "1", "torch": "2"}} | changes)


def test_provenance_is_a_field_and_survives_the_file(tmp_path):
    card = card_of(settings(), 25, {"v_rand_thinned": 0.9}, "none")
    save_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, card)
    made = read_card(tmp_path / "w.safetensors").provenance
    assert (made["data"], made["seed"], made["steps"], made["slices"]) == ("abc", 4, 7, 25)
    assert made["recipe"] == json.loads(json.dumps(recipe("unetpp").to_json()))
    assert made["versions"] == {"tiler": "1", "torch": "2"}
    assert made["validation"] == {"v_rand_thinned": 0.9}
    assert "25 annotated slices, validated on slices 3 to 4; recipe unetpp, loss bce-dice, 7 steps" in (
        card.training_data)
    assert "{" not in card.training_data


@pytest.mark.parametrize(("channels", "names"), [(1, ("cell",)), (2, ("membrane", "cell"))])
def test_every_channel_has_its_name(channels, names):
    assert card_of(settings(out_channels=channels), 1, None, "none").classes == names


def test_cards_from_before_provenance_are_read(tmp_path):
    card = card_of(settings(), 25, None, "none")
    save_weights(tmp_path / "w.safetensors", {"a": torch.zeros(1)}, card)
    with safe_open(tmp_path / "w.safetensors", "pt") as file:
        older = {name: value for name, value in file.metadata().items() if name != "provenance"}
    save_file({"a": torch.zeros(1)}, tmp_path / "old.safetensors", older)
    assert read_card(tmp_path / "old.safetensors").provenance == {}
    assert read_card(tmp_path / "old.safetensors").training_data == card.training_data
    assert read_card(describe("unet").weights).architecture == "unet"
