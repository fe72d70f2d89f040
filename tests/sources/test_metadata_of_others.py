"""Metadata that make no sense never cost the voxels: they are left out, each with a warning that names it."""

import json
import math

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from tiler.errors import SourceError
from tiler.geometry import Box
from tiler.ports.units import unit_of
from tiler.sources import open_source

VALUES = np.random.default_rng(0).integers(1, 255, (4, 20, 24), np.uint8)
ODD = {
    "null": None, "text": "unknown", "a number": 5, "a list of text": ["a", "b", "c"], "one too few": [4, 4],
    "many": [1, 2, 3, 4, 5, 6], "null in a list": [None, 4, 4], "zero": [0, 4, 4], "negative": [-1, 4, 4],
    "NaN": [math.nan, 4, 4], "infinite": [math.inf, 4, 4], "a mapping": {"a": 1}, "nothing": [],
    "nested": [[1], [2], [3]], "true": True, "huge": [1e308, 1e308, 1e308],
}
odd_values = pytest.mark.parametrize("odd", ODD.values(), ids=ODD)


def check(source, values=VALUES):
    """The voxels are there, and what is told of them can be written as JSON."""
    np.testing.assert_array_equal(source.read(Box.of_shape(source.shape[1:]))[0], values)
    told = source.calibration
    json.dumps([told.scale, told.offset, told.units, source.channels], allow_nan=False)
    assert all(size > 0 for size in told.scale)
    assert all(unit is None or unit_of(unit) == unit for unit in told.units)


AXES = [{"name": name, "type": "space", "unit": "nanometer"} for name in "zyx"]
SCALED = [{"type": "scale", "scale": [40, 4, 4]}]


def group(path, attributes, version=2, levels=("0", "1")):
    """A group with two levels, the second of every other voxel of a section."""
    made = zarr.create_group(path, zarr_format=version)
    for step, level in enumerate(levels, 1):
        made.create_array(level, data=VALUES[:, ::step, ::step], chunks=(2, 16, 16))
    file = path / (".zattrs" if version == 2 else "zarr.json")
    if version == 2:
        file.write_text(json.dumps(attributes))
    else:
        file.write_text(json.dumps({**json.loads(file.read_text()), "attributes": {"ome": attributes}}))
    return path


def image(paths=("0", "1"), **others):
    datasets = [{"path": path, "coordinateTransformations": SCALED} for path in paths]
    return {"version": "0.4", "axes": AXES, "datasets": datasets, **others}


@odd_values
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("where", ["omero", "channels", "axes", "name", "scale", "transformations", "outer", "unit",
                                   "translation", "version", "axis name", "omero label"])
def test_ome_zarr(where, version, odd, tmp_path, caplog):
    told = {"multiscales": [image()]}
    level = told["multiscales"][0]["datasets"][0]
    if where in ("omero", "version"):
        told[where] = odd
    elif where in ("channels", "omero label"):
        told["omero"] = {"channels": odd if where == "channels" else [{"label": odd}]}
    elif where in ("axes", "name"):
        told["multiscales"][0][where] = odd
    elif where == "outer":
        told["multiscales"][0]["coordinateTransformations"] = odd
    elif where == "transformations":
        level["coordinateTransformations"] = odd
    elif where in ("unit", "axis name"):
        told["multiscales"][0]["axes"] = [{**axis, where.removeprefix("axis "): odd} for axis in AXES]
    else:
        level["coordinateTransformations"] = [*SCALED, {"type": where, where: odd}]
    check(open_source(group(tmp_path / "a.zarr", told, version)))


@odd_values
@pytest.mark.parametrize("where", ["multiscales", "datasets", "path"])
def test_ome_zarr_without_levels_names_the_arrays(where, odd, tmp_path):
    if odd in ([1, 2, 3, 4, 5, 6], [0, 4, 4]) and where == "datasets":
        pytest.skip("there are levels of these names")
    told = {"multiscales": odd if where == "multiscales" else
            [image() | ({"datasets": odd} if where == "datasets" else {"datasets": [{"path": odd}]})]}
    path = group(tmp_path / "a.zarr", told)
    with pytest.raises(SourceError, match=r"it holds the arrays 0, 1: give one|is not a readable zarr array"):
        open_source(path)
    check(open_source(path / "0"))


@pytest.mark.parametrize("path", ["./0", "/0", "0/", "sub/../0"])
def test_paths_of_levels_as_they_are_written(path, tmp_path):
    source = open_source(group(tmp_path / "a.zarr", {"multiscales": [image((path, "1"))]}))
    check(source)
    assert source.calibration.scale == (40, 4, 4)


def test_the_largest_level_is_read_wherever_it_is_listed(tmp_path, caplog):
    for number, told in enumerate(([image(("1", "0"))], [image(("1",), name="thumbnail"), image()],
                                   [image(("0",)), image(("1",))])):
        check(open_source(group(tmp_path / f"{number}.zarr", {"multiscales": told})))
    assert "the array 0 is larger than 1, which is listed as the first level" in caplog.text
    assert "holds 2 images (thumbnail, 0): 0 is read" in caplog.text


