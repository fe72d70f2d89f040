"""What a loss of power leaves of a folder: the counterpart of `interpose.c`."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

PAGE = 4096


def lose_power(root: Path, saved: Path, draw: random.Random) -> None:
    """Take everything back that was not synced: contents always, names of files every other time."""
    if draw.random() < 0.5:
        _lose_names(saved)
    for file in sorted(root.rglob("*")):
        if file.is_file() and not file.is_symlink():
            _lose_content(file, saved / str(file.stat().st_ino), draw)


def _lose_content(file: Path, synced: Path, draw: random.Random) -> None:
    """Some pages, or all of them, are those of the last sync; a file that never was synced is empty."""
    old, new = synced.read_bytes() if synced.exists() else b"", file.read_bytes()
    if old == new:
        return
    if old and draw.random() < 0.5:
        pages = range(0, max(len(old), len(new)), PAGE)
        old = b"".join(draw.choice((old, new))[at:at + PAGE] for at in pages)
    file.write_bytes(old)


def _lose_names(saved: Path) -> None:
    changes = [line.split("\t") for line in (saved / "names").read_text().splitlines()]
    synced: set[Path] = set()
    for kind, *paths in reversed(changes):
        if kind == "synced":
            synced.add(Path(paths[0]))
        elif Path(paths[1] if kind == "renamed" else paths[0]).parent not in synced:
            _undo(kind, *map(Path, filter(None, paths)))


def _undo(kind: str, path: Path, other: Path | None = None, kept: Path | None = None) -> None:
    if kind == "made":
        path.unlink(missing_ok=True)
    elif kind == "folder":
        shutil.rmtree(path, ignore_errors=True)
    elif kind == "folder removed":
        path.mkdir(parents=True, exist_ok=True)
    elif kind == "removed":
        if other is not None and path.parent.is_dir() and not path.exists():
            os.link(other, path)
    elif other is not None and (other.exists() or other.is_symlink()):
        path.parent.mkdir(parents=True, exist_ok=True)
        os.rename(other, path)
        if kept is not None:
            os.link(kept, other)
