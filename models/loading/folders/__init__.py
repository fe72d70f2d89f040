"""Folders of training programs: results of nnU-Net, networks of segmentation_models_pytorch, MONAI bundles.

Weights are read without running code, and only the libraries' own classes build networks. When a folder requests
something that tiler does not do, a warning says so.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tiler.models.loading.folders.monai import is_monai, open_monai
from tiler.models.loading.folders.nnunet import is_nnunet, open_nnunet
from tiler.models.loading.folders.smp import is_smp, open_smp
from tiler.models.loading.loaded_model import LoadedModel

Opener = Callable[[Path, str | None, bool], LoadedModel]

KINDS: tuple[tuple[Callable[[Path], bool], Opener], ...] = (
    (is_nnunet, open_nnunet), (is_smp, open_smp), (is_monai, open_monai))


def opener_of(path: Path) -> Opener | None:
    """Choose the function that opens a folder; it takes the path, the requested weights, and ``trust``."""
    if not path.is_dir():
        return None
    return next((opener for is_kind, opener in KINDS if is_kind(path)), None)
