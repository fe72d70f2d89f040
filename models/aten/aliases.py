"""Find the tensors that share elements of a storage."""

from __future__ import annotations

from typing import Any

import torch


def storage(tensor: torch.Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def geometry(tensor: torch.Tensor) -> tuple[Any, ...]:
    return storage(tensor), tuple(tensor.shape), tensor.stride(), tensor.storage_offset()


def is_all(tensor: torch.Tensor) -> bool:
    """Whether a tensor covers all elements of its storage, in memory order."""
    size = tensor.untyped_storage().nbytes() // tensor.element_size()
    return tensor.is_contiguous() and tensor.numel() == size


def overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two views of a storage may share elements."""
    (a, b), (c, d) = extent(one), extent(other)
    return a < d and c < b


def extent(tensor: torch.Tensor) -> tuple[int, int]:
    last = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    return int(tensor.storage_offset()), int(tensor.storage_offset() + last + 1)
