"""Strict types over the engine, the models and the command line, laid out as they are installed."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_whole_package_is_typed(tmp_path):
    pytest.importorskip("mypy")
    for folder, place in (("tiler", "tiler"), ("models", "tiler/models"), ("cli", "tiler/cli")):
        shutil.copytree(ROOT / folder, tmp_path / place, ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "pyproject.toml").read_text()
    assert '"tiler.models.*", "tiler.cli.*"]' in text, "what is mapped in is not looked up, but here it is there"
    (tmp_path / "pyproject.toml").write_text(text.replace('"tiler.models.*", "tiler.cli.*"]', "]"))
    run = subprocess.run([sys.executable, "-m", "mypy", "-p", "tiler"], cwd=tmp_path, capture_output=True, text=True,
                         check=False)
    assert run.returncode == 0, run.stdout
