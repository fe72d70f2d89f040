"""``--json``: every command has it, prints JSON alone on stdout, and its help tells the keys."""

from __future__ import annotations

import json
import re

import click
import numpy as np
import pytest

from tiler.cli.main import COMMANDS
from tiler.cli.main import tiler as group

SPEAKING = [name for name in COMMANDS if name not in ("completion", "config")]  # which print scripts and TOML


def command(name):
    return group.get_command(click.Context(group), name)


def told(name):
    """The words of a command's help that follow its first mention of JSON."""
    text = command(name).get_help(click.Context(command(name), info_name=name))
    return set(re.findall(r"\w+", text[text.lower().index("json"):]))


@pytest.mark.parametrize("name", SPEAKING)
def test_every_command_speaks_json(name):
    assert any("--json" in parameter.opts for parameter in command(name).params)


def values(outcome):
    """The only object on stdout."""
    assert outcome.code == 0, outcome.err
    (line,) = outcome.out.splitlines()
    return json.loads(line)


def test_a_run_is_told_as_json_from_plan_to_check(tiler, segment, networks, folder):
    planned = values(tiler("plan", "stack.tif", "-m", f"{networks}:Net", "--json"))
    assert planned.keys() | planned["estimate"].keys() <= told("plan")
    made = values(segment("stack.tif", "--json", "--classes", "1", "-o", "out.zarr"))
    assert (made["source"], made["output"]) == ("stack.tif", "out.zarr")
    assert made.keys() == {"source", "output", "seconds"} <= told("segment")
    checked = values(tiler("check", "out.zarr", "--json"))
    assert checked["sound"]
    assert {"sound", "blocks", "damaged"} <= checked.keys() & told("check")


def test_json_of_scores_goes_to_a_file_that_is_named(tiler, folder):
    np.save("labels.npy", np.eye(9, dtype=np.uint8))
    outcome = tiler("evaluate", "labels.npy", "labels.npy", "--protocol", "semantic", "--json", "scores.json", "-q")
    assert json.loads((folder / "scores.json").read_text())["protocol"] == "semantic"
    assert "{" not in outcome.out
    flag = tiler("evaluate", "labels.npy", "labels.npy", "--protocol", "semantic", "-q", "--json")
    assert {"protocol", "proposal", "labels", "region"} <= values(flag).keys() & told("evaluate")
    assert values(flag) == json.loads(tiler(
        "evaluate", "labels.npy", "labels.npy", "--protocol", "semantic", "-q", "--json", "-").out)


def test_networks_are_told_as_json(tiler):
    listed = values(tiler("models", "--json"))
    assert set(listed[0]) <= told("models")
    assert set(values(tiler("models", "unet", "--json"))) <= told("models")


def test_an_error_is_one_line_on_stderr_all_the_same(tiler):
    for arguments in (["plan", "no.tif", "-m", "unet"], ["check", "no.zarr"], ["models", "no"], ["probe", "no"],
                      ["evaluate", "no.tif", "no.tif", "--quiet"], ["view", "no.tif"]):
        outcome = tiler(*arguments, "--json")
        assert (outcome.code, outcome.out, len(outcome.lines)) == (1, "", 1), outcome


def test_the_exit_codes_are_in_the_help(tiler):
    shown = tiler("--help").out
    assert re.findall(r"^ +(\d+)  ", shown[shown.index("Exit codes"):shown.index("Options")], re.M) == [
        "0", "1", "2", "130"]
