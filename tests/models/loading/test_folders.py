"""Folders of nnU-Net, of segmentation_models_pytorch and of MONAI, with stand-ins for these libraries."""

from __future__ import annotations

import importlib
import json
import os
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

import tiler
from tiler.errors import ModelError
from tiler.models import load_model
from tiler.models.loading.folders.monai_processing import processing_of
from tiler.models.loading.folders.nnunet_scaling import scaling_of
from tiler.models.loading.processing_steps import Measured
from tiler.models.loading.weights import Normalisation

GREY = np.random.default_rng(0).integers(0, 255, (40, 44), dtype=np.uint8)
CPU = {"device": "cpu", "threads": 1, "classes": "all"}


class PlainConvUNet(nn.Module):
    """As little of nnU-Net's network as takes its arguments."""

    def __init__(self, input_channels, n_stages, features_per_stage, conv_op, kernel_sizes, num_classes, norm_op=None,
                 deep_supervision=True, **rest):
        super().__init__()
        assert not deep_supervision
        width, size = features_per_stage[0], kernel_sizes[0]
        self.body = conv_op(input_channels, width, size, padding=[side // 2 for side in size])
        self.head = conv_op(width, num_classes, 1)

    def forward(self, x):
        return self.head(self.body(x).relu())


class Unet(nn.Module):
    """As little of those of the other libraries."""

    def __init__(self, in_channels=1, classes=2, out_channels=None, encoder_weights="imagenet", channels=(3,), **rest):
        super().__init__()
        assert encoder_weights is None or rest.get("spatial_dims"), "the internet would be asked for weights"
        assert isinstance(channels, (tuple, list))
        self.out = nn.Conv2d(in_channels, out_channels or classes, 3, padding=1)

    def forward(self, x):
        return self.out(x)


@pytest.fixture(autouse=True)
def libraries(monkeypatch):
    for name, network in (("dynamic_network_architectures.architectures.unet", PlainConvUNet),
                          ("segmentation_models_pytorch", Unet), ("monai.networks.nets", Unet)):
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            monkeypatch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        setattr(sys.modules[name], network.__name__, network)


def arguments(ndim=2):
    return {"n_stages": 1, "features_per_stage": [4], "conv_op": f"torch.nn.modules.conv.Conv{ndim}d",
            "kernel_sizes": [[3] * ndim], "strides": [[1] * ndim], "n_conv_per_stage": [1],
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{ndim}d", "nonlin": "torch.nn.LeakyReLU"}


NEW = {"architecture": {"network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                        "arch_kwargs": arguments(), "_kw_requires_import": ["conv_op", "norm_op", "nonlin"]},
       "normalization_schemes": ["NoNormalization"], "spacing": [1.0, 1.0], "use_mask_for_norm": [False]}
OLD = {"UNet_class_name": "PlainConvUNet", "UNet_base_num_features": 4, "unet_max_num_features": 8,
       "n_conv_per_stage_encoder": [1], "n_conv_per_stage_decoder": [], "conv_kernel_sizes": [[3, 3]],
       "pool_op_kernel_sizes": [[1, 1]], "normalization_schemes": ["NoNormalization"], "spacing": [1.0, 1.0]}


def network(seed):
    torch.manual_seed(seed)
    return PlainConvUNet(1, 1, [4], nn.Conv2d, [[3, 3]], 2, deep_supervision=False).eval()


def nnunet(folder, configuration=NEW, folds=(0,), labels=None, plans=None, name="nnUNetTrainer__nnUNetPlans__2d"):
    """A results folder, with networks whose seeds are the numbers of their folds."""
    path = folder / name
    path.mkdir()
    (path / "dataset.json").write_text(json.dumps(
        {"channel_names": {"0": "EM"}, "labels": labels or {"background": 0, "cell": 1}}))
    (path / "plans.json").write_text(json.dumps(
        {"configurations": {"2d": configuration, "3d_fullres": {}}, "transpose_forward": [0, 1, 2], **(plans or {})}))
    for fold in folds:
        (path / f"fold_{fold}").mkdir()
        state = network(9 if fold == "all" else fold).state_dict()
        torch.save({"network_weights": state, "init_args": {"configuration": "2d"},
                    "logging": {"mean_fg_dice": [np.float64(0.5)]}}, path / f"fold_{fold}" / "checkpoint_final.pth")
    return path


@pytest.mark.parametrize("configuration", [NEW, OLD], ids=["2.4", "2.0"])
def test_a_folder_of_nnunet_gives_what_its_network_gives(configuration, tmp_path, caplog):
    path = nnunet(tmp_path, configuration, folds=(3,))
    found = np.asarray(tiler.segment(GREY, str(path), **CPU))
    with torch.no_grad():
        expected = network(3)(torch.from_numpy(GREY[None, None]).float()).softmax(1)[0].numpy()
    assert np.abs(found - expected).max() < 1e-5
    loaded = load_model(path)
    assert (loaded.classes, loaded.head, loaded.in_channels, loaded.ndim) == (("background", "cell"), "softmax", 1, 2)
    assert pickle.loads(pickle.dumps(loaded)).identity == loaded.identity
    assert "not resampled to its spacing of 1 x 1" in caplog.text


def test_several_folds_are_averaged_before_the_head_as_nnunet_does(tmp_path):
    path = nnunet(tmp_path, folds=(0, 1, "all"))
    found = np.asarray(tiler.segment(GREY, path, **CPU))
    x = torch.from_numpy(GREY[None, None]).float()
    with torch.no_grad():
        expected = ((network(0)(x) + network(1)(x)) / 2).softmax(1)[0].numpy()
        alone = network(1)(x).softmax(1)[0].numpy()
    assert np.abs(found - expected).max() < 1e-5
    assert np.abs(np.asarray(tiler.segment(GREY, path, weights="fold_1", **CPU)) - alone).max() < 1e-5
    with pytest.raises(ModelError, match=r"no fold_4: it has fold_0, fold_1, fold_all.*weights="):
        load_model(path, "fold_4")


def test_regions_that_overlap_are_sigmoids(tmp_path):
    path = nnunet(tmp_path, labels={"background": 0, "whole": [1, 2], "core": [2], "ignore": 3})
    loaded = load_model(path)
    assert (loaded.classes, loaded.head) == (("whole", "core"), "sigmoid")
    with pytest.raises(ModelError, match="exclude each other"):
        tiler.plan(GREY, path, kind="labels")


OTHER = {"network_class_name": "mine.Net", "arch_kwargs": arguments(), "_kw_requires_import": []}
RUNS = {**OTHER, "network_class_name": NEW["architecture"]["network_class_name"],
        "arch_kwargs": {**arguments(), "conv_op": "os.system"}, "_kw_requires_import": ["conv_op"]}


@pytest.mark.parametrize(("given", "words"), [
    ({"plans": {"transpose_forward": [1, 0, 2]}}, r"axes in the order \[1, 0, 2\].*transpose the images"),
    ({"configuration": {**NEW, "previous_stage": "3d_lowres"}}, "second network of a cascade"),
    ({"configuration": {**NEW, "architecture": OTHER}}, "mine.Net, which is not part of dynamic_network_architectures"),
    ({"configuration": {**NEW, "architecture": RUNS}}, "os.system, which is not part of torch"),
    ({"configuration": {**NEW, "normalization_schemes": ["ZScoreNormalization", "CTNormalization"]}}, "different ways"),
    ({"folds": ()}, "no fold_N/checkpoint_final.pth"), ({"name": "renamed"}, "the name of one ends in __ and 2d"),
])
def test_what_tiler_does_not_do_is_refused_in_one_line(given, words, tmp_path):
    with pytest.raises(ModelError, match=words) as refused:
        load_model(nnunet(tmp_path, **given))
    assert "\n" not in str(refused.value)


def test_a_missing_library_is_named_with_its_command(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures.unet", None)
    with pytest.raises(ModelError, match=r"needs the package .*: pip install 'em-tiler\[nnunet\]'"):
        load_model(nnunet(tmp_path))


CT = {"mean": 100.0, "std": 50.0, "percentile_00_5": 0.0, "percentile_99_5": 200.0}


def test_normalisations_of_nnunet():
    found = {name: scaling_of({"normalization_schemes": [name]}, {"foreground_intensity_properties_per_channel":
                                                                  {"0": CT}}, 1, "folder")
             for name in ("CTNormalization", "ZScoreNormalization", "RGBTo01Normalization", "NoNormalization")}
    ct = found["CTNormalization"]
    assert ct.normalisation == Normalisation(1.0, (100.0,), (50.0,))
    x = torch.tensor([-50.0, 100.0, 300.0])
    assert ct.steps[0].module()((x - 100) / 50).tolist() == ((x.clamp(0, 200) - 100) / 50).tolist()
    assert found["ZScoreNormalization"].measured == Measured(None, (0.0,), each_input=False)
    assert found["RGBTo01Normalization"].normalisation == Normalisation(255.0, (0.0,), (1.0,))
    assert found["NoNormalization"].normalisation is None
    with pytest.raises(ModelError, match="normalises by Mine"):
        scaling_of({"normalization_schemes": ["Mine"]}, {}, 1, "folder")


def test_a_saved_network_of_smp(tmp_path):
    path = tmp_path / "saved"
    path.mkdir()
    torch.manual_seed(2)
    module = Unet(encoder_weights=None).eval()
    (path / "config.json").write_text(json.dumps({"_model_class": "Unet", "in_channels": 1, "classes": 2,
                                                  "encoder_weights": "imagenet", "channels": [3]}))
    torch.save(module.state_dict(), path / "pytorch_model.bin")
    np.testing.assert_array_equal(np.asarray(tiler.segment(GREY, path, **CPU)),
                                  np.asarray(tiler.segment(GREY, module, **CPU)))
    (path / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"neither model\.safetensors nor pytorch_model\.bin"):
        load_model(path)


def bundle(folder, definition=None, preprocessing=()):
    (folder / "configs").mkdir()
    (folder / "models").mkdir()
    network_def = definition or {"_target_": "Unet", "spatial_dims": 2, "in_channels": "@channels", "out_channels": 2}
    (folder / "configs" / "inference.json").write_text(json.dumps({
        "channels": 1, "network_def": network_def,
        "preprocessing": {"_target_": "Compose", "transforms": list(preprocessing)},
        "postprocessing": {"transforms": [{"_target_": "Activationsd", "keys": "pred", "softmax": True}]}}))
    (folder / "configs" / "metadata.json").write_text(json.dumps(
        {"network_data_format": {"outputs": {"pred": {"channel_def": {"0": "background", "1": "cell"}}}}}))
    torch.manual_seed(1)
    module = Unet(encoder_weights=None).eval()
    torch.save(module.state_dict(), folder / "models" / "model.pt")
    return module


def test_a_bundle_of_monai(tmp_path, caplog):
    module = bundle(tmp_path, preprocessing=[
        {"_target_": "LoadImaged"}, {"_target_": "ScaleIntensityRanged", "a_min": 0, "a_max": 255, "b_min": 0.0,
                                     "b_max": 1.0, "clip": True}, {"_target_": "Spacingd"}])
    found = np.asarray(tiler.segment(GREY, tmp_path, **CPU))
    with torch.no_grad():
        expected = module(torch.from_numpy(GREY[None, None]).float() / 255).softmax(1)[0].numpy()
    assert np.abs(found - expected).max() < 1e-5
    assert load_model(tmp_path).classes == ("background", "cell")
    assert "asks for Spacingd before its network, which tiler does not do" in caplog.text


@pytest.mark.parametrize(("definition", "words"), [
    ("$import os; os.system('touch ran')", "describes its network by code"),
    ({"_target_": "scripts.net.Net"}, "not one of monai.networks.nets"),
    ({"_target_": "Unet", "in_channels": "$1 + 1"}, "expression '.1 . 1', and tiler runs no code"),
    ({"_target_": "Unet", "in_channels": "@nowhere"}, "refers to 'nowhere'"),
])
def test_no_code_of_a_bundle_runs(definition, words, tmp_path, monkeypatch):
    bundle(tmp_path, definition)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=words):
        load_model(tmp_path)
    assert not os.path.exists("ran")


def test_scalings_of_monai():
    def of(*transforms):
        return processing_of({"preprocessing": {"transforms": transforms}}, "bundle")

    assert of({"_target_": "NormalizeIntensityd", "channel_wise": True}).measured == Measured(
        None, (0.0,), joint=False, each_input=False)
    assert of({"_target_": "NormalizeIntensityd", "nonzero": True}).measured is None
    assert of({"_target_": "ScaleIntensityRange", "a_min": 10, "a_max": 30, "b_min": -1, "b_max": 1}
              ).normalisation == Normalisation(1.0, (20.0,), (10.0,))


def test_a_folder_is_remembered_by_its_absolute_path(tmp_path, monkeypatch):
    describe_model = importlib.import_module("tiler.opening").describe_model
    path = nnunet(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert describe_model(path.name) == str(path)
