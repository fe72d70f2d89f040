"""The bundled sample agrees with its README and with the script that makes it."""

import hashlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from scipy import ndimage

FOLDER = Path(__file__).parents[1] / "data_samples"
CHECKED_SECTIONS = (0, 5)
# Another version of numpy or scipy may round a sum the other way; a different picture differs everywhere.
DIFFERENT_SHARE = 1e-3
DIFFERENT_GREY = 2


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(FOLDER))
    try:
        import make_sstem

        yield make_sstem
    finally:
        sys.path.remove(str(FOLDER))


@pytest.fixture(scope="module")
def shipped(script):
    return {name: tifffile.imread(FOLDER / file) for name, file in script.FILES.items()}


@pytest.fixture(scope="module")
def made(script):
    specimen = script.Specimen(script.SEED, script.SECTIONS, script.SIDE)
    return script.stacks([specimen.section(index) for index in CHECKED_SECTIONS])


@pytest.mark.parametrize("name", ["image", "labels", "instances"])
def test_the_script_makes_what_is_shipped(shipped, made, name):
    expected = shipped[name][list(CHECKED_SECTIONS)]
    assert made[name].dtype == expected.dtype
    differs = made[name] != expected
    assert differs.mean() <= DIFFERENT_SHARE
    if name == "image":
        assert np.abs(made[name].astype(int) - expected).max() <= DIFFERENT_GREY


def test_another_seed_makes_another_picture(script, shipped):
    other = script.Specimen(script.SEED + 1, 1, 128).section(0)
    assert (other.image != shipped["image"][0, :128, :128]).mean() > 0.9


@pytest.mark.parametrize("name", ["image", "labels", "instances"])
def test_readme_states_the_checksums(script, shipped, name):
    file = script.FILES[name]
    pattern = rf"\| `{re.escape(file)}` \| `([0-9a-f]{{64}})` \| `([0-9a-f]{{64}})` \|"
    values, whole = re.search(pattern, (FOLDER / "README.md").read_text(encoding="utf-8")).groups()
    assert script.pixels_sha256(shipped[name]) == values
    assert hashlib.sha256((FOLDER / file).read_bytes()).hexdigest() == whole


@pytest.mark.parametrize(("name", "dtype"), [("image", np.uint8), ("labels", np.uint8), ("instances", np.uint16)])
def test_files_are_small_deflated_stacks_with_a_voxel_size(script, name, dtype):
    path = FOLDER / script.FILES[name]
    with tifffile.TiffFile(path) as tif:
        series, page = tif.series[0], tif.pages[0]
        assert (series.shape, series.axes, series.dtype) == ((8, 512, 512), "ZYX", dtype)
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert (tif.imagej_metadata["spacing"], tif.imagej_metadata["unit"]) == (50.0, "nm")
        assert page.tags["XResolution"].value == page.tags["YResolution"].value == (1, 4)


def test_the_whole_sample_is_under_three_megabytes():
    assert sum(path.stat().st_size for path in FOLDER.glob("*.tif")) < 3e6


def test_grey_values_resemble_the_challenge(shipped):
    assert shipped["image"].mean() == pytest.approx(126, abs=3)
    assert shipped["image"].std() == pytest.approx(44, abs=3)


def test_labels_and_instances_say_the_same(shipped):
    assert set(np.unique(shipped["labels"])) == {0, 255}
    np.testing.assert_array_equal(shipped["labels"] == 255, shipped["instances"] > 0)
    assert (shipped["labels"] == 0).mean() == pytest.approx(0.22, abs=0.02)


def test_membranes_are_dark_and_part_the_neurites(shipped):
    cell = shipped["labels"] > 0
    assert shipped["image"][cell].mean() - shipped["image"][~cell].mean() > 40
    for plane in shipped["instances"]:
        profiles, count = ndimage.label(plane > 0)
        every = range(1, count + 1)
        lowest, highest = ndimage.minimum(plane, profiles, every), ndimage.maximum(plane, profiles, every)
        np.testing.assert_array_equal(lowest, highest)


def test_neurites_go_on_from_section_to_section(shipped):
    for above, below in zip(shipped["instances"][:-1], shipped["instances"][1:], strict=True):
        both = (above > 0) & (below > 0)
        assert (above == below)[both].mean() > 0.75
        assert len(np.intersect1d(above, below)) > 0.85 * len(np.unique(above))
