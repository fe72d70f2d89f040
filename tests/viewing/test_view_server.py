"""Answers of the viewer's server, and to which requests."""

from __future__ import annotations

import gc
import io
import socket
import zlib
from dataclasses import replace
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest

from tiler.errors import PlanError
from tiler.ports import Calibration
from tiler.viewing.layers import Display, ViewLayer, layers_of
from tiler.viewing.levels import open_levels

server = pytest.importorskip("tiler.viewing.server", reason="neuroglancer is not installed")
PyramidVolume, serving = server.PyramidVolume, server.serving


@pytest.fixture
def layers():
    return layers_of(np.zeros((2, 64, 64), np.uint8), image=True)


def test_nothing_is_answered_without_the_token(layers):
    with serving(layers) as served:
        _answers(served)


def _answers(served):
    root, _, token = served.address.rstrip("/").rpartition("/")
    assert served.address.startswith("http://127.0.0.1:")
    assert len(token) == 40
    with urlopen(served.address) as answer:
        assert answer.status == 200
    volume = next(iter(served.viewer.volume_manager.volumes))
    with urlopen(f"{root[:-2]}/neuroglancer/info/{token}.{volume}") as answer:
        assert answer.status == 200
    with pytest.raises(HTTPError, match="403"):  # those of the user's cloud storage
        urlopen(f"{root[:-2]}/credentials/{token}", data=b"{}")
    with pytest.raises(HTTPError, match="405"):  # it would be made of the whole volume
        urlopen(f"{root[:-2]}/neuroglancer/mesh/{token}.{volume}/1")
    for address in (f"{root}/{'0' * 40}/", f"{root[:-2]}/neuroglancer/info/{'0' * 40}.{volume}", root[:-2]):
        with pytest.raises(HTTPError, match="404"):
            urlopen(address)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # tornado leaves the socket open
def test_a_port_in_use_is_refused_and_the_next_one_is_not(layers):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PlanError, match=rf"cannot listen on port {port}: .*port="), serving(layers, port):
            pass
    gc.collect()
    with serving(layers, port) as served:
        assert served.address.startswith(f"http://127.0.0.1:{port}/v/")


@pytest.mark.parametrize(("scale", "read"), [("1,1,1", 0), ("1,2,2", 1), ("1,4,4", 2), ("2,4,4", 2), ("1,4,1", 0)])
def test_the_coarsest_level_that_holds_a_request_is_read(layers, scale, read):
    arrays = [np.full((2, 64 // step, 64 // step), number, np.uint8) for number, step in enumerate((1, 2, 4))]
    levels = [replace(layers[0].levels[0], array=array, factors=(1, step, step))
              for array, step in zip(arrays, (1, 2, 4), strict=True)]
    volume = PyramidVolume(levels, dimensions=None, volume_type="image")
    data, _ = volume.get_encoded_subvolume("npz", np.zeros(3, int), np.array([1, 8, 8]), scale)
    found = np.load(io.BytesIO(zlib.decompress(data)))
    assert found.shape == (1, 8, 8)
    assert set(found.ravel()) == {read}


@pytest.mark.parametrize(("dtype", "kind", "shown"), [
    ("uint8", "image", "uint8"), ("int16", "image", "int16"), ("float16", "image", "float32"),
    ("float64", "image", "float32"), ("int64", "image", "float32"), ("uint64", "image", "float32"),
    ("uint8", "labels", "uint8"), ("int64", "labels", "uint64"), ("int32", "labels", "uint32"),
])
def test_every_type_is_shown_in_one_that_neuroglancer_knows(dtype, kind, shown):
    values = np.ones((2, 64, 64), dtype)
    (layer,) = layers_of(values, image=True)
    with serving([replace(layer, kind=kind)]) as served:
        volume = next(iter(served.viewer.volume_manager.volumes.values()))
        data, _ = volume.get_encoded_subvolume("npz", np.zeros(3, int), np.array([1, 8, 8]), "1,1,1")
    assert volume.info()["dataType"] == shown == np.load(io.BytesIO(zlib.decompress(data))).dtype


class Endless:
    """A volume that no machine holds."""

    shape, dtype = (40_000, 200_000, 200_000), np.dtype(np.uint8)
    asked = 0

    def __getitem__(self, index):
        size = [part.stop - part.start for part in index]
        type(self).asked += int(np.prod(size))
        return np.ones(size, self.dtype)


def test_a_volume_of_any_size_is_shown_by_reading_what_is_seen():
    with serving(layers_of(Endless(), image=True)) as served:
        volume = next(iter(served.viewer.volume_manager.volumes.values()))
        volume.get_encoded_subvolume("npz", np.zeros(3, int), np.array([1, 64, 64]), "1,8,8")
        assert served.viewer.state.layout.to_json() == "4panel"
    assert Endless.asked == 512 * 512 + 64 * 64 * 8 * 8


def test_axes_are_those_of_the_volume_and_names_are_told_apart():
    movie = np.zeros((3, 2, 16, 16), np.uint8)
    layers = layers_of(movie, image=True, axes="tzyx") + layers_of(movie[0, 0], image=True)
    with serving(layers) as served:
        state = served.viewer.state
    assert state.dimensions.names == ("x", "y", "z", "t")
    assert [layer.name for layer in state.layers] == ["array", "array (2)"]
    np.testing.assert_allclose(state.position, [8, 8, 0.5, 0.5])


def test_offsets_are_voxels_of_the_viewer():
    """A result of 8 nm voxels at 80 nm in an image of 4 nm voxels."""
    array = open_levels(np.zeros((16, 16)), 0)
    fine, coarse = (Calibration(("y", "x"), (16, 16), (scale,) * 2, ("nanometer",) * 2, (offset,) * 2)
                    for scale, offset in ((4.0, 0.0), (8.0, 82.0)))
    image, result = ViewLayer("a", Display.IMAGE, array, fine), ViewLayer("b", Display.IMAGE, array, coarse)
    with serving([image, result]) as served:
        state = served.viewer.state
    np.testing.assert_allclose(state.layers["b"].source[0].transform.matrix[:, -1], [10, 10])
    np.testing.assert_allclose(state.position, [36, 36])
    assert state.cross_section_scale == pytest.approx(32 / server.PANEL)
