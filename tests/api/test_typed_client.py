"""The client checks under strict types, and runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import typed_client

ROOT = Path(__file__).parents[2]


def test_the_client_runs(tmp_path):
    typed_client.run(tmp_path)


def test_the_client_is_accepted_by_a_strict_type_checker():
    """Its own errors count; those of other files are the business of the whole check."""
    done = subprocess.run([sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent",
                           str(Path(typed_client.__file__).relative_to(ROOT))],
                          cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
