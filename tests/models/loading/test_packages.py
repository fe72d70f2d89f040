"""BioImage.IO packages as models."""

import numpy as np
import pytest
import torch
from package_cases import (
    CODE,
    described,
    older,
    onnx_entry,
    onnx_of,
    script_of,
    sha,
    small,
    state_of,
    with_onnx,
    written,
    zipped,
)
from torch import nn

import tiler
from tiler.errors import ModelError
from tiler.models import load_model
from tiler.models.loading.packages.recipes import Ordered

pytest.importorskip("bioimageio.spec")
IMAGE = np.random.default_rng(3).gamma(2.0, 300.0, (40, 56)).astype(np.uint16)


def step(name, **kwargs):
    return {"id": name, "kwargs": kwargs} if kwargs else {"id": name}


def whole(network, image, before, after):
    """The published meaning: everything on the whole image at once."""
    with torch.no_grad():
        return after(network(torch.from_numpy(before(image.astype(np.float64))).float()[None, None]).numpy())[0, 0]


def standard(x):
    return (x - x.mean()) / (x.std() + 1e-6)


def segmented(package, image=IMAGE, **options):
    return tiler.segment(image, package, **{"tile": "24", "threads": 1, "border": "zero", **options})


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("shape", ["folder", "yaml", "zip"])
def test_a_package_is_run_with_its_processing_from_folder_yaml_and_zip(tmp_path, shape):
    folder = with_onnx(tmp_path / "pack", before=[step("zero_mean_unit_variance", axes=["y", "x"])],
                       after=[step("sigmoid"), step("ensure_dtype", dtype="float32")])
    model = {"folder": folder, "yaml": folder / "bioimageio.yaml", "zip": zipped(folder)}[shape]
    np.testing.assert_allclose(segmented(model), whole(small(), IMAGE, standard, sigmoid), atol=2e-6)


def test_statistics_are_those_of_the_whole_image_whatever_the_region(tmp_path):
    folder = with_onnx(tmp_path / "pack", before=[step("zero_mean_unit_variance", axes=["y", "x"])])
    everything = segmented(folder)
    np.testing.assert_allclose(segmented(folder, roi="0:20,10:50"), everything[:20, 10:50], atol=1e-6)


def test_the_older_format(tmp_path):
    content = onnx_of(small())
    description = older(onnx_entry(content), after=[{"name": "sigmoid"}], before=[
        {"name": "zero_mean_unit_variance", "kwargs": {"mode": "per_sample", "axes": "xy"}}])
    folder = written(tmp_path / "pack", description, {"weights.onnx": content})
    np.testing.assert_allclose(segmented(folder), whole(small(), IMAGE, standard, sigmoid), atol=2e-6)


def between(x):
    low, high = np.percentile(x, [1, 99.8])
    return (x - low) / (high - low + 1e-6)


PROCESSING = {
    "percentiles": ([step("scale_range", axes=["y", "x"], min_percentile=1, max_percentile=99.8)], between, [], None),
    "percentiles, then clip": ([step("scale_range", axes=["y", "x"], min_percentile=1, max_percentile=99.8),
                                step("clip", min=0, max=1)], lambda x: between(x).clip(0, 1), [], None),
    "fixed": ([step("fixed_zero_mean_unit_variance", mean=600.0, std=430.0)],
              lambda x: (x - 600) / (430 + 1e-6), [step("binarize", threshold=0.1)], lambda y: y > 0.1),
    "linear before statistics": ([step("scale_linear", gain=1e-4, offset=-3.0),
                                  step("zero_mean_unit_variance", axes=["y", "x"], eps=1e-2)],
                                 lambda x: (x * 1e-4 - (x * 1e-4).mean()) / ((x * 1e-4).std() + 1e-2), [], None),
    "linear after": ([step("scale_linear", gain=0.001)], lambda x: x * 0.001,
                     [step("scale_linear", gain=2.0, offset=1.0), step("clip", min=0.9, max=1.2)],
                     lambda y: (2 * y + 1).clip(0.9, 1.2)),
    "integers": ([step("scale_linear", gain=0.001)], lambda x: x * 0.001,
                 [step("scale_linear", gain=100.0), step("ensure_dtype", dtype="uint8")],
                 lambda y: np.trunc(np.clip(100 * y, 0, 255))),
}


