"""zarr groups and arrays: which array, which axes, which voxel size."""

from pathlib import Path

import numpy as np
import pytest
import zarr

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.sources import open_source

DATA = Path(__file__).parents[3] / "shared" / "data" / "formats"
VIV = DATA / "viv/packages/loaders/tests/fixtures"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the collection of zarr groups is not here")
# bioformats2raw wrote an empty list of filters, which zarr warns of
old_filters = pytest.mark.filterwarnings("ignore:Found an empty list of filters")


def ome_group(path, version="0.5", axes="tczyx", transform=(), outer=()):
    group = zarr.create_group(path, zarr_format=3 if version == "0.5" else 2)
    shape = (2, 3, 4, 20, 24)[5 - len(axes):]
    values = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    group.create_array("a", data=values, chunks=(1,) * (len(axes) - 2) + (20, 8))
    group.create_array("b", data=np.ones(shape, np.uint16))
    kinds = {"t": "time", "c": "channel"}
    units = {"t": "second", "c": None}
    described = [{"name": axis, "type": kinds.get(axis, "space"), "unit": units.get(axis, "nanometer")}
                 for axis in axes]
    described = [{name: value for name, value in axis.items() if value} for axis in described]
    image = {"version": version, "axes": described, "coordinateTransformations": list(outer),
             "datasets": [{"path": "a", "coordinateTransformations": list(transform)}, {"path": "b"}]}
    group.attrs.update({"ome": {"version": version, "multiscales": [image]}} if version == "0.5" else
                       {"multiscales": [image]})
    return path


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_level_0_with_axes_scale_and_translation(version, tmp_path):
    path = ome_group(tmp_path / "a.ome.zarr", version,
                     transform=[{"type": "scale", "scale": [1, 1, 50, 4, 4]},
                                {"type": "translation", "translation": [0, 0, 100, 8, 12]}],
                     outer=[{"type": "scale", "scale": [0.5, 1, 1, 2, 2]}])
    source = open_source(path)
    assert source.shape == (3, 8, 20, 24)
    assert source.calibration.axes == ("t", "z", "y", "x")
    assert source.calibration.sizes == (2, 4, 20, 24)
    assert source.calibration.scale == (0.5, 50, 8, 8)
    assert source.calibration.units == ("second", "nanometer", "nanometer", "nanometer")
    assert source.calibration.offset == (0, 100, 16, 24)
    assert source.read_unit == (1, 20, 8)
    expected = zarr.open_array(path / "a", mode="r")[...].transpose(1, 0, 2, 3, 4).reshape(3, 8, 20, 24)
    np.testing.assert_array_equal(source.read(Box.of_shape((8, 20, 24))), expected)


def test_a_path_inside_a_group_chooses_the_level_and_keeps_the_metadata(tmp_path):
    path = ome_group(tmp_path / "a.zarr", transform=[{"type": "scale", "scale": [1, 1, 50, 4, 4]}])
    inside = open_source(path / "a")
    assert inside.calibration == open_source(path).calibration
    assert inside.calibration.scale[1:] == (50, 4, 4)
    assert open_source(path / "b").read(Box.of_shape((1, 1, 1))).max() == 1


def test_dimension_names_give_the_axes(tmp_path):
    zarr.create_array(tmp_path / "a.zarr", data=np.ones((5, 20, 24, 2)), dimension_names=("z", "Y", "x", "c"))
    assert open_source(tmp_path / "a.zarr").shape == (2, 5, 20, 24)
    array = zarr.create_array(tmp_path / "b.zarr", data=np.ones((5, 20, 24)), zarr_format=2)
    array.attrs["_ARRAY_DIMENSIONS"] = ["c", "y", "x"]
    assert open_source(tmp_path / "b.zarr").shape == (5, 1, 20, 24)
    zarr.create_array(tmp_path / "c.zarr", data=np.ones((5, 20, 24)), dimension_names=("depth", "lat", None))
    assert open_source(tmp_path / "c.zarr").shape == (1, 5, 20, 24)


def test_a_folder_without_the_suffix_is_known_by_its_metadata(tmp_path):
    zarr.create_array(tmp_path / "volume", data=np.ones((5, 20, 24)))
    assert open_source(tmp_path / "volume").shape == (1, 5, 20, 24)


