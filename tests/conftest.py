"""Where the real data are, and how long a test may think."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples in every run, so that a change is judged by what it changes; `--hypothesis-profile=search` looks
# for new ones.
settings.register_profile("repeatable", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None, print_blob=True)
settings.load_profile("repeatable")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Workers share the cores: libraries that take all of them for each would only get into each other's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# What the runs before have remembered must not decide a test, and what tests remember is of no use to others.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="tiler-tests-")

SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared():
    """The folder of real data, which are not part of the project."""
    if not SHARED.is_dir():
        pytest.skip(f"the real data are not at {SHARED}")
    return SHARED


@pytest.fixture(scope="module")
def small_process():
    """Planning in a process of 200 MB, whatever the tests before have left in this one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tiler.planning.resolve.anonymous_memory", lambda: 200 * 10**6)
        yield


def pytest_collection_modifyitems(items):
    """Run the longest test first, in parallel with the others."""
    items.sort(key=lambda item: "commands_of_the_readme" not in item.nodeid)
