"""Imaris files as the format's description has them: padded datasets, sizes and extents as letters."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source

VALUES = np.random.default_rng(2).integers(0, 900, (2, 3, 5, 7, 11)).astype("uint16")
EXTENTS = {"ExtMin0": "3", "ExtMax0": "5.2", "ExtMin1": "0", "ExtMax1": "1.4", "ExtMin2": "10", "ExtMax2": "12.5",
           "Unit": "um"}


def letters(text):
    return np.array(list(text), "S1")


def written(path, extents=EXTENTS, sizes=VALUES.shape[2:]):
    with h5py.File(path, "w") as file:
        about = file.create_group("DataSetInfo/Image")
        for name, value in extents.items():
            about.attrs[name] = letters(value)
        for channel in range(3):
            file.create_group(f"DataSetInfo/Channel {channel}").attrs["Name"] = letters(f"dye {channel}")
        for time, channel in np.ndindex(2, 3):
            group = file.create_group(f"DataSet/ResolutionLevel 0/TimePoint {time}/Channel {channel}")
            padded = np.pad(VALUES[time, channel], [(0, 3), (0, 1), (0, 5)])
            group.create_dataset("Data", data=padded, chunks=(4, 4, 8), compression="gzip")
            for axis, size in zip("ZYX", sizes, strict=True):
                group.attrs[f"ImageSize{axis}"] = letters(str(size))
    return path


def test_all_time_points_and_channels_without_the_padding(tmp_path):
    source = open_source(written(tmp_path / "cells.ims"))
    assert source.shape == (3, 10, 7, 11)
    assert source.channels == ("dye 0", "dye 1", "dye 2")
    found = source.read(Box.between((3, 1, 2), (8, 6, 9)))
    np.testing.assert_array_equal(found, VALUES.transpose(1, 0, 2, 3, 4).reshape(3, 10, 7, 11)[:, 3:8, 1:6, 2:9])


def test_voxel_size_and_offset_come_from_the_extents(tmp_path):
    found = open_source(written(tmp_path / "cells.ims"), time=0, channel=1).calibration
    place = found.axes.index("z")
    np.testing.assert_allclose(found.scale[place:], (0.5, 0.2, 0.2))
    np.testing.assert_allclose(found.offset[place:], (10, 0, 3))
    assert found.units[place:] == ("micrometer",) * 3


@pytest.mark.parametrize("extents", [{}, {**EXTENTS, "ExtMax0": "wide"}, {**EXTENTS, "ExtMax0": "3"}])
def test_extents_that_make_no_sense_cost_no_voxel(tmp_path, extents):
    source = open_source(written(tmp_path / "cells.ims", extents))
    assert set(source.calibration.scale) == {1.0}
    assert source.read(Box.of_shape(source.shape[1:])).shape == source.shape


def test_a_missing_channel_and_sizes_beyond_the_data_are_refused(tmp_path):
    path = written(tmp_path / "cells.ims")
    with h5py.File(path, "r+") as file:
        del file["DataSet/ResolutionLevel 0/TimePoint 1/Channel 2"]
    with pytest.raises(SourceError, match=r'TimePoint 1/Channel 2.*missing="zero"'):
        open_source(path)
    source = open_source(path, missing="zero", time=1)
    found = source.read(Box.of_shape(source.shape[1:]))
    assert source.identity["missing"]
    assert not found[2].any()
    np.testing.assert_array_equal(found[:2], VALUES[1, :2])
    with pytest.raises(SourceError, match="promises sections"):
        open_source(written(tmp_path / "large.ims", sizes=(50, 7, 11)))


def test_other_hdf5_is_no_imaris_file(tmp_path):
    with h5py.File(tmp_path / "other.ims", "w") as file:
        file["raw"] = VALUES
    with pytest.raises(SourceError, match="not an Imaris file"):
        open_source(tmp_path / "other.ims")
