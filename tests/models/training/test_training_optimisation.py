"""Loss by hand, moving average by its formula, frozen batch norm."""

import math

import pytest
import torch
from torch import nn

from tiler.models.training.catalogue import recipe
from tiler.models.training.objectives import OBJECTIVES, weighted_cross_entropy
from tiler.models.training.optimisation import MovingAverage, freeze_norm, make_optimiser, set_rate
from tiler.models.zoo.blocks import Supervised


def test_the_loss_by_hand():
    scores = torch.tensor([[[[0.0, 2.0]], [[0.0, 1.0]]]])  # (1, 2 classes, 1, 2 pixels)
    loss = weighted_cross_entropy(scores, torch.tensor([[[0, 1]]]), torch.tensor([[[3.0, 5.0]]]))
    expected = (3 * math.log(2) + 5 * -math.log(math.e / (math.e**2 + math.e))) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_scores_in_half_precision_are_summed_in_float32():
    scores = torch.randn(1, 2, 64, 64).to(torch.bfloat16)
    ones = torch.ones(1, 64, 64)
    loss = weighted_cross_entropy(scores, ones.long(), ones)
    assert loss.dtype == torch.float32


def test_the_average_forgets_where_it_began():
    network = nn.Conv1d(1, 1, 1, bias=False)
    nn.init.zeros_(network.weight)
    average = MovingAverage(network, 0.5)
    nn.init.constant_(network.weight, 1.0)
    average.update(network, 0)
    assert average.state["weight"].item() == pytest.approx(0.9)  # keeps 1/10 in the first step
    average.update(network, 100)
    assert average.state["weight"].item() == pytest.approx(0.95)


def test_without_averaging_it_is_the_weights_themselves():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    average = MovingAverage(network, 0)
    network(torch.randn(2, 1, 5, 5))
    with torch.no_grad():
        network[0].weight += 0.3
    average.update(network, 5)
    assert all(torch.equal(average.state[name], value) for name, value in network.state_dict().items())


def test_frozen_norm_keeps_its_statistics_and_its_gradients():
    norm = nn.BatchNorm2d(1)
    network = nn.Sequential(norm).train()
    freeze_norm(network)
    before = norm.running_mean.clone()
    network(torch.randn(2, 1, 4, 4) + 9).mean().backward()
    assert torch.equal(norm.running_mean, before)
    assert norm.weight.grad is not None


def test_the_recipe_s_optimiser_is_made():
    network = nn.Linear(1, 1)
    sgd = make_optimiser(network, recipe("paper"), torch.device("cpu"))
    assert isinstance(sgd, torch.optim.SGD)
    assert sgd.defaults["momentum"] == 0.99
    adamw = make_optimiser(network, recipe("default"), torch.device("cpu"))
    assert isinstance(adamw, torch.optim.AdamW)
    assert adamw.defaults["betas"] == (0.9, 0.999)


def test_biases_have_their_share_of_the_rate():
    network = nn.Linear(1, 1)
    nn.init.zeros_(network.weight)
    nn.init.zeros_(network.bias)
    sgd = make_optimiser(network, recipe("fcn"), torch.device("cpu"))
    network(torch.ones(1, 1)).sum().backward()
    set_rate(sgd, 0.25)
    sgd.step()
    assert (network.weight.item(), network.bias.item()) == (-0.25, -0.5)


def test_what_is_frozen_is_not_given_to_the_optimiser():
    network = nn.Linear(1, 1)
    network.weight.requires_grad_(False)
    for name in ("paper", "fcn"):
        optimiser = make_optimiser(network, recipe(name), torch.device("cpu"))
        assert [value for group in optimiser.param_groups for value in group["params"]] == [network.bias]


def test_the_loss_is_the_mean_over_the_outputs_and_that_of_the_presence_beside_it():
    classes = torch.tensor([[[0, 1]]])
    scores = [torch.tensor([[[[-2.0, 3.0]]]]), torch.tensor([[[[1.0, 1.0]]]])]
    presence = torch.tensor([[0.5, 2.0]])
    ones, objective = torch.ones(1, 1, 2), OBJECTIVES["bce-dice"]
    alone = [objective.of(Supervised((each,), None), classes, ones).item() for each in scores]
    together = objective.of(Supervised(tuple(scores), presence), classes, ones).item()
    there = math.log(1 + math.exp(0.5)) / 2 + math.log(1 + math.exp(-2.0)) / 2
    assert together == pytest.approx(sum(alone) / 2 + there, rel=1e-6)


def test_a_classifier_learns_from_a_mask_whether_and_where():
    """The first tile shows nothing, the second an object in one of its two pixels."""
    classes, presence = torch.tensor([[[0, 0]], [[0, 1]]]), torch.tensor([[0.0, 0.0], [0.0, math.log(3.0)]])
    attention = torch.tensor([[[[0.5, 0.0]]], [[[0.0, 0.5]]]])
    found = OBJECTIVES["guided-attention"].of(Supervised((attention,), presence), classes, torch.ones(2, 1, 2))
    expected = 0.9 * (math.log(2) - math.log(0.75)) / 2 + 0.1 * (0.25 + 0.25) / 4
    assert found.item() == pytest.approx(expected, rel=1e-6)
