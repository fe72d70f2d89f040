"""Ensembles: the mean of several weights, in one run."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from zoo_cases import saved

import tiler
from tiler.errors import ModelError, WeightsError
from tiler.models.loading.weights import Normalisation, WeightsCard, save_weights
from tiler.models.zoo.unet import UNet

IMAGE = np.random.default_rng(5).integers(0, 255, (61, 53)).astype("uint8")
SIZES = {"base": 4, "depth": 2}


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """Two weights of one network in a folder."""
    folder = tmp_path_factory.mktemp("members")
    for seed in (1, 2):
        torch.manual_seed(seed)
        saved(folder, "unet", UNet(**SIZES)).rename(folder / f"{seed}.safetensors")
    return folder


def files(folder):
    return sorted(map(str, folder.iterdir()))


@pytest.mark.parametrize("options", [{"tile": 76, "block": "1x40x40"}, {"average": "d4"}, {"classes": "all"},
                                     {"head": "sigmoid"}, {"dtype": "uint8"}])
def test_it_is_the_mean_of_the_probabilities_of_its_members(members, options):
    single = [tiler.segment(IMAGE, "unet", weights=file, **options).astype(float) for file in files(members)]
    together = tiler.segment(IMAGE, "unet", weights=",".join(files(members)), **options)
    step = 1.0 if options.get("dtype") else 1e-6
    np.testing.assert_allclose(together, np.mean(single, axis=0), rtol=0, atol=step)


def test_scores_are_averaged_by_choice(members):
    exact = {"precision": "float64", "dtype": "float64"}
    scores = np.mean([tiler.segment(IMAGE, "unet", weights=file, head="none", **exact) for file in files(members)],
                     axis=0)
    together = tiler.segment(IMAGE, "unet", weights=files(members), ensemble="scores", **exact)
    np.testing.assert_allclose(together, 1 / (1 + np.exp(scores[0] - scores[1])), rtol=0, atol=1e-9)
    assert abs(together - tiler.segment(IMAGE, "unet", weights=files(members), **exact)).max() > 1e-4


def test_a_folder_is_an_ensemble_and_each_voxel_is_read_once(members):
    class Counting:
        shape, dtype, read = IMAGE.shape, IMAGE.dtype, 0

        def __getitem__(self, index):
            found = IMAGE[index]
            self.read += found.size
            return found

    one, several = Counting(), Counting()
    tiler.segment(one, "unet", weights=files(members)[0], tile=76)
    tiler.segment(several, "unet", weights=members, tile=76)
    assert several.read == one.read


def test_labels_are_those_of_the_mean(members):
    mean = tiler.segment(IMAGE, "unet", weights=members)
    np.testing.assert_array_equal(tiler.segment(IMAGE, "unet", weights=members, kind="labels"), mean > 0.5)


def test_the_output_names_every_member_and_a_run_with_others_is_not_resumed(members, tmp_path):
    plan = tiler.plan(IMAGE, "unet", weights=members)
    assert len(plan.to_json()["essence"]["model"]["ensemble"]) == 2
    assert plan.fingerprint != tiler.plan(IMAGE, "unet", weights=files(members)[0]).fingerprint
    assert plan.fingerprint != tiler.plan(IMAGE, "unet", weights=members, ensemble="scores").fingerprint


def test_an_ensemble_of_a_network_of_ones_own_is_proved_and_run(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n\n"
        "def make():\n    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3))\n")
    for seed in (1, 2):
        torch.manual_seed(seed)
        network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, 3))
        save_weights(tmp_path / f"{seed}.safetensors", network.state_dict(), WeightsCard("mine", {}, ("a", "b"), None,
                                                                                       "none", "none"))
    weights, model = sorted(tmp_path.glob("*.safetensors")), f"{tmp_path}/mine.py:make"
    single = [tiler.segment(IMAGE, model, weights=file, head="softmax") for file in weights]
    np.testing.assert_allclose(tiler.segment(IMAGE, model, weights=weights, head="softmax"), np.mean(single, axis=0),
                               rtol=0, atol=1e-6)
    with pytest.raises(ModelError, match="say head="):
        tiler.plan(IMAGE, model, weights=weights)


def test_members_that_differ_in_more_than_their_values_are_refused(members, tmp_path):
    other = tmp_path / "other.safetensors"
    network = UNet(**SIZES)
    card = WeightsCard("unet", network.arguments, ("class 0", "class 1"), Normalisation(255.0, (0.5,), (0.2,)), "none",
                       "none")
    save_weights(other, network.state_dict(), card)
    with pytest.raises(WeightsError, match="differ in normalisation"):
        tiler.plan(IMAGE, "unet", weights=[files(members)[0], other])
    with pytest.raises(WeightsError, match="another file"):
        tiler.plan(IMAGE, "unet", weights=[files(members)[0]] * 2)
