"""The recipes for schedulers: their shell is sound, and that of SLURM does a run in parts."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tiler

PAGE = (Path(tiler.__file__).parent / "docs/pages/recipes.md").read_text()
NET = "import torch\n\ndef make():\n    torch.manual_seed(0)\n    return torch.nn.Conv2d(1, 2, 3, padding=1)\n"


def recipe(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def commands():
    """The lines of all recipes that call tiler, with the variables of their languages filled in."""
    lines = re.findall(r"tiler (?:config|plan|segment|finish|status)\b[^\n\"`]*(?:\"[^\n]*)?", PAGE)
    return [re.sub(r"\$?\{[^}]*\}", "1", line).rstrip('"\\ ') for line in lines]


@pytest.mark.skipif(sys.platform == "win32", reason="there is no bash")
def test_the_shell_of_the_recipes_is_sound():
    assert len(commands()) >= 7
    for script in (recipe("bash"), recipe("text"), *commands()):
        if script.count('"') % 2 == 0:
            subprocess.run(["bash", "-n"], input=script, text=True, check=True)


def test_the_rules_of_snakemake_name_what_others_make():
    text = recipe("python")
    assert set(re.findall(r'input: "([\w.]+)"', text)) == {"membranes.done", "run.toml"}
    assert re.findall(r'touch\("([^"]+)"\)', text) == ["parts/{part}.done", "membranes.done"]
    assert 'expand("parts/{part}.done", part=range(PARTS))' in text


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no bash")
def test_the_array_of_slurm_does_a_run_in_parts(tmp_path):
    volume = np.random.default_rng(0).integers(0, 255, (4, 64, 64), dtype=np.uint8)
    np.save(tmp_path / "em.npy", volume)
    (tmp_path / "net.py").write_text(NET)
    (tmp_path / "job.sh").write_text(recipe("bash").replace("28GiB", "2GiB"))
    (tmp_path / "tiler").write_text(f'#!/bin/bash\nexec {sys.executable} -m tiler "$@"\n')
    (tmp_path / "tiler").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_ARRAY_TASK_COUNT": "2"}

    def call(*command, **more):
        done = subprocess.run(command, cwd=tmp_path, env={**environment, **more}, check=False, capture_output=True,
                              text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run = call("tiler", "config", "em.npy", "--model", "net.py:make", "-o", "membranes.zarr", "--block", "2x64x64")
    (tmp_path / "run.toml").write_text(run)
    for number in (1, 0):
        call("bash", "job.sh", SLURM_ARRAY_TASK_ID=str(number))
    call("tiler", "finish", "membranes.zarr")
    assert tiler.open_volume(tmp_path / "membranes.zarr").shape[1:] == volume.shape
