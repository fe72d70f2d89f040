"""Resources of this machine: memory, disk space and processor cores."""

from __future__ import annotations

import os
import shutil
import sys
import time
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")


def available_memory() -> int:
    """Return the bytes that can be allocated now; the limit of a container or batch job counts."""
    return min([int(psutil.virtual_memory().available), *_cgroup_room()])


def _cgroup_room() -> list[int]:
    try:
        limit = (CGROUP / "memory.max").read_text().strip()
        used = int((CGROUP / "memory.current").read_text())
    except (OSError, ValueError):
        return []
    return [] if limit == "max" else [max(0, int(limit) - used)]


def anonymous_memory() -> int:
    """Return the resident bytes of this process that no file backs; all resident bytes outside Linux."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return int(psutil.Process().memory_info().rss)
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(fields["RssAnon"].split()[0]) * 1024


def peak_memory() -> int:
    """Return the largest number of bytes that this process ever had in memory; those that it has now on Windows."""
    try:
        import resource
    except ImportError:
        return int(psutil.Process().memory_info().rss)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def free_disk(path: Path) -> int:
    """Return the free bytes on the disk of a path, which need not exist yet."""
    whole = path.absolute()
    return shutil.disk_usage(next(folder for folder in (whole, *whole.parents) if folder.is_dir())).free


def cache_folder(name: str) -> Path:
    """Return the folder for what this user's runs remember here, which may be deleted at any time."""
    if sys.platform == "win32":
        home = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "tiler" / name


def used_disk(path: Path) -> int:
    """Return the bytes that a file or folder takes on disk, 0 if it does not exist; reserved blocks count."""
    inside = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    return sum(_taken(file) for file in ([path] if path.is_file() else inside))


def _taken(file: Path) -> int:
    try:
        found = file.lstat()
    except FileNotFoundError:  # removed in the meantime
        return 0
    return found.st_blocks * 512 if hasattr(found, "st_blocks") else found.st_size


SHARE = 0.1
"""Share of the processor time from which others count, and below which there is none left."""


class Contention:
    """Whether other processes took processor time that this one could have used, since the object was made.

    It is known from the counters of the system: no core was idle, and processes other than this one used more than a
    tenth of the time of our cores. Others on cores that this process shares by affinity alone are not noticed.
    """

    def __init__(self) -> None:
        self._wall, self._own = time.monotonic(), time.process_time()
        self._busy, self._idle = _processor_seconds()

    @property
    def found(self) -> bool:
        wall, own = time.monotonic() - self._wall, time.process_time() - self._own
        busy, idle = _processor_seconds()
        others, unused = busy - self._busy - own, idle - self._idle
        return others > SHARE * wall * cores() and unused < SHARE * wall * (psutil.cpu_count() or 1)


def _processor_seconds() -> tuple[float, float]:
    """Seconds that the cores of the system have worked and been idle."""
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    guests = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)  # also counted as user time
    return sum(times) - idle - guests, idle


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
