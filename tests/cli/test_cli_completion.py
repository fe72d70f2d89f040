"""Completion in a shell: commands, options, models and files, and the script that installs it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pytest
from click.shell_completion import ShellComplete

from tiler.cli.main import tiler as group


def offered(*words):
    """Values and types that are offered for the last word."""
    complete = ShellComplete(group, {}, "tiler", "_TILER_COMPLETE")
    return {(item.value, item.type) for item in complete.get_completions(list(words[:-1]), words[-1])}


def test_commands_and_options_are_offered():
    assert offered("mo") == {("models", "plain")}
    assert {("--model", "plain"), ("--memory", "plain")} <= offered("segment", "--m")
    assert offered("segment", "--as", "lab") == {("labels", "plain")}
    assert offered("completion", "") == {(shell, "plain") for shell in ("bash", "zsh", "fish")}


@pytest.mark.parametrize("words", [
    ("segment", "--model"), ("plan", "stack.tif", "-m"), ("models",), ("probe",), ("check", "--model")])
def test_networks_are_offered_by_name_and_else_files(words):
    assert ("unet", "plain") in offered(*words, "un")
    assert offered(*words, "mine.p") == {("mine.p", "file")}


@pytest.mark.parametrize("words", [
    ("segment",), ("segment", "-o"), ("segment", "--weights"), ("check", "--source"), ("evaluate",), ("view",),
    ("probe", "unet", "--weights"), ("evaluate", "--mask"), ("check",)])
def test_files_are_left_to_the_shell(words):
    assert offered(*words, "dat") == {("dat", "file")}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_asks_tiler(tiler, shell):
    outcome = tiler("completion", shell)
    assert (outcome.code, outcome.err) == (0, "")
    assert f"_TILER_COMPLETE={shell}_complete" in outcome.out
    assert tiler("completion").code == 2


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_a_network(tiler, tmp_path):
    """The script itself in a shell: no torch is imported on the way, or Tab would take seconds."""
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    (tmp_path / "tiler").write_text(f"#!/bin/sh\nexec {sys.executable} -m tiler.cli \"$@\"\n")
    (tmp_path / "tiler").chmod(0o755)
    (tmp_path / "rc").write_text(tiler("completion", "bash").out + """
        COMP_WORDS=(tiler segment --model unet3p) COMP_CWORD=3
        _tiler_completion tiler
        printf '%s\\n' "${COMPREPLY[@]}"
    """)
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(["bash", tmp_path / "rc"], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.splitlines() == ["unet3plus", "unet3plus-cgm", "unet3plus-ds"]
