"""One tiny valid input of each format, and what is done with it once it is damaged."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

VOXELS = np.random.default_rng(1).integers(0, 250, (3, 20, 18)).astype("uint8")
CARD = {"tiler_format": "1", "architecture": '"unet"', "arguments": "{}", "classes": '["a", "b"]',
        "normalisation": '{"scale": 1.0, "mean": [0.5], "std": [0.1]}', "training_data": '""', "licence": '""'}
FIRST = 16
"""Voxels along each axis that are read at both ends of an image."""


def _tiff(name: str, values: Any = VOXELS, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import tifffile
        tifffile.imwrite(folder / name, values, photometric=options.pop("photometric", "minisblack"), **options)
        return folder / name
    return make


def _image(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import imagecodecs
        encode = {"png": imagecodecs.png_encode, "jpg": imagecodecs.jpeg_encode, "bmp": imagecodecs.bmp_encode}
        (folder / name).write_bytes(encode[name[-3:]](VOXELS[0]))
        return folder / name
    return make


def _folder(folder: Path) -> Path:
    for number in range(3):
        _image(f"{number}.png")(folder)
    (folder / "images").mkdir()
    for number in range(3):
        (folder / f"{number}.png").rename(folder / f"images/{number}.png")
    return folder / "images"


def _npy(folder: Path) -> Path:
    np.save(folder / "a.npy", VOXELS)
    about = {"array": {"shape": [3, 20, 18], "axes": "zyx", "scale": [1, 1, 1], "units": [None] * 3, "offset": [0] * 3}}
    (folder / "a.npy.tiler.json").write_text(json.dumps(about))
    return folder / "a.npy"


def _mrc(folder: Path) -> Path:
    import mrcfile
    with mrcfile.new(folder / "a.mrc") as file:
        file.set_data(VOXELS.astype("int16"))
        file.voxel_size = 2.0
    return folder / "a.mrc"


def _zarr(version: int, **options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import zarr
        array = zarr.create_array(folder / "a.zarr", shape=VOXELS.shape, dtype="uint8", zarr_format=version,
                                  **{"chunks": (2, 8, 8), **options})
        array[:] = VOXELS
        return folder / "a.zarr"
    return make


def _ngff(version: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import zarr
        group = zarr.open_group(folder / "a.zarr", mode="w", zarr_format=2 if version == "0.4" else 3)
        levels = []
        for level in range(2):
            array = group.create_array(str(level), shape=(3, 20 >> level, 18 >> level), dtype="uint8", chunks=(2, 8, 8))
            array[:] = VOXELS[:, ::1 + level, ::1 + level]
            steps = [{"type": "scale", "scale": [3.0, 1.0 + level, 1.0 + level]},
                     {"type": "translation", "translation": [0.0, level / 2, level / 2]}]
            levels.append({"path": str(level), "coordinateTransformations": steps})
        axes = [{"name": axis, "type": "space", "unit": "micrometer"} for axis in "zyx"]
        image = {"version": version, "name": "a", "axes": axes, "datasets": levels}
        told = {"multiscales": [image], "omero": {"channels": [{"label": "a", "color": "ff0000"}]}}
        group.attrs.update(told if version == "0.4" else {"ome": {"version": version, **told}})
        return folder / "a.zarr"
    return make


def _hdf5(**options: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import h5py
        with h5py.File(folder / "a.h5", "w") as file:
            stored = file.create_dataset("raw", data=VOXELS, **options)
            stored.attrs.update({"resolution": [3.0, 1.0, 1.0], "axes": "zyx", "element_size_um": [3.0, 1.0, 1.0]})
        return folder / "a.h5"
    return make


def _imaris(folder: Path) -> Path:
    import h5py
    with h5py.File(folder / "a.ims", "w") as file:
        about = file.create_group("DataSetInfo/Image")
        for name, value in {"ExtMin0": "0", "ExtMax0": "5", "Unit": "um"}.items():
            about.attrs[name] = np.array(list(value), "S1")
        group = file.create_group("DataSet/ResolutionLevel 0/TimePoint 0/Channel 0")
        group.create_dataset("Data", data=VOXELS, chunks=(2, 8, 8), compression="gzip")
        for axis, size in zip("ZYX", VOXELS.shape, strict=True):
            group.attrs[f"ImageSize{axis}"] = np.array(list(str(size)), "S1")
    return folder / "a.ims"


def _n5(folder: Path) -> Path:
    import tensorstore
    spec = {"driver": "n5", "kvstore": {"driver": "file", "path": f"{folder}/a.n5/raw/"},
            "metadata": {"dimensions": VOXELS.shape[::-1], "blockSize": (8, 8, 2), "dataType": "uint8",
                         "compression": {"type": "gzip"}, "resolution": [1.0, 1.0, 3.0], "axes": ["x", "y", "z"]}}
    tensorstore.open(spec, create=True).result()[...] = VOXELS.T
    return folder / "a.n5" / "raw"


def _precomputed(folder: Path) -> Path:
    import tensorstore
    spec = {"driver": "neuroglancer_precomputed", "kvstore": {"driver": "file", "path": f"{folder}/volume/"},
            "multiscale_metadata": {"type": "image", "num_channels": 1, "data_type": "uint8"},
            "scale_metadata": {"size": VOXELS.shape[::-1], "encoding": "raw", "chunk_size": (8, 8, 2),
                               "resolution": (4, 4, 40)}}
    tensorstore.open(spec, open=True, create=True).result()[...] = VOXELS.T[..., None]
    return folder / "volume"


def _safetensors(folder: Path) -> Path:
    from safetensors.numpy import save
    content = save({"a": np.ones((2, 3), np.float32), "b": np.zeros(4, np.float32)}, CARD)
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8:8 + length]), sort_keys=True).encode()  # else in another order each time
    header += b" " * (-len(header) % 8)
    (folder / "a.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + content[8 + length:])
    return folder / "a.safetensors"


def _torch(folder: Path) -> Path:
    import torch
    torch.save({"a": torch.ones(2, 3), "b": torch.zeros(4)}, folder / "a.pth")
    return folder / "a.pth"


def _package(zipped: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        import package_cases as cases
        written = cases.with_onnx(folder / "package", after=[{"id": "sigmoid"}])
        return cases.zipped(written) if zipped else written
    return make


def _onnx(folder: Path) -> Path:
    import package_cases as cases
    (folder / "a.onnx").write_bytes(cases.onnx_of(cases.small()))
    return folder / "a.onnx"


def read(path: Path) -> None:
    """Open an image, ask all there is to know, and read both ends of it."""
    from tiler.geometry import Box
    from tiler.sources import open_source
    source = open_source(path)
    assert source.calibration.axes
    assert source.identity
    assert source.read_unit
    shape = source.shape[1:]
    part = [min(size, FIRST) for size in shape]
    if source.shape[0] > 100 or max(shape) > 2**40:
        return
    for start in ((0, 0, 0), [size - length for size, length in zip(shape, part, strict=True)]):
        box = Box.between(tuple(start), tuple(at + length for at, length in zip(start, part, strict=True)))
        source.check_region(box)
        source.read(box)


def read_weights(path: Path) -> None:
    """Read every tensor of a file of weights, and its card."""
    from tiler.models.loading.weight_files import open_weights
    from tiler.models.loading.weights import read_card
    read_card(path)
    with open_weights(path) as file:
        for name in file.shapes:
            file.tensor(name)


def load(path: Path) -> None:
    """Load a network and build it."""
    from tiler.models.loading.open_model import load_model
    load_model(path).recipe.build()


def call(arguments: list[str]) -> None:
    """Run a command line in this process; an exit code that is not documented, or a defect, is an error."""
    from tiler.cli.main import _run
    said = io.StringIO()
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        code = _run(arguments)
    text = said.getvalue()
    if code not in (0, 1, 2) or "Traceback" in text or "a defect of tiler" in text:
        raise RuntimeError(f"exit code {code}: {text[-300:]}")
    if code:
        from tiler.errors import TilerError
        raise TilerError(" ".join(text[-300:].split()))


TIFFS = {
    "tiff": _tiff("a.tif"),
    "tiff, ImageJ": _tiff("a.tif", VOXELS[:, None], imagej=True, resolution=(2, 2),
                          metadata={"axes": "ZCYX", "unit": "um"}),
    "tiff, OME": _tiff("a.ome.tif", metadata={"axes": "ZYX", "PhysicalSizeX": 0.5}),
    "tiff, tiled deflate": _tiff("a.tif", tile=(16, 16), compression="zlib", predictor=True),
    "tiff, LZW big": _tiff("a.tif", compression="lzw", bigtiff=True, byteorder=">", rowsperstrip=7),
    "tiff, JPEG": _tiff("a.tif", np.stack([VOXELS] * 3, -1), photometric="rgb", compression="jpeg", tile=(16, 16)),
    "tiff, zstd": _tiff("a.tif", VOXELS.astype("float32"), compression="zstd", predictor=3),
}
IMAGES: dict[str, Callable[[Path], Path]] = {
    **TIFFS, "png": _image("a.png"), "jpeg": _image("a.jpg"), "bmp": _image("a.bmp"), "folder of png": _folder,
    "npy": _npy, "mrc": _mrc,
    "zarr 2": _zarr(2), "zarr 3": _zarr(3), "zarr 3, shards": _zarr(3, chunks=(1, 4, 4), shards=(2, 8, 8)),
    "OME-Zarr 0.4": _ngff("0.4"), "OME-Zarr 0.5": _ngff("0.5"),
    "hdf5": _hdf5(), "hdf5, gzip": _hdf5(chunks=(2, 8, 8), compression="gzip", shuffle=True), "imaris": _imaris,
    "n5": _n5, "precomputed": _precomputed,
}
WEIGHTS: dict[str, Callable[[Path], Path]] = {"safetensors": _safetensors, "torch": _torch}
NETWORKS: dict[str, Callable[[Path], Path]] = {
    "package": _package(False), "package, zip": _package(True), "onnx": _onnx}
COMMANDS = ("plan", "check", "evaluate", "measure")
USES = {**dict.fromkeys(IMAGES, read), **dict.fromkeys(WEIGHTS, read_weights), **dict.fromkeys(NETWORKS, load)}
MAKERS = {**IMAGES, **WEIGHTS, **NETWORKS}


def command_line(command: str, random: Any, arguments: tuple[str, ...]) -> list[str]:
    """A command with one to three of its options at values that may make no sense."""
    from tiler.cli.main import tiler as group
    options = [option for option in group.get_command(None, command).params if option.param_type_name == "option"]
    given = [["--model", "networks.py:make"]] if command == "plan" and random.random() < 0.8 else []
    for option in random.sample(options, random.randint(1, 3)):
        legal = tuple(getattr(option.type, "choices", ())) or ("1", "2", "0.5", "a")
        value = str(random.choice(random.choice((arguments, legal))))
        given.append([option.opts[-1]] if option.is_flag else [option.opts[-1], value])
    files = [random.choice(("stack.tif", "stack.tif", random.choice(arguments)))
             for _ in range(random.choice((1, 1, 1, 2)) + (command == "evaluate"))]
    return [command, *files, *itertools.chain(*given)]
