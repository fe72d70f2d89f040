"""Convert the files of training programs to safetensors, which hold tensors only and no code."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save

from tiler.errors import ModelError
from tiler.models.loading.weight_files import open_weights
from tiler.models.loading.weights import file_hash
from tiler.stores.durable import replace_durably


def convert_weights(source: str | Path, output: str | Path, *, overwrite: bool = False) -> Path:
    """Write the weights of a ``.pth``, ``.pt`` or ``.ckpt`` file as safetensors, in their own types.

    Parameters
    ----------
    source
        File written by `torch.save`: a state dict, or a dictionary that holds one. Reading it runs no code.
    output
        Path of the new file, ``.safetensors``.
    overwrite
        Whether an existing file may be replaced.

    Returns
    -------
    path
        The new file. Names lose the prefixes of `torch.nn.DataParallel` and `torch.compile`.

    Raises
    ------
    WeightsError
        If the file cannot be read, or holds more than tensors.
    ModelError
        If the output cannot be written.
    """
    path, target = Path(source), Path(output)
    if target.suffix != ".safetensors":
        raise ModelError(f"{target} is no .safetensors file", option="output")
    if target.exists() and not overwrite:
        raise ModelError(f"{target} exists: `overwrite=True` replaces it, `output` chooses another name")
    with open_weights(path) as file:
        # Copied, since tensors that share memory cannot be stored as they are.
        tensors = {name: file.tensor(name).contiguous().clone() for name in file.shapes}
    metadata = {"converted_from": json.dumps({"name": path.name, "sha256": file_hash(path)})}
    try:
        replace_durably(target, save(tensors, metadata))
    except OSError as error:
        raise ModelError(f"cannot write {target}: {error.strerror or error}", option="output") from error
    return target