def test_groups_without_an_image_are_refused(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    with pytest.raises(SourceError, match="without OME-NGFF images; and no arrays"):
        open_source(tmp_path / "a.zarr")
    group.create_array("raw", data=np.ones((2, 3)))
    with pytest.raises(SourceError, match=r"holds the arrays raw: give one, such as .*a\.zarr/raw"):
        open_source(tmp_path / "a.zarr")
    with pytest.raises(SourceError, match="a source is a path or an array"):
        open_source(group)


def test_a_folder_that_is_no_zarr_is_refused(tmp_path):
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(SourceError, match="not a readable zarr") as refusal:
        open_source(tmp_path / "a.zarr")
    assert "\n" not in str(refusal.value)


def test_identity_changes_with_the_chunks_and_the_metadata(tmp_path):
    array = zarr.create_array(tmp_path / "a.zarr", data=np.zeros((4, 20, 24)), chunks=(1, 20, 24),
                              config={"write_empty_chunks": True})
    first = open_source(tmp_path / "a.zarr").identity
    assert open_source(array).identity == first
    (tmp_path / "a.zarr/c/2/0/0").unlink()
    second = open_source(tmp_path / "a.zarr").identity
    array.attrs["note"] = "new"
    third = open_source(tmp_path / "a.zarr").identity
    assert first["listing"] != second["listing"]
    assert first["metadata"] == second["metadata"] != third["metadata"]


@needs_data
@pytest.mark.parametrize(("name", "shape", "filled"), [
    ("ome-zarr-examples/image-01.zarr", (1, 1, 1000, 1000), False),
    ("ome-zarr-examples/image-02.zarr", (1, 1, 200, 200), True),
    ("ome-zarr-examples/image-03.zarr/0", (1, 2, 100, 100), True),
    ("ome-zarr-examples/plate-01.zarr/A/1/0", (1, 1, 1000, 1000), False),
    ("viv/packages/loaders/tests/fixtures/ome-zarr/blobs_image_v04.ome.zarr", (3, 1, 12, 12), True),
    ("viv/packages/loaders/tests/fixtures/ome-zarr/blobs_image_v05.ome.zarr", (3, 1, 12, 12), True),
    pytest.param("viv/packages/loaders/tests/fixtures/bioformats-zarr/data.zarr", (3, 1, 167, 439), True,
                 marks=old_filters),
])
def test_groups_of_other_makers(name, shape, filled):
    source = open_source(DATA / name, missing="refuse" if filled else "zero")
    assert source.shape == shape
    whole = source.read(Box.of_shape(shape[1:]))
    np.testing.assert_array_equal(whole.ravel(), zarr.open_array(source.raw.path, mode="r")[...].ravel())
    assert (whole != 0).any() == filled


@needs_data
@pytest.mark.parametrize(("name", "message"), [
    ("plate-01.zarr", r"is a plate of 4 wells: give one image of it, such as .*plate-01\.zarr/A/1/0"),
    ("plate-01.zarr/A/1", r"is a well of 1 images: give one, such as .*/A/1/0"),
])
def test_plates_and_wells_are_refused_by_naming_an_image(name, message):
    with pytest.raises(SourceError, match=message):
        open_source(DATA / "ome-zarr-examples" / name)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize(("level", "step", "size"), [("0", 4.0, 40), ("1", 8.0, 20), ("deep/2", 16.0, 10)])
def test_any_level_has_its_own_scale_and_the_names_of_the_channels(version, level, step, size, tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr", zarr_format=3 if version == "0.5" else 2)
    levels = [("0", 4.0, 40), ("1", 8.0, 20), ("deep/2", 16.0, 10)]
    for path, _, length in levels:
        group.create_array(path, data=np.full((2, length, length), length, np.uint8))
    image = {"axes": [{"name": "c", "type": "channel"}, {"name": "y", "type": "space", "unit": "nanometer"},
                      {"name": "x", "type": "space", "unit": "nanometer"}],
             "datasets": [{"path": path, "coordinateTransformations": [
                 {"type": "scale", "scale": [1, scale, scale]},
                 {"type": "translation", "translation": [0, scale / 2, 0]}]} for path, scale, _ in levels]}
    ome = {"multiscales": [image], "omero": {"channels": [{"label": "cell"}, {"label": "membrane"}]}}
    group.attrs.update({"ome": {"version": version, **ome}} if version == "0.5" else ome)
    source = open_source(tmp_path / "a.zarr" / level)
    assert source.shape == (2, 1, size, size)
    assert source.calibration.scale == (step, step)
    assert source.calibration.offset == (step / 2, 0)
    assert source.channels == ("cell", "membrane")
    assert source.read(Box.of_shape((1, 1, 1))).max() == size
    chosen = open_source(tmp_path / "a.zarr" / level, channel="membrane")
    assert chosen.view.channels == (1,)
    assert chosen.channels == ("membrane",)
    assert open_source(tmp_path / "a.zarr" / level, axes="zyx").channels == ()
    assert open_source(tmp_path / "a.zarr" / level, channel="1,cell").view.channels == (1, 0)
    with pytest.raises(SourceError, match=r"got 'nucleus' \(channel=\); .* has cell, membrane$"):
        open_source(tmp_path / "a.zarr" / level, channel="nucleus")


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_the_group_of_labels_of_an_image(version, tmp_path):
    path = tmp_path / "a.zarr"
    ome_group(path, version)
    ome_group(path / "labels/cells", version, axes="zyx", transform=[{"type": "scale", "scale": [50, 4, 4]}])
    labels = zarr.create_group(path / "labels", zarr_format=3 if version == "0.5" else 2)

    def announce(*names):
        labels.attrs.put({"ome": {"version": version, "labels": names}} if version == "0.5" else {"labels": names})

    announce("cells")
    found = open_source(path / "labels")
    assert found.calibration == open_source(path / "labels/cells").calibration
    assert found.calibration.scale == (50, 4, 4)
    assert open_source(path).shape == (3, 8, 20, 24)
    announce("cells", "nuclei")
    with pytest.raises(SourceError, match=r"holds the images cells, nuclei: give one, such as .*labels/cells"):
        open_source(path / "labels")
    announce()
    with pytest.raises(SourceError, match="is a group of labels that holds no images"):
        open_source(path / "labels")


def test_numbers_are_numbers_also_where_channels_are_called_so(tmp_path):
    group = zarr.create_group(tmp_path / "a.zarr")
    group.create_array("0", data=np.ones((3, 4, 5), np.uint8))
    image = {"axes": [{"name": "c", "type": "channel"}, *({"name": name, "type": "space"} for name in "yx")],
             "datasets": [{"path": "0"}]}
    channels = [{"label": label} for label in ("2", "same", "same")]
    group.attrs["ome"] = {"version": "0.5", "multiscales": [image], "omero": {"channels": channels}}
    assert open_source(tmp_path / "a.zarr", channel="2").view.channels == (2,)
    with pytest.raises(SourceError, match="got 'same'"):
        open_source(tmp_path / "a.zarr", channel="same")
