"""Start workers, watch their clocks, and begin again after a seed that ended one."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

WORKER = Path(__file__).with_name("worker.py")
PATIENCE, START = 20, 240
"""Seconds for one damaged input, and for a worker to begin."""
GIB = 2**30


def fuzzed(case: str, folder: Path, first: int, last: int, memory: int) -> list[dict]:
    """One record for each seed: its outcome is used, refused, foreign, memory, hang or crash."""
    records, attempt = [], 0
    while first < last:
        place = folder / f"{attempt}"
        found = _worked(case, place, first, last, memory)
        records += found
        first, attempt = (found[-1]["seed"] + 1 if found else last), attempt + 1
    return records


def _worked(case: str, place: Path, first: int, last: int, memory: int) -> list[dict]:
    place.mkdir(parents=True)
    with (place / "stderr").open("wb") as said, subprocess.Popen(
            [sys.executable, WORKER, case, place / "work", str(first), str(last), str(memory)], stdout=subprocess.PIPE,
            stderr=said, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        lines: queue.Queue[str] = queue.Queue()
        reader = threading.Thread(target=_forward, args=(process.stdout, lines), daemon=True)
        reader.start()
        records, end = _watched(lines)
        process.kill()
        code = process.wait()
        reader.join()
    if end is None:
        return records
    if end == {}:
        raise AssertionError(f"{case}: the sound input failed: {(place / 'stderr').read_text()[-2000:]}")
    return [*records, {**end, "outcome": end.get("outcome", "crash"), "text": f"exit code {code}", "peak": 0}]


def _forward(stream, lines) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def _watched(lines) -> tuple[list[dict], dict | None]:
    """Records of a worker, and the seed that it did not come back from; {} where it did not even begin."""
    records, open_seed, patience = [], {}, START
    while True:
        try:
            line = lines.get(timeout=patience)
        except queue.Empty:
            return records, {**open_seed, "outcome": "hang"} if open_seed else {}
        if not line:
            return records, open_seed
        told, patience = json.loads(line), PATIENCE
        if "outcome" in told:
            records.append(_judged(told))
            open_seed = None
        elif "seed" in told:
            open_seed = told


def _judged(told: dict) -> dict:
    heavy = told["peak"] > 2 * GIB or "MemoryError" in told["text"]
    return {**told, "outcome": "memory"} if heavy else told


def table(found: dict[str, list[dict]]) -> str:
    """One row a case, one column an outcome."""
    columns = ("mutations", "used", "refused", "foreign", "memory", "hang", "crash", "largest MiB")
    rows = [("case", *columns)]
    for case, records in found.items():
        counts = Counter(record["outcome"] for record in records)
        rows.append((case, str(len(records)), *(str(counts[name]) for name in columns[1:-1]),
                     str(max((record["peak"] for record in records), default=0) >> 20)))
    total = Counter(record["outcome"] for records in found.values() for record in records)
    rows.append(("all", str(total.total()), *(str(total[name]) for name in columns[1:-1]), ""))
    return "\n".join("".join(cell.ljust(24) if not place else cell.rjust(12) for place, cell in enumerate(row))
                     for row in rows)


def failures(found: dict[str, list[dict]]) -> list[str]:
    """Every mutation that was neither used nor refused, with its seed."""
    return [f"{case}, seed {record['seed']} ({record['kind']}): {record['outcome']}: {record['text']}"
            for case, records in found.items() for record in records if record["outcome"] not in ("used", "refused")]


if __name__ == "__main__":
    import tempfile
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in sys.argv[2:]:
            results[name] = fuzzed(name, Path(folder) / name.replace(" ", ""), 0, int(sys.argv[1]), 3 * GIB)
    print(table(results), *failures(results), sep="\n")
