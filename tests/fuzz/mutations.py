"""Small damage to files and arguments, each kind drawn by a seeded generator, so that a seed repeats its damage."""

from __future__ import annotations

import json
import random
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

EXTREMES = (0, 1, -1, 2, 127, 128, 255, 256, 32767, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, -0.5, 2**31, 2**40, 2**63, 2**70, 10**400, 1e308, float("nan"), float("inf"), "", "0",
    "-1", "null", "text", "../..", "a" * 300, "\0", "\ud800", [], [[]], [None], [0], [-1, 2**40], {}, {"a": None},
    {"name": "text"}, "<i4", "|O", "float128", "s3://nowhere/none",
)
# No NUL: no program can be given one on its command line.
ARGUMENTS = (
    "", " ", "0", "1", "-1", "0.5", "nan", "inf", "-inf", "1e400", "9" * 30, "9" * 400, "\udcff", "a" * 300, "1,2",
    "1,2,3", "1,,2", "0,0,0", "-1,5,5", "x", "1x", "all", "none", "null", "[]", "{}", "z=1:0", "z=0:1", "0:2",
    "0:2,0:9,0:9", "1:0,0:9,0:9", "zyx", "xx", "none.tif", "none/none", ".", "..", "{stem}", "{none}", "{", "float128",
    "uint8", "1e3", "10GB", "-5GB", "cpu", "auto", "blosc:99", "zstd:x", "a:b:c", "%s", "ä", "stack.tif",
)
TEXT = (".json", ".zarray", ".zgroup", ".zattrs", "info", ".yaml")
PNG = b"\x89PNG\r\n\x1a\n"


def damaged(path: Path, random: random.Random) -> str:
    """Damage one file of what lies at a path, and say how."""
    file = path if path.is_file() else _one_of(sorted(found for found in path.rglob("*") if found.is_file()), random)
    if path.is_dir() and random.random() < 0.1:
        return f"{file.name}: {_misplaced(file, random)}"
    if file.suffix == ".zip" and random.random() < 0.7:
        return f"{file.name}: {_member(file, random)}"
    content = file.read_bytes()
    if file.name.endswith(TEXT) and random.random() < 0.85:
        kind, changed = "a value", _json(content, random)
    elif file.suffix == ".safetensors" and random.random() < 0.7:
        kind, changed = "a value of the header", _safetensors(content, random)
    else:
        kind, changed = _bytes(content, random)
    if changed.startswith(PNG) and random.random() < 0.8:
        changed = _checksums(changed)
    file.write_bytes(changed)
    return f"{file.name}: {kind}"


def _one_of(files: list[Path], random: random.Random) -> Path:
    """A file; as often one of metadata as any."""
    metadata = [file for file in files if file.name.endswith(TEXT)]
    return random.choice(metadata if metadata and random.random() < 0.5 else files)


def _misplaced(file: Path, random: random.Random) -> str:
    """A file that is gone, a folder, renamed, or a copy of another."""
    kind = random.choice(("gone", "a folder", "renamed", "copied"))
    if kind == "copied":
        shutil.copy(file, file.with_name(f"{file.name}x"))
        return kind
    if kind == "renamed":
        file.rename(file.with_name(f"{file.name}x"))
        return kind
    file.unlink()
    if kind == "a folder":
        file.mkdir()
    return kind


def _bytes(content: bytes, random: random.Random) -> tuple[str, bytes]:
    kind = random.choice(sorted(BYTES))
    return kind, BYTES[kind](bytearray(content), random)


def _at(content: bytearray, random: random.Random) -> int:
    """A place in a file: as often at its beginning or end, where headers stand, as anywhere."""
    last = max(len(content) - 1, 0)
    return random.choice((random.randint(0, min(last, 120)), random.randint(0, min(last, 600)),
                          last - random.randint(0, min(last, 600)), random.randint(0, last)))


def _bits(content: bytearray, random: random.Random) -> bytes:
    for _ in range(random.choice((1, 1, 2, 8))):
        if content:
            content[_at(content, random)] ^= 1 << random.randrange(8)
    return bytes(content)


