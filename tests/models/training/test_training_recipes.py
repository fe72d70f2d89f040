"""Recipes: the learning rate over the steps, changes, and JSON."""

import json
from dataclasses import replace

import pytest

from tiler.errors import PlanError
from tiler.models.training.catalogue import RECIPES, recipe
from tiler.models.training.recipes import Recipe


def rates(made, steps):
    return [made.rate(step, steps) for step in range(steps)]


def test_warm_up_rises_linearly_to_the_peak():
    made = Recipe("x", "adamw", 1.0, warm_up=4)
    assert rates(made, 7) == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 1])


def test_decay_is_half_a_cosine_over_the_last_share():
    falling = rates(Recipe("x", "adamw", 2.0, decay=0.3), 10)
    assert falling[:7] == [2.0] * 7
    assert falling[8] == pytest.approx(1.0)
    assert falling[7] + falling[9] == pytest.approx(2.0)
    assert falling[9] > 0


def test_until_it_falls_the_rate_does_not_depend_on_the_length_of_the_run():
    made = recipe("default", decay=0.4)
    assert rates(made, 1000)[:600] == rates(made, 5000)[:600]
    assert rates(made, 1000)[600] < rates(made, 5000)[600]


def test_norm_freezes_in_the_last_share_only():
    made = Recipe("x", "sgd", 1.0, frozen_norm=0.25)
    assert [made.freezes_norm(step, 8) for step in range(8)] == [False] * 6 + [True] * 2
    assert not any(RECIPES["default"].freezes_norm(step, 8) for step in range(8))


def test_the_paper_s_recipe_is_the_paper_s():
    paper = recipe("paper")
    assert (paper.optimiser, paper.momentum, paper.batch, paper.batch_norm) == ("sgd", 0.99, 1, False)
    assert (paper.weights.w0, paper.weights.sigma, paper.weights.border) == (10, 5, "paper")
    assert (paper.augmentation.elastic, paper.augmentation.grid) == (10, 3)
    assert paper.dropout == 0.5


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_survives_json(name):
    made = replace(RECIPES[name], learning_rate=0.5)
    assert Recipe.from_json(json.loads(json.dumps(made.to_json()))) == made


def test_changes_replace_fields_and_none_does_not():
    assert recipe("default", batch=3, tile=None) == replace(RECIPES["default"], batch=3)
    bent = recipe("default", **{"augmentation.elastic": 5, "weights.border": "paper"})
    assert (bent.augmentation.elastic, bent.weights.border) == (5, "paper")


@pytest.mark.parametrize(("wrong", "says"), [
    ({"name": "papre"}, "known are default, paper"),
    ({"rate": 1}, "has no field rate"),
    ({"optimiser": "adam"}, "adamw or sgd"),
    ({"learning_rate": 0}, "positive"),
    ({"batch": 0}, "batch="),
    ({"precision": "int8"}, "precision="),
    ({"decay": 1.1}, "from 0 to 1"),
    ({"clip": -1}, "not negative"),
    ({"learning_rate": "fast"}, "cannot be 'fast'"),
    ({"batch": 1.5}, "cannot be 1.5, it is 2 by default"),
    ({"batch_norm": 1}, "cannot be 1"),
    ({"augmentation": 3}, "cannot be 3"),
    ({"batch.size": 3}, "batch.size of a recipe cannot be"),
    ({"augmentation.elastics": 3}, "no field elastics"),
])
def test_impossible_recipes_are_refused(wrong, says):
    with pytest.raises(PlanError, match=says):
        recipe(**wrong)
