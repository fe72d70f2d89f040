"""ImageJ itself opens what is written for it: dimensions, voxel size, display range and values, and ROIs.

Skipped where ImageJ (Debian's package ``imagej``) or a JDK is absent.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

import tiler

JAR = Path("/usr/share/java/ij.jar")
LOOK = """
import ij.*; import ij.measure.*;
public class Look {
  public static void main(String[] paths) {
    for (String path : paths) {
      ImagePlus image = IJ.openImage(path);
      Calibration c = image.getCalibration();
      image.setSlice(image.getStackSize());
      System.out.println(image.getWidth() + " " + image.getHeight() + " " + image.getNChannels() + " "
        + image.getNSlices() + " " + image.getNFrames() + " " + image.getBitDepth() + " " + c.pixelWidth + " "
        + c.pixelDepth + " " + c.getUnit() + " " + image.getDisplayRangeMin() + " " + image.getDisplayRangeMax() + " "
        + image.getProcessor().getStatistics().mean);
    }
  }
}
"""
VOLUME = np.random.default_rng(3).integers(0, 255, (3, 40, 44), dtype=np.uint8)

pytestmark = [pytest.mark.slow,  # a JVM and a network
              pytest.mark.skipif(not JAR.exists() or shutil.which("javac") is None, reason="there is no ImageJ or JDK")]


class Two(torch.nn.Module):
    """Two classes by their scores."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.last = torch.nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x):
        return self.last(x)


def looked_at(folder, paths):
    """A line of words for each image, as ImageJ sees it; the mean is that of the last section."""
    (folder / "Look.java").write_text(LOOK)
    run = ["java", "-Djava.awt.headless=true", "-cp", str(JAR), str(folder / "Look.java"), *map(str, paths)]
    done = subprocess.run(run, capture_output=True, text=True, check=True, timeout=120)
    return [line.split() for line in done.stdout.splitlines()]


def test_imagej_opens_every_kind_of_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "in.tif", VOLUME, imagej=True, resolution=(100, 100),
                     metadata={"axes": "ZYX", "unit": "um", "spacing": 0.05})
    kinds = {"mask": {"kind": "mask"}, "labels": {"kind": "labels"}, "probabilities": {"kind": "probabilities"},
             "cells": {"kind": "instances", "dtype": "uint16"}}
    paths, means = [], []
    for name, options in kinds.items():
        paths.append(tmp_path / f"{name}.tif")
        tiler.segment(tmp_path / "in.tif", Two(), paths[-1], head="softmax", normalise="volume", **options)
        means.append(tifffile.imread(paths[-1])[-1].mean())
    found = looked_at(tmp_path, paths)
    assert [line[:6] for line in found] == [["44", "40", "1", "3", "1", bits] for bits in ("8", "8", "32", "16")]
    for line, mean in zip(found, means, strict=True):
        assert (float(line[6]), float(line[7]), line[8]) == (pytest.approx(0.01), pytest.approx(0.05), "micron")
        assert float(line[11]) == pytest.approx(mean, rel=1e-4)
    assert [float(bound) for bound in found[0][9:11]] == [0, 255]
    assert [float(bound) for bound in found[1][9:11]] == [0, 1]