def _cut(content: bytearray, random: random.Random) -> bytes:
    return bytes(content[:random.choice((0, _at(content, random), len(content) // 2, len(content) - 1))])


def _swapped(content: bytearray, random: random.Random) -> bytes:
    one, other = _at(content, random), _at(content, random)
    content[one:one + 1], content[other:other + 1] = content[other:other + 1], content[one:one + 1]
    return bytes(content)


def _number(content: bytearray, random: random.Random) -> bytes:
    size = random.choice((1, 2, 4, 4, 8))
    at = _at(content, random) // random.choice((1, 2, 4)) * random.choice((1, 2, 4)) % (len(content) or 1)
    number = random.choice(EXTREMES) % 2**(8 * size)
    content[at:at + size] = number.to_bytes(size, random.choice(("little", "big")))
    return bytes(content)


def _digits(content: bytearray, random: random.Random) -> bytes:
    """Another number of as many letters in a text."""
    found = list(re.finditer(rb"\d+", bytes(content[:4000])))
    if found:
        span = random.choice(found)
        length = len(span[0])
        text = random.choice((b"9" * length, b"0" * length, b"-" + b"1" * (length - 1), b"n" * length, b"." * length))
        content[span.start():span.end()] = text[:length]
    return bytes(content)


def _zeros(content: bytearray, random: random.Random) -> bytes:
    at, length = _at(content, random), random.choice((4, 16, 100))
    content[at:at + length] = bytes(len(content[at:at + length]))
    return bytes(content)


def _inserted(content: bytearray, random: random.Random) -> bytes:
    at = _at(content, random)
    again = bytes(content[at:at + 40])
    content[at:at] = random.choice((random.randbytes(4), again, b"\xff" * 8, random.randbytes(5000)))
    return bytes(content)


BYTES: dict[str, Callable[[bytearray, random.Random], bytes]] = {
    "bits": _bits, "cut": _cut, "swapped": _swapped, "a number": _number, "two numbers":
    lambda content, random: _number(bytearray(_number(content, random)), random),
    "digits": _digits, "zeros": _zeros, "inserted": _inserted,
}


def _json(content: bytes, random: random.Random) -> bytes:
    try:
        document = json.loads(content)
    except ValueError:
        return _bits(bytearray(content), random)
    return json.dumps(_changed(document, random)).encode("utf-8", "surrogatepass")


def _changed(document: Any, random: random.Random) -> Any:
    """The document with one value replaced, deleted or repeated."""
    places = list(_places(document))
    if not places:
        return random.choice(VALUES)
    holder, key = random.choice(places)
    kind = random.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1 and isinstance(holder[key], list):
        holder[key] = holder[key] * random.choice((0, 2, 3))
    elif kind == 2 and isinstance(holder[key], str):
        holder[key] = random.choice((holder[key][:-1], holder[key] + "x", holder[key].upper()))
    elif kind == 3 and isinstance(holder[key], (int, float)):
        holder[key] = random.choice((-holder[key], holder[key] * 2, holder[key] + 0.5, str(holder[key]), 2**31, 2**62))
    else:
        holder[key] = random.choice(VALUES)
    return document


def _places(node: Any) -> Any:
    keys = node if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
    for key in keys:
        yield node, key
        yield from _places(node[key])


def _safetensors(content: bytes, random: random.Random) -> bytes:
    length, = struct.unpack("<Q", content[:8])
    header = _metadata(content[8:8 + length], random) if random.random() < 0.5 else _json(content[8:8 + length], random)
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + content[8 + length:]


def _metadata(header: bytes, random: random.Random) -> bytes:
    """The header with another value in one of the texts of its metadata, which hold JSON themselves."""
    document = json.loads(header)
    texts = document["__metadata__"]
    key = random.choice(sorted(texts))
    texts[key] = _json(texts[key].encode(), random).decode("utf-8", "replace")
    return json.dumps(document).encode()


def _member(file: Path, random: random.Random) -> str:
    """Damage a member of a zip, whose checksums hold."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(sorted(members))
    if name.endswith(TEXT):
        kind, members[name] = "a value", _json(members[name], random)
    else:
        kind, members[name] = _bytes(members[name], random)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, content in members.items():
            archive.writestr(other, content)
    return f"{name}: {kind}"


def _checksums(content: bytes) -> bytes:
    """A PNG whose checksums are those of its chunks, as far as these can be told apart."""
    found, at = bytearray(content), len(PNG)
    while at + 12 <= len(found):
        length, = struct.unpack(">I", found[at:at + 4])
        end = at + 8 + length
        if end + 4 > len(found):
            break
        found[end:end + 4] = struct.pack(">I", zlib.crc32(found[at + 4:end]))
        at = end + 4
    return bytes(found)
