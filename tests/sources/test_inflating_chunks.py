"""Chunks that inflate to more than the size of a chunk: refused before the memory is taken."""

import bz2
import gzip
import lzma
import resource
import subprocess
import sys
import zlib

import h5py
import imagecodecs
import numcodecs
import numpy as np
import pytest
import tensorstore
import zarr

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source
from tiler.sources.inflate import inflate

BOMB = bytes(60_000_000)
PACK = {"gzip": gzip.compress, "zlib": zlib.compress, "bz2": bz2.compress, "lzma": lzma.compress,
        "zstd": imagecodecs.zstd_encode, "br": imagecodecs.brotli_encode, "blosc": imagecodecs.blosc_encode,
        "lz4": lambda data: bytes(numcodecs.LZ4().encode(data))}
VALUES = np.random.default_rng(0).integers(0, 255, (4, 64, 64), np.uint8)
NUMCODECS = {"gzip": numcodecs.GZip(), "zlib": numcodecs.Zlib(), "bz2": numcodecs.BZ2(), "lzma": numcodecs.LZMA(),
             "zstd": numcodecs.Zstd(), "blosc": numcodecs.Blosc(), "lz4": numcodecs.LZ4()}
CODECS = {"gzip": zarr.codecs.GzipCodec(), "zstd": zarr.codecs.ZstdCodec(), "blosc": zarr.codecs.BloscCodec()}
CASES = [*((2, kind, None) for kind in NUMCODECS), *((3, kind, None) for kind in CODECS),
         *((3, kind, (4, 64, 64)) for kind in CODECS)]


@pytest.mark.parametrize("kind", PACK)
def test_no_more_bytes_than_there_can_be(kind):
    codec = NUMCODECS.get(kind)
    for data in (b"", b"a", VALUES.tobytes()):
        if data:
            assert inflate(kind, PACK[kind](data), len(data), codec) == data
    with pytest.raises(SourceError, match="inflates to"):
        inflate(kind, PACK[kind](BOMB), 100_000, codec)


@pytest.mark.parametrize("kind", ["zstd", "br"])
def test_the_size_that_damaged_metadata_claim_is_not_taken(kind):
    data = bytes(20_000_000)
    assert inflate(kind, PACK[kind](data), 2**46) == data
    with pytest.raises(SourceError, match="no memory"):
        inflate(kind, b"\xff" * 4 if kind == "br" else PACK[kind](BOMB)[:-4], 2**46)


@pytest.mark.parametrize("kind", ["gzip", "bz2"])
def test_streams_that_follow_each_other(kind):
    data = PACK[kind](b"first") + PACK[kind](b"second")
    assert inflate(kind, data, 11) == b"firstsecond"
    with pytest.raises(SourceError, match="inflates to"):
        inflate(kind, data, 10)


@pytest.mark.parametrize(("version", "kind", "shards"), CASES)
def test_a_chunk_of_a_zarr(version, kind, shards, tmp_path):
    path = tmp_path / "a.zarr"
    array = zarr.create_array(path, shape=VALUES.shape, dtype="u1", chunks=(2, 32, 32), shards=shards,
                              zarr_format=version, compressors=NUMCODECS[kind] if version == 2 else CODECS[kind])
    array[...] = VALUES
    source = open_source(path)
    np.testing.assert_array_equal(source.read(Box.of_shape(VALUES.shape))[0], VALUES)
    if shards:
        return
    (path / ("0.0.0" if version == 2 else "c/0/0/0")).write_bytes(PACK[kind](BOMB))
    with pytest.raises(SourceError, match="inflates to"):
        source.read(Box.of_shape(VALUES.shape))


@pytest.mark.parametrize(("kind", "pack"), [
    ("gzip", gzip.compress), ("bzip2", bz2.compress), ("xz", lzma.compress), ("zstd", imagecodecs.zstd_encode),
    ("blosc", imagecodecs.blosc_encode)])
def test_a_chunk_of_n5(kind, pack, tmp_path):
    settings = {"cname": "lz4", "clevel": 5, "shuffle": 1} if kind == "blosc" else {}
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{tmp_path}/a.n5/raw/"},
            "metadata": {"dimensions": VALUES.shape[::-1], "blockSize": [32, 32, 3], "dataType": "uint8",
                         "compression": {"type": kind, **settings}}}
    tensorstore.open(spec, create=True).result()[...] = VALUES.T
    source = open_source(tmp_path / "a.n5/raw")
    np.testing.assert_array_equal(source.read(Box.of_shape(VALUES.shape))[0], VALUES)
    chunk = tmp_path / "a.n5/raw/0/0/0"
    header = chunk.read_bytes()[:16]
    for damaged in (header + pack(BOMB), header[:15] + b"\xff", header[:8], b"", header):
        chunk.write_bytes(damaged)
        with pytest.raises(SourceError, match=r"inflates to|damaged|cannot read"):
            source.read(Box.of_shape(VALUES.shape))


@pytest.mark.parametrize("name", ["a.h5", "a.ims"])
def test_a_chunk_of_hdf5(name, tmp_path, monkeypatch):
    monkeypatch.setattr("tiler.sources.hdf5_bounded.UNCHECKED", 0)
    for path, damaged in ((tmp_path / name, False), (tmp_path / f"damaged_{name}", True)):
        with h5py.File(path, "w") as file:
            dataset = file.create_dataset("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0/Data", data=VALUES,
                                          chunks=(2, 32, 32), compression="gzip", shuffle=True, fletcher32=True)
            if damaged:
                dataset.id.write_direct_chunk((2, 32, 0), zlib.compress(BOMB))
    source = open_source(tmp_path / name)
    np.testing.assert_array_equal(np.squeeze(source.read(Box.of_shape(source.shape[1:]))), VALUES)
    source = open_source(tmp_path / f"damaged_{name}")
    with pytest.raises(SourceError, match=r"at \(2, 32, 0\) inflates to more than the 2048 bytes"):
        source.read(Box.of_shape(source.shape[1:]))


def test_the_memory_is_not_taken(tmp_path):
    code = ("import resource, zlib; from tiler.sources.inflate import inflate\n"
            f"data = open({str(tmp_path / 'bomb')!r}, 'rb').read()\n"
            "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
            "try: inflate('zlib', data, 10_000)\n"
            "except OSError: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)")
    (tmp_path / "bomb").write_bytes(zlib.compress(bytes(400_000_000)))
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) * resource.getpagesize() // resource.getpagesize() < 50_000


@pytest.mark.parametrize("size", [2**31, 2**70, 10**400])
def test_shapes_that_no_file_can_hold_are_refused(size, tmp_path):
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr/.zarray").write_text(
        f'{{"zarr_format": 2, "shape": [{size}, {size}, {size}], "chunks": [1, 8, 8], "dtype": "|u1", '
        '"compressor": null, "fill_value": 0, "order": "C", "filters": null}')
    (tmp_path / "a.zarr/0.0.0").write_bytes(bytes(64))
    with pytest.raises(SourceError, match=r"more voxels than any file can hold|not a readable zarr") as refusal:
        open_source(tmp_path / "a.zarr")
    assert len(str(refusal.value)) < 500