@pytest.mark.parametrize("name", PROCESSING)
def test_every_step_is_that_of_the_format(tmp_path, name):
    before, then, after, last = PROCESSING[name]
    folder = with_onnx(tmp_path / "pack", before=before, after=after)
    expected = whole(small(), IMAGE, then, last or (lambda y: y)).astype(np.float64)
    found = segmented(folder)
    assert np.ptp(expected) > 0.1
    if name == "integers":  # a value beside an integer may fall on either side
        assert (found != expected).mean() < 0.01
    else:
        np.testing.assert_allclose(found, expected, atol=3e-6)


def test_a_declared_halo_that_is_too_small_is_told(tmp_path, caplog):
    segmented(with_onnx(tmp_path / "pack", halo=1))
    assert "halo of 1 x 1 is enough, its network needs 2 x 2" in caplog.text
    caplog.clear()
    segmented(with_onnx(tmp_path / "wide", halo=2))
    assert "halo of" not in caplog.text


@pytest.mark.parametrize("scaled", [step("zero_mean_unit_variance", axes=["y", "x"]),
                                    step("scale_range", axes=["y", "x"], max_percentile=99.0)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_every_slice_of_a_stack_is_an_input_of_its_own(tmp_path, scaled, dtype):
    folder = with_onnx(tmp_path / "pack", before=[scaled])
    stack = np.stack([IMAGE, IMAGE // 2 + IMAGE[::-1]]).astype(dtype)
    found = segmented(folder, stack)
    for image, slice_ in zip(stack, found, strict=True):
        np.testing.assert_allclose(slice_, segmented(folder, image), atol=2e-6)
    np.testing.assert_allclose(segmented(folder, stack, roi="1:2,0:20,10:50"), found[1:, :20, 10:50], atol=2e-6)


def test_a_stack_scaled_by_slices_is_resumed_and_checked(tmp_path):
    folder = with_onnx(tmp_path / "pack", before=[step("zero_mean_unit_variance", axes=["y", "x"])])
    np.save(tmp_path / "stack.npy", np.stack([IMAGE, IMAGE // 2]))
    options = {"tile": "24", "threads": 1}
    output = tiler.segment(tmp_path / "stack.npy", folder, tmp_path / "out.zarr", **options)
    assert tiler.segment(tmp_path / "stack.npy", folder, output, resume=True, **options) == output
    assert tiler.check(output).sound


def test_statistics_of_all_data_are_those_of_the_stack(tmp_path):
    folder = with_onnx(tmp_path / "pack", before=[step("zero_mean_unit_variance", axes=["y", "x"])])
    stack = np.stack([IMAGE, IMAGE // 2])
    together = with_onnx(tmp_path / "all", before=[step("zero_mean_unit_variance", axes=["batch", "y", "x"])])
    np.testing.assert_array_equal(segmented(together, stack), segmented(folder, stack, normalise="volume"))


def test_a_chosen_scaling_replaces_that_of_the_package(tmp_path):
    folder = with_onnx(tmp_path / "pack", before=[step("zero_mean_unit_variance", axes=["y", "x"])])
    found = segmented(folder, normalise="600,430")
    np.testing.assert_allclose(found, whole(small(), IMAGE, lambda x: (x - 600) / 430, lambda y: y), atol=2e-6)


def test_axes_in_another_order(tmp_path):
    class ChannelsLast(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = small(2, 3)

        def forward(self, x):
            return self.network(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    network = ChannelsLast().eval()
    content = script_of(network, torch.randn(1, 16, 16, 2))
    weights = {"torchscript": {"source": "w.pt", "sha256": sha(content), "pytorch_version": "2.5"}}
    description = described(weights, channels=("a", "b"), out=("p", "q", "r"))
    for tensor in (*description["inputs"], *description["outputs"]):
        tensor["axes"] = [tensor["axes"][at] for at in (0, 2, 3, 1)]
    loaded = load_model(written(tmp_path / "pack", description, {"w.pt": content}), trust=True)
    assert (loaded.in_channels, loaded.ndim, loaded.classes) == (2, 2, ("p", "q", "r"))
    image = torch.randn(1, 2, 20, 24)
    assert torch.allclose(loaded.build()(image), small(2, 3)(image), atol=1e-6)


@pytest.mark.parametrize(("given", "made"), [("yx", "yx"), ("cyx", "yxc"), ("bzyxc", "cbzyx")])
def test_axes_that_are_missing_or_moved(given, made):
    class Own(nn.Module):
        def forward(self, x):
            assert x.ndim == len(given)
            order = [given.index(axis) for axis in made]
            return 2 * x.permute(order)

    image = torch.randn(1, 3 if "c" in given else 1, *([2] if "z" in given else []), 4, 5)
    assert torch.equal(Ordered(Own(), given, made)(image), 2 * image)


def test_a_package_is_found_again_from_another_folder(tmp_path, monkeypatch):
    with_onnx(tmp_path / "pack")
    np.save(tmp_path / "image.npy", IMAGE)
    monkeypatch.chdir(tmp_path)
    tiler.segment("image.npy", "pack", "out.zarr", tile="24", threads=1)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert tiler.check(tmp_path / "out.zarr").sound


def test_values_in_an_architecture_of_the_package_or_of_a_library(tmp_path):
    network, content = small(), state_of(small())
    code = CODE.format(before="").encode()
    own = {"source": "code.py", "sha256": sha(code), "callable": "Small", "kwargs": {"width": 3}}
    library = {"import_from": "tiler.models.zoo.unet", "callable": "UNet", "kwargs": {"base": 2, "depth": 1}}
    entry = {"source": "w.pth", "sha256": sha(content), "pytorch_version": "2.5", "architecture": own}
    folder = written(tmp_path / "pack", described({"pytorch_state_dict": entry}), {"w.pth": content, "code.py": code})
    image = torch.randn(1, 1, 20, 24)
    assert torch.equal(load_model(zipped(folder), trust=True).build()(image), network(image))
    entry["architecture"] = library
    with pytest.raises(ModelError, match=r"w\.pth does not fit UNet of tiler\.models\.zoo\.unet"):
        load_model(written(folder, described({"pytorch_state_dict": entry}), {}), trust=True)


def test_a_format_is_chosen_by_name(tmp_path):
    graph, script = onnx_of(small()), script_of(small())
    weights = onnx_entry(graph) | {"torchscript": {"source": "w.pt", "sha256": sha(script), "pytorch_version": "2.5"}}
    folder = written(tmp_path / "pack", described(weights), {"weights.onnx": graph, "w.pt": script})
    assert load_model(folder).identity["model"] == "small (onnx)"  # nothing that has to be trusted
    assert load_model(folder, trust=True).identity["model"] == "small (torchscript)"
    assert load_model(folder, "onnx", trust=True).identity["model"] == "small (onnx)"
    with pytest.raises(ModelError, match=r"in torchscript, onnx, weights=.keras. is none"):
        load_model(folder, "keras")


REFUSED = {
    "statistics after": ({"after": [step("zero_mean_unit_variance", axes=["y", "x"])]}, "to the whole output"),
    "statistics of clipped values": ({"before": [step("clip", min=0, max=9), step("scale_range", axes=["y", "x"])]},
                                     "after clip"),
    "statistics twice": ({"before": [step("scale_range", axes=["y", "x"]), step("scale_range", axes=["y", "x"])]},
                         "twice"),
    "statistics of rows": ({"before": [step("zero_mean_unit_variance", axes=["x"])]}, "over .'x'. alone"),
    "turned around": ({"before": [step("scale_linear", gain=-1.0), step("scale_range", axes=["y", "x"])]},
                      "turns grey values around"),
    "along space": ({"before": [step("scale_linear", gain=[1.0, 2.0], axis="y")]}, "along y"),
    "reference": ({"before": [step("scale_range", axes=["y", "x"], reference_tensor="raw")]}, "of the tensor raw"),
    "unknown step": ({"after": [step("scale_mean_variance", axes=["y", "x"], reference_tensor="raw")]},
                     "scale_mean_variance, which tiler does not know"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_tiler_cannot_do_is_refused_by_name(tmp_path, name):
    details, says = REFUSED[name]
    with pytest.raises(ModelError, match=says) as caught:
        load_model(with_onnx(tmp_path / "pack", **details))
    assert "\n" not in str(caught.value)


def test_invalid_descriptions_are_one_line(tmp_path):
    folder = with_onnx(tmp_path / "pack")
    for text, says in (("{", "is no YAML"), ("[1]", "describes no model"),
                       ('{"type": "model", "format_version": "0.5.4", "weights": {}}', "is not valid"),
                       (" " * (1 << 20) + "{}", "no description needs")):
        (folder / "bioimageio.yaml").write_text(text)
        with pytest.raises(ModelError, match=says) as caught:
            load_model(folder)
        assert "\n" not in str(caught.value)
    (folder / "bioimageio.yaml").unlink()
    with pytest.raises(ModelError, match=r"is a folder without a network.*bioimageio"):
        load_model(folder)
