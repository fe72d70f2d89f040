"""Thousands of damaged inputs: each is read or refused in one line, soon, in little memory, in a process that lives on.

``pytest -m slow -n 0 -s tests/fuzz`` prints the table; ``python tests/fuzz/supervisor.py 200 "zarr 3" npy`` prints it
for the first 200 seeds of two cases, with every failure.
"""

from __future__ import annotations

import cases
import pytest
from supervisor import GIB, failures, fuzzed, table

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]
EACH = {**dict.fromkeys(cases.IMAGES, 110), **dict.fromkeys(cases.WEIGHTS, 110), **dict.fromkeys(cases.NETWORKS, 60),
        **dict.fromkeys(cases.COMMANDS, 100)}
"""Mutations of each case."""
SPACE = 3 * GIB
"""Address space of a process: far more than it may come to hold, so that a bomb fails instead of the machine."""


def test_damaged_inputs_are_read_or_refused(tmp_path, capsys):
    assert sum(EACH.values()) >= 3000
    found = {case: fuzzed(case, tmp_path / str(number), 0, count, SPACE)
             for number, (case, count) in enumerate(EACH.items())}
    with capsys.disabled():
        print(f"\n{table(found)}")
    assert sum(map(len, found.values())) == sum(EACH.values())
    assert failures(found) == []
