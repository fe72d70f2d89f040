"""The exact integer network and a real one do what every predictor must."""

from __future__ import annotations

from functools import cache

import torch

from tiler.models import PredictorOptions, UNet, open_predictor
from tiler.testing.predictors import PoolingAxis, PoolingNet, PredictorConformance


class TestPoolingNetOfSlices(PredictorConformance):
    def predictor(self):
        return PoolingNet(classes=("a", "b"))


class TestPoolingNetOfVolumes(PredictorConformance):
    def predictor(self):
        return PoolingNet((PoolingAxis(stride=2), PoolingAxis(), PoolingAxis(before=2)), "same")


class TestTorchPredictor(PredictorConformance):
    @staticmethod
    @cache
    def predictor():
        torch.manual_seed(0)
        return open_predictor(UNet(base=2, depth=2), options=PredictorOptions(head="softmax", normalise="125,45"))
