"""Resources of this machine: memory, disk space and processor cores."""

from __future__ import annotations

import os
import shutil
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


def free_disk(path: Path) -> int:
    """Return the free bytes on the disk of a path, which need not exist yet."""
    whole = path.absolute()
    return shutil.disk_usage(next(folder for folder in (whole, *whole.parents) if folder.is_dir())).free


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


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
