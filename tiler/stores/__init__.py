"""Places of inputs and outputs: paths, and addresses on object stores such as ``s3://bucket/volume.zarr``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from tiler.errors import StoreError


def asking(module: str = "objects") -> Any:
    """A module of this package that talks to servers, by an optional library.

    Raises
    ------
    StoreError
        If the library is not installed.
    """
    try:
        return import_module(f"tiler.stores.{module}")
    except ModuleNotFoundError as error:
        raise StoreError(f"object stores need the package {error.name}: pip install 'em-tiler[cloud]'") from error
