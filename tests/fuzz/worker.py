"""A process that damages inputs and uses them: one JSON line when it begins a seed, and one when it is done.

``python worker.py CASE FOLDER FIRST LAST MEMORY``, where MEMORY is the address space in bytes, 0 for no limit.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import sys
import traceback
import warnings
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "models")]

import cases  # noqa: E402 - found by the lines above
import mutations  # noqa: E402

NETWORK = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    return nn.Conv2d(1, 2, 3, padding=1)
"""


def say(**line):
    os.write(1, (json.dumps(line) + "\n").encode())


def prepared(case: str, folder: Path) -> Path | None:
    """The sound input, used once so that what it imports is not counted."""
    if case in cases.COMMANDS:
        cases._tiff("stack.tif")(folder)
        (folder / "networks.py").write_text(NETWORK)
        os.chdir(folder)
        return None
    sound = cases.MAKERS[case](folder)
    cases.USES[case](sound)
    return sound


def damaged(case: str, sound: Path | None, folder: Path, seed: int):
    """What is done with the damaged input, and how it was damaged."""
    drawn = random.Random(f"{case} {seed}")
    if sound is None:
        line = cases.command_line(case, drawn, mutations.ARGUMENTS)
        return (lambda: cases.call(line)), repr(line)[:400]
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(folder.with_name("sound"), folder)
    path = folder / sound.relative_to(folder.with_name("sound"))
    kind = mutations.damaged(path, drawn)
    return (lambda: cases.USES[case](path)), kind


def outcome(use) -> tuple[str, str]:
    from tiler.errors import TilerError
    try:
        use()
    except TilerError as error:
        return ("foreign" if "\n" in str(error) else "refused"), str(error)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in where if "/tiler/" in frame.filename or "/models/" in frame.filename] or where
        return "foreign", f"{type(error).__name__}: {str(error)[:200]} at {own[-1].filename}:{own[-1].lineno}"
    return "used", ""


def peak() -> int:
    """Largest memory of this process since the last call, in bytes."""
    with open("/proc/self/status") as status:
        found = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return found


def main(case: str, folder: Path, first: int, last: int, memory: int) -> None:
    warnings.simplefilter("ignore")
    (folder / "sound").mkdir(parents=True)
    sound = prepared(case, folder / "sound")
    if memory:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    peak()
    say(ready=True)
    for seed in range(first, last):
        use, kind = damaged(case, sound, folder / "damaged", seed)
        say(seed=seed, kind=kind)
        found, text = outcome(use)
        say(seed=seed, kind=kind, outcome=found, text=text, peak=peak())


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
