"""The law of the table: for every operator a part of the whole is the whole of the part."""

from __future__ import annotations

import functools
from random import Random

import pytest
import torch
from operator_cases import CASES

from tiler.models.aten.maps import whole
from tiler.models.aten.modules import on_meta
from tiler.models.aten.operators import Book
from tiler.models.aten.program import program
from tiler.models.aten.record import record
from tiler.models.aten.rule import RULES

DRAWS, BOXES = 6, 3


def a_box(random, shape):
    spans = []
    for size in shape:
        low = random.randrange(size)
        spans.append((low, random.randint(low + 1, size)))
    return tuple(spans)


def at(box):
    return tuple(slice(*span) for span in box)


def values_of(graph, module, x):
    """Everything that a program may start from: the input and what is made of weights alone."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    values = {0: x}
    for number in sorted(graph.constants):
        node = graph.nodes[number]
        values[number] = named[node.args["name"]] if node.op == "weight" else node.call([values[n] for n in node.reads])
    return values


def statistic_in_blocks(random, rule, tensor):
    """From blocks along one axis that it runs over."""
    axis = rule.statistic.axes[-1] if rule.reduces else -1
    cuts = sorted(random.sample(range(1, tensor.shape[axis]), 2))
    parts = [rule.statistic.of(part) for part in torch.tensor_split(tensor, cuts, axis)]
    return rule.statistic.found(functools.reduce(rule.statistic.merged, parts), tensor.dtype)


def whole_values(graph, book, values, random):
    """Every live node as a whole, and the statistics in use."""
    known = {}
    for number in graph.live:
        node, rule = graph.nodes[number], book.rules[number]
        if number in values:
            continue
        if rule.statistic is not None:
            known[number] = statistic_in_blocks(random, rule, values[node.reads[0]])
        values[number] = node.call([values[ref] for ref in node.reads], torch.device("cpu"))
    return known


def check(name, seed):
    random = Random(f"{name} {seed}")
    torch.manual_seed(seed)
    module, shape = CASES[name](random)
    module = module.eval()
    graph = record(on_meta(module), shape)
    book = Book(graph)
    assert not [book.rules[n].opaque for n in graph.live if book.rules[n] and graph.nodes[n].op == name
                and book.rules[n].opaque]
    x = torch.randn(shape, dtype=torch.float64)
    expected = module(x)
    leaves = values_of(graph, module, x)
    boxed = {number: (value, whole(tuple(value.shape))) for number, value in leaves.items()}
    known = whole_values(graph, book, dict(leaves), random)
    for number, found in known.items():
        if book.rules[number].reduces:
            boxed[number] = found, whole(tuple(found.shape))
    for _ in range(BOXES):
        box = a_box(random, tuple(expected.shape))
        starts = {number for number in boxed if number != graph.output}
        made = program(book, graph.output, starts, box)(boxed, known)
        assert made.shape == expected[at(box)].shape
        torch.testing.assert_close(made, expected[at(box)].to(made.dtype), rtol=1e-10, atol=1e-10)
        if graph.output in known and book.rules[graph.output].reduces:
            torch.testing.assert_close(known[graph.output][at(box)], expected[at(box)], rtol=1e-10, atol=1e-10)
    return {graph.nodes[number].op for number in graph.live}


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_part_of_the_whole_is_the_whole_of_the_part(name):
    with torch.no_grad():
        assert name in set().union(*(check(name, seed) for seed in range(DRAWS)))


def test_every_operator_of_the_table_has_such_a_test():
    assert set(RULES) == set(CASES)


def test_a_wrong_map_is_seen(monkeypatch):
    right = RULES["native_layer_norm"]

    def wrong(node):
        rule = right(node)
        return type(rule)(rule.maps, rule.run)
    monkeypatch.setitem(RULES, "native_layer_norm", wrong)
    with pytest.raises((AssertionError, RuntimeError)):
        test_a_part_of_the_whole_is_the_whole_of_the_part("native_layer_norm")


