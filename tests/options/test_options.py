"""The table of options: what it reads and refuses, and what is made of it."""

from __future__ import annotations

import pickle
from typing import get_args, get_type_hints

import numpy as np
import pytest

import tiler
from tiler.errors import PlanError, TilerError
from tiler.executors.serial import Serial
from tiler.geometry import Box
from tiler.options import AUTO, TABLE, Keywords, KindName, OutputType, Rule
from tiler.options import Options as Given
from tiler.options import ResolvedOptions as Resolved
from tiler.options.documents import cli_spelling
from tiler.ports import KINDS
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(0, 255, (3, 40, 37), dtype=np.uint8)


@pytest.mark.parametrize(("name", "given", "final"), [
    ("tile", 572, (572,)), ("tile", "1x572x572", (1, 572, 572)), ("tile", [1, 2, 3], (1, 2, 3)), ("tile", "auto", AUTO),
    ("tile", np.int64(4), (4,)), ("block", "64,64", (64, 64)), ("resize", "352x480", (352, 480)),
    ("batch", "4", 4), ("batch", np.uint8(4), 4), ("batch", "auto", AUTO), ("workers", "3", 3), ("threads", "2", 2),
    ("memory", "8GiB", 8 << 30), ("memory", "1.5MB", 1_500_000), ("memory", 10**9, 10**9),
    ("normalise", "volume", Rule("volume")), ("normalise", "volume:1,99", Rule("volume", (1.0, 99.0))),
    ("normalise", "125,45.5", Rule("fixed", (125.0, 45.5))), ("channel", 1, 1), ("channel", [0, 2], (0, 2)),
    ("min_size", 0, 0), ("tune", False, False), ("executor", Serial(), Serial()),
])
def test_values_are_read_once(name, given, final):
    assert Given(**{name: given}).get(name) == final
    assert Given(**{name: final}).get(name) == final


@pytest.mark.parametrize("region", ["0:5,100:600,50:450", "y=3:5", "t=3,x=0:512", "z=2:", (slice(0, 3), slice(None)),
                                    Box.between((0, 1, 2), (3, 4, 5))])
def test_a_region_as_text_gives_the_same_region(region):
    found = Given(roi=region).get("roi")
    assert Given(roi=str(found)).get("roi") == found


@pytest.mark.parametrize("rule", ["weights", "volume", "volume:1,99.5", "125,45", "0.1,0.3"])
def test_a_rule_as_text_is_what_was_given(rule):
    assert str(Given(normalise=rule).get("normalise")) == rule


@pytest.mark.parametrize(("name", "wrong"), [
    ("tile", "big"), ("tile", (1, 2, 3, 4)), ("tile", 0), ("tile", 5.5), ("tile", ""), ("resize", (1, 2, 3)),
    ("resize", "auto"), ("batch", 2.7), ("batch", 0), ("batch", True), ("workers", "many"), ("workers", "auto"),
    ("threads", 0), ("threads", 5000), ("min_size", -3), ("min_size", "many"), ("min_size", 1.5), ("memory", "lots"),
    ("memory", 0), ("tune", "no"), ("tune", 1), ("executor", "ray"), ("executor", Serial), ("executor", 3),
    ("kind", "masks"), ("normalise", "often"), ("normalise", "volume:99,1"), ("normalise", "1,0"), ("normalise", 3),
    ("normalise", "nan,1"), ("roi", "here"), ("roi", 5), ("axes", 3), ("channel", 1.5), ("channel", ()),
    ("weights", 3), ("scheduler", ""), *((name, "neither") for name in ("head", "average", "precision", "ngff")),
])
def test_values_that_cannot_be_read_are_refused_by_the_name_of_the_option(name, wrong):
    """By the plan too, which is asked before a run."""
    with pytest.raises(PlanError) as refused:
        tiler.plan(VOLUME, PoolingNet(), **{name: wrong})
    assert refused.value.option == name
    assert str(refused.value).endswith(f"({name}=)")


@pytest.mark.parametrize(("options", "words"), [
    ({"min_size": 5}, "say kind=\"instances\", or leave out min_size="),
    ({"kind": "labels", "dtype": "float32"}, r"labels are written as uint8; got 'float32' \(dtype=\)"),
    ({"kind": "instances", "dtype": "uint8"}, "instances are written as uint32, uint16, uint64"),
    ({"dtype": "uint64"}, "probabilities are written as float32"),
    ({"scheduler": "tcp://here:1"}, "the executor is threads: say executor=\"dask\""),
    ({"scheduler": "tcp://here:1", "executor": Serial()}, "the executor is Serial"),
    ({"average": "rot7", "border": "zero"}, r"mirrored border only \(border=\)"),
])
def test_options_that_contradict_each_other_are_refused(options, words):
    with pytest.raises(PlanError, match=words):
        Given(**options).resolved()


@pytest.mark.parametrize(("wrong", "right"), [("tyle", "tile"), ("normalize", "normalise"), ("as", "kind"),
                                              ("minsize", "min_size")])
@pytest.mark.parametrize("call", [tiler.plan, tiler.segment])
def test_a_keyword_that_is_no_option_is_told_the_one_that_was_meant(call, wrong, right):
    with pytest.raises(TypeError, match=f"no option '{wrong}': did you mean .*{right}") as refused:
        call(VOLUME, PoolingNet(), **{wrong: 1})
    assert isinstance(refused.value, TilerError)


def test_every_option_has_a_final_type_and_a_legal_default():
    """The final values of the defaults are those of the fields, and None only where the field says so."""
    fields, resolved = get_type_hints(Resolved), Given().resolved()
    assert set(fields) == set(TABLE) == set(get_type_hints(Keywords))
    for name, option in TABLE.items():
        assert option.read(getattr(resolved, name)) == getattr(resolved, name), name
        assert (getattr(resolved, name) is not None) or type(None) in get_args(fields[name]), name
        assert option.default is not None or option.otherwise, name


def test_the_words_of_type_checkers_are_those_of_the_engine():
    assert set(get_args(KindName)) == set(KINDS)
    assert set(get_args(OutputType)) == {dtype for kind in KINDS.values() for dtype in kind.types}


def test_resolved_options_are_json_from_which_the_same_come_again():
    given = Given(tile="1x64x64", roi="t=3,y=0:5", normalise="volume:1,99", memory="1GiB", executor=Serial(),
                  weights=np.__file__, kind="instances", dtype="uint64", channel=[0, 2])
    stored = given.resolved().to_json()
    assert stored.pop("executor") == "<Serial>"
    again = Given.of(stored).resolved()
    assert again == Given.of({**given.given(), "executor": "threads", "weights": stored["weights"]}).resolved()


def test_given_options_win_over_stored_ones():
    assert Given(tile=32, batch=None).over({"tile": 16, "batch": 4}) == Given(tile=32, batch=4)


@pytest.mark.parametrize(("keyword", "value", "flag"), [
    ("kind", "labels", "--as labels"), ("min_size", None, "--min-size"), ("tune", "False", "--no-tune"),
    ("overwrite", "True", "--overwrite"), ("output", None, "-o")])
def test_the_command_line_spells_options_in_its_own_way(keyword, value, flag):
    assert cli_spelling(keyword, value) == flag


def test_an_error_keeps_its_option_in_another_process():
    error = PlanError("no such thing as `kind=masks`", option="kind")
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.option) == ("no such thing as kind=\"masks\" (kind=)", "kind")
    assert copy.spelled(cli_spelling) == "no such thing as --as masks (--as)"
