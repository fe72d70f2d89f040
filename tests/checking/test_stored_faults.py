"""`check` finds any one fault of a finished output, in every format, and says where it is."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tifffile
import zarr
from standins import LabelNet

import tiler
from tiler.errors import TilerError
from tiler.geometry import Box
from tiler.testing.predictors import PoolingNet

VOLUME = np.random.default_rng(0).integers(1, 250, (1, 530, 540), dtype=np.uint8)
FORMATS = ("out.zarr", "old.zarr", "out.tif", "out.npy", "out.mrc", "out.h5", "out.ome.tif", "out.n5",
           "out.precomputed", "image.zarr/labels/cells")
SEEDS = 6
"""Faults of each format in every run of the tests; the slow test tries ten times as many."""


class FloatNet(PoolingNet):
    """Values in a type that all formats hold."""

    @property
    def dtype(self):
        return np.dtype(np.float32)

    def __call__(self, batch):
        return super().__call__(batch).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture(scope="module")
def outputs(folder):
    """One output of each format, all but single files with a coarser level."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tiler.sinks.ome_tiff.LARGE_PLANE", 512)
        source = folder / "stack.tif"
        tifffile.imwrite(source, VOLUME, photometric="minisblack")
        tiler.segment(source, FloatNet(), folder / "image.zarr", block="1x256x256")
        for name in FORMATS:
            net, kind = (LabelNet(), "labels") if "labels" in name else (FloatNet(), "probabilities")
            options = {"ngff": "0.4"} if name == "old.zarr" else {}
            tiler.segment(source, net, folder / name, kind=kind, block="1x256x256", **options)
        yield


@pytest.fixture
def check(monkeypatch):
    monkeypatch.setattr("tiler.sinks.ome_tiff.LARGE_PLANE", 512)

    def run(output):
        return tiler.check(output, model=LabelNet() if "labels" in output.parts else FloatNet(), windows=0)

    return run


def files_of(output):
    sidecar = output.with_name(f"{output.name}.tiler.json")
    inside = sorted(path for path in output.rglob("*") if path.is_file()) if output.is_dir() else [output]
    return [*inside, *([sidecar] if sidecar.exists() else [])]


def damage(file, random):
    """One fault, and what it is."""
    content = bytearray(file.read_bytes())
    how = random.choice(["cut", "delete", "zero", "flip", "empty"])
    if how == "delete":
        file.unlink()
        return how
    if how == "flip":
        place = random.integers(len(content))
        content[place] ^= 1 << int(random.integers(8))
    file.write_bytes({"cut": content[:-1 - int(random.integers(len(content)))], "zero": bytes(len(content)),
                      "flip": content, "empty": b""}[how])
    return how


@pytest.mark.usefixtures("outputs")
@pytest.mark.parametrize("name", FORMATS)
def test_one_fault_is_found_and_named(folder, tmp_path, name, check):
    output = folder / name
    assert check(output).sound
    find_faults(output, np.random.default_rng(len(name)), SEEDS, tmp_path / "kept", check)


def is_chunk(file):
    return file.suffix == "" and not file.name.startswith(".z")


def voxels_of(output):
    """All levels of a zarr, level 0 of other formats; None where it cannot be read."""
    try:
        if ".zarr" not in str(output):
            source = tiler.open_volume(output)
            return source.read(Box.of_shape(source.shape[1:])).ravel()
        arrays = [array[...].ravel() for _, array in sorted(zarr.open_group(output, mode="r").arrays())]
        return np.concatenate(arrays)
    except Exception:
        return None


def find_faults(output, random, count, kept, check):
    """Make faults one by one; each is found, and its block, level or file is named."""
    sound = voxels_of(output)
    for _ in range(count):
        file = files_of(output)[random.integers(len(files_of(output)))]
        shutil.copy2(file, kept)
        how = damage(file, random)
        if how == "flip" and is_chunk(file) and np.array_equal(voxels_of(output), sound):
            shutil.copy2(kept, file)  # compressed data have bits that mean nothing
            continue
        try:
            report = check(output)
        except TilerError as error:
            said = str(error)
            assert "\n" not in said
        else:
            assert not report.sound, f"{how} of {file}"
            said = " ".join([*report.damaged, *report.faults])
        named = ("block", "level", "list of chunks", file.name, output.name)
        assert any(name in said for name in named), f"{how} of {file}: {said}"
        shutil.copy2(kept, file)
    assert check(output).sound


@pytest.mark.slow
@pytest.mark.usefixtures("outputs")
@pytest.mark.parametrize("name", FORMATS)
def test_many_faults_are_found_and_named(folder, tmp_path, name, check):
    find_faults(folder / name, np.random.default_rng([len(name), 1]), 10 * SEEDS, tmp_path / "kept", check)


@pytest.mark.usefixtures("outputs")
@pytest.mark.parametrize("name", ["out.zarr", "old.zarr", "image.zarr/labels/cells"])
def test_a_level_that_is_missing_or_wrong_is_named(folder, tmp_path, name, check):
    level = folder / name / "1"
    shutil.copytree(level, tmp_path / "level")
    shutil.rmtree(level)
    assert "level 1 is missing" in check(folder / name).faults
    shutil.copytree(tmp_path / "level", level)
    chunk = next(path for path in sorted(level.rglob("*")) if path.is_file() and not path.name.startswith((".", "z")))
    chunk.unlink()
    assert any(fault.startswith("level 1 at [") and fault.endswith("is not what level 0 gives")
               for fault in check(folder / name).faults)
    shutil.rmtree(level)
    shutil.copytree(tmp_path / "level", level)
    assert check(folder / name).sound


def test_size_and_values_are_said(tmp_path):
    class Endless(FloatNet):
        """Divides by zero here and there."""

        def __call__(self, batch):
            values = super().__call__(batch)
            values[..., ::7] = np.inf
            return values

    source, output = tmp_path / "stack.tif", tmp_path / "out.npy"
    tifffile.imwrite(source, VOLUME[:, :50, :50], photometric="minisblack")
    tiler.segment(source, Endless(), output)
    report, stored = tiler.check(output, model=Endless(), windows=0), np.load(output)
    finite = stored[np.isfinite(stored)]
    assert report.shape == (1, 50, 50)
    assert report.not_finite == stored.size - finite.size > 0
    assert (report.low, report.high) == (finite.min(), finite.max())