def test_a_later_version_is_said_by_name(tmp_path, caplog):
    told = {"coordinateSystems": [{"name": "p", "axes": AXES}], "datasets": image()["datasets"]}
    source = open_source(group(tmp_path / "a.zarr", {"version": "0.6.dev1", "multiscales": [told]}, 3))
    check(source)
    assert source.calibration.units == ("nanometer",) * 3
    assert "is of version 0.6.dev1 of OME-NGFF" in caplog.text


def test_broken_attributes_of_a_group_do_not_cost_its_arrays(tmp_path, caplog):
    path = group(tmp_path / "a.zarr", {})
    (path / ".zattrs").write_text("{broken")
    check(open_source(path / "0"))
    assert "what describes it cannot be read" in caplog.text


def hdf5(path, **attributes):
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("raw", data=VALUES)
        for name, value in attributes.items():
            dataset.attrs[name] = value
    return path


HDF5_ODD = {name: value for name, value in ODD.items() if name not in ("null", "null in a list", "a mapping")} | {
    "empty": h5py.Empty("f"), "empty text": h5py.Empty("S10"), "bytes": b"\xff", "broken JSON": "{broken",
    "JSON null": "null", "JSON list": '["z","y","x"]', "JSON nested": '{"axes": [null, 5, {"key": 7}]}',
    "words": ["40nm", "4nm", "4nm"], "twice the same axis": '{"axes": [{"key": "y"}, {"key": "y"}, {"key": "x"}]}',
}


@pytest.mark.parametrize("odd", HDF5_ODD.values(), ids=HDF5_ODD)
@pytest.mark.parametrize("name", ["resolution", "offset", "element_size_um", "axistags", "time_interval",
                                  "channel_names"])
def test_hdf5(name, odd, tmp_path):
    check(open_source(hdf5(tmp_path / "a.h5", **{"resolution": [40.0, 4.0, 4.0], name: odd})))


def test_sizes_of_hdf5_that_make_sense_are_kept(tmp_path, caplog):
    source = open_source(hdf5(tmp_path / "a.h5", resolution=[np.nan, 4, 4], offset=[np.nan, 8, 8]))
    assert (source.calibration.scale, source.calibration.offset) == ((1, 4, 4), (0, 8, 8))
    assert "resolution is nan and not a positive number: it is left out" in caplog.text


OME = "http://www.openmicroscopy.org/Schemas/OME/2016-06"
NUMBERS = {"1E-3": 0.001, "2": 2.0, "0": 1.0, "-1": 1.0, "NaN": 1.0, "INF": 1.0, "abc": 1.0, "0,5": 1.0, "": 1.0}


@pytest.mark.parametrize("text", NUMBERS)
def test_ome_xml(text, tmp_path):
    xml = (f'<OME xmlns="{OME}"><Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint8" '
           f'SizeX="24" SizeY="20" SizeZ="4" SizeC="1" SizeT="1" PhysicalSizeX="{text}" PhysicalSizeY="0.5" '
           f'TimeIncrement="{text}">'
           '<Channel ID="Channel:0:0"/><TiffData/></Pixels></Image></OME>')
    tifffile.imwrite(tmp_path / "a.tif", VALUES, photometric="minisblack", description=xml, metadata=None)
    source = open_source(tmp_path / "a.tif")
    check(source)
    assert source.calibration.scale == (1.0, 0.5, NUMBERS[text])


@pytest.mark.parametrize("description", [
    "slices=4\nunit=\nspacing=nan", "slices=4\nunit=pixel\nspacing=0", "slices=x\nunit=um\nspacing=a",
    "slices=4\nfinterval=inf",
    "images=4\nLabels=5", "channels=x\nslices=4"])
def test_imagej(description, tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        for number, page in enumerate(VALUES):
            writer.write(page, metadata=None, contiguous=False, photometric="minisblack",
                         description=f"ImageJ=1.11a\n{description}\n" if number == 0 else None)
    check(open_source(tmp_path / "a.tif"))


SPELLED = {
    "nm": "nanometer", "NM": "nanometer", "nanometre": "nanometer", "Nanometers": "nanometer", "µm": "micrometer",
    "μm": "micrometer", "um": "micrometer", "micron": "micrometer", "Microns": "micrometer", "\\u00B5m": "micrometer",
    "Å": "angstrom", "\u212b": "angstrom", "angstrom": "angstrom", "ångström": "angstrom", "mm": "millimeter",
    "m": "meter", "inch": "inch", "in": "inch", "s": "second", "sec": "second", "seconds": "second",
    "ms": "millisecond",
    "pixel": None, "reference frame": None, "": None, 5: None, None: None, b"nm": "nanometer",
}


@pytest.mark.parametrize(("text", "unit"), SPELLED.items())
def test_one_table_of_units_for_all_formats(text, unit, tmp_path):
    assert unit_of(text) == unit
    axes = [{"name": name, "type": "space", "unit": text if isinstance(text, str) else None} for name in "zyx"]
    source = open_source(group(tmp_path / "a.zarr", {"multiscales": [image(axes=axes)]}))
    assert source.calibration.units == (unit if isinstance(text, str) else None,) * 3
    assert source.calibration.scale == (40, 4, 4)
