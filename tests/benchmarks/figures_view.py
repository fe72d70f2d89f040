"""The picture of `tiler view` in data_samples/pictures: ``python tests/benchmarks/figures_view.py [IMAGE OUTPUT]``.

Segments two sections of an image with the bundled network, membranes everywhere and cells in a region, and takes a
picture of what neuroglancer shows in a headless chromium.
"""

from __future__ import annotations

import sys
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path

from PIL import Image

import tiler
from tiler.viewing.layers import layers_of
from tiler.viewing.server import serving

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests"))
from browser import WEBGL, browsing  # noqa: E402

SIZE = (1200, 760)
RUNS = {"membranes.zarr": {"roi": "0:2,0:512,0:512"},
        "cells.zarr": {"roi": "0:2,256:512,0:512", "kind": "instances", "min_size": 30}}


def main(image: Path, output: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        results = [tiler.segment(image, "unet", Path(folder) / name, **options) for name, options in RUNS.items()]
        layers = [layer for path in (image, *results) for layer in layers_of(path, image=path == image)]
        with serving(layers) as served, browsing(*SIZE, graphics=WEBGL) as page:
            page.emulate(width=SIZE[0], height=SIZE[1])
            page.visit(served.address)
            with served.viewer.txn() as state:
                state.position, state.cross_section_scale = [256, 256, 0.5], 0.75
                state.selected_layer.layer = layers[1].name
            wait_for(page, served.viewer)
            page.screenshot(Path(folder) / "view.png")
            Image.open(Path(folder) / "view.png").convert("RGB").save(output, quality=80, optimize=True)


def wait_for(page, viewer) -> None:
    """Until everything that is to be seen has arrived: neuroglancer's own screenshot waits for it."""
    drawn = Future()
    viewer.async_screenshot(drawn.set_result)
    while not drawn.done():
        page.run("1")
        time.sleep(0.1)


if __name__ == "__main__":
    given = [Path(argument) for argument in sys.argv[1:]]
    main(*(given or (ROOT / "data_samples" / "sstem.tif", ROOT / "data_samples" / "pictures" / "view.jpg")))
