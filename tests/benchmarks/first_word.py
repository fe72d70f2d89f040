"""Seconds until a command says its first word, as multiples of a bare ``python -c pass``; Linux and macOS.

    python tests/benchmarks/first_word.py [--rounds 5]

Commands run in a pseudo-terminal, as a user sees them, in turns with the bare interpreter, so that other work on the
machine slows both. The first word is the first byte that the terminal gets; the end is that of the process. Medians.
Takes half a minute.
"""

from __future__ import annotations

import argparse
import os
import pty
import statistics
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = Path(__file__).parents[2] / "data_samples" / "sstem.tif"
LIMIT = 8.0
"""Times the bare interpreter that `tiler --help` may take."""


def commands(folder: str) -> dict[str, list[str]]:
    tiler = ["-m", "tiler"]
    model = ["--model", "unet", "--roi", "0:1,0:128,0:128", "-o", f"{folder}/out.zarr", "--overwrite"]
    return {
        "python -c pass": ["-c", "pass"],
        "tiler --help": [*tiler, "--help"],
        "tiler models": [*tiler, "models"],
        "tiler doctor": [*tiler, "doctor"],
        "tiler plan": [*tiler, "plan", str(SAMPLE), "--model", "unet"],
        "tiler segment": [*tiler, "segment", str(SAMPLE), *model],
    }


def watched(arguments: list[str]) -> tuple[float, float]:
    """Seconds to the first byte on the terminal, and to the end; both are the end for a silent command."""
    begun = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, *arguments])
    first = None
    while _read(terminal):
        first = first or time.perf_counter() - begun
    os.close(terminal)
    os.waitpid(child, 0)
    end = time.perf_counter() - begun
    return first or end, end


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # how Linux says that the other end was closed
        return b""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        wanted = commands(folder)
        taken = {name: [] for name in wanted}
        for _ in range(rounds):
            for name, arguments in wanted.items():
                taken[name].append(watched(arguments))
    first, end = ({name: statistics.median(times[which] for times in found) for name, found in taken.items()}
                  for which in (0, 1))
    bare = end["python -c pass"]
    print("| command | first word, s | times bare | end, s | times bare |\n|---|---|---|---|---|")
    for name in taken:
        print(f"| `{name}` | {first[name]:.2f} | {first[name] / bare:.1f} | {end[name]:.2f} | {end[name] / bare:.1f} |")
    return 0 if end["tiler --help"] <= LIMIT * bare else 1


if __name__ == "__main__":
    sys.exit(main())
