"""Outputs of tiler, opened by ome-zarr-py and napari-ome-zarr.

They need an aiobotocore that is bound to an older botocore than the S3 server of the other tests, so the test extra
leaves them out; in an environment of their own (see test_napari_widget.py): pip install ome-zarr napari-ome-zarr
"""

from __future__ import annotations

import numpy as np
import pytest

from tiler.geometry import Box
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import open_sink

pytestmark = pytest.mark.filterwarnings("default")
SHAPE, SCALE, OFFSET = (2, 600, 520), (50.0, 4.0, 4.0), (100.0, 8.0, 16.0)


@pytest.fixture(params=["0.5", "0.4"])
def write(request, tmp_path):
    """An output of two levels, of a region of a volume."""

    def make(kind, dtype, place=None):
        calibration = Calibration(("z", "y", "x"), SHAPE, SCALE, ("nanometer",) * 3, OFFSET)
        spec = OutputSpec(shape=(1, *SHAPE), dtype=np.dtype(dtype), calibration=calibration, classes=("cell",),
                          channel_axis=False, block=SHAPE, chunk=(1, 300, 260), kind=kind, ngff=request.param)
        values = np.random.default_rng(0).integers(0, 2, (1, *SHAPE)).astype(dtype)
        sink = open_sink(tmp_path / (place or f"{kind}.zarr"), spec)
        sink.create()
        sink.write(Box.of_shape(SHAPE), values)
        sink.finish({})
        return sink.name, values[0]

    return make


@pytest.mark.parametrize(("kind", "dtype"), [
    ("probabilities", "float32"), ("labels", "uint8"), ("instances", "uint32")])
def test_ome_zarr_py_reads_voxels_levels_axes_and_scale(write, kind, dtype):
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is not installed (pip install ome-zarr)")
    from ome_zarr.io import parse_url

    path, values = write(kind, dtype)
    (image,) = reader.Reader(parse_url(path))()
    assert [level.shape for level in image.data] == [SHAPE, (2, 300, 260)]
    np.testing.assert_array_equal(np.asarray(image.data[0]), values)
    assert [(axis["name"], axis["unit"]) for axis in image.metadata["axes"]] == [(axis, "nanometer") for axis in "zyx"]
    scale, translation = image.metadata["coordinateTransformations"][0]
    assert (tuple(scale["scale"]), tuple(translation["translation"])) == (SCALE, OFFSET)


@pytest.mark.parametrize(("kind", "dtype", "shown"), [
    ("probabilities", "float32", "image"), ("labels", "uint8", "labels"), ("instances", "uint32", "labels")])
def test_napari_ome_zarr_makes_a_layer_of_the_right_type(write, kind, dtype, shown):
    plugin = pytest.importorskip("napari_ome_zarr._reader", reason="napari-ome-zarr is not installed")
    path, values = write(kind, dtype)
    (layer,) = plugin.napari_get_reader(path)(path)
    data, look, found = layer
    assert found == shown
    np.testing.assert_array_equal(np.asarray(data[0]), values)
    assert tuple(look["scale"]) == SCALE  # of the transformations of 0.4 and 0.5, 0.10 of the plugin takes the first


def test_both_find_the_labels_of_an_image(write):
    reader = pytest.importorskip("ome_zarr.reader", reason="ome-zarr is not installed (pip install ome-zarr)")
    plugin = pytest.importorskip("napari_ome_zarr._reader", reason="napari-ome-zarr is not installed")
    from ome_zarr.io import parse_url

    path, grey = write("probabilities", "float32", "image.zarr")
    _, values = write("instances", "uint32", "image.zarr/labels/cells")
    found = [node.data for node in reader.Reader(parse_url(path))() if node.data]  # the group of labels has none
    assert [[level.shape for level in data] for data in found] == 2 * [[SHAPE, (2, 300, 260)]]
    for data, expected in zip(found, (grey, values), strict=True):
        np.testing.assert_array_equal(np.asarray(data[0]), expected)
    layers = plugin.napari_get_reader(path)(path)
    assert [kind for *_, kind in layers] == ["image", "labels"]
    np.testing.assert_array_equal(np.asarray(layers[1][0][0]), values)
    assert tuple(layers[1][1]["scale"]) == SCALE
