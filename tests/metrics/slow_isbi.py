"""Thinning, warping and classification again, as their rules are worded: slow, obvious, in plain Python."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from skimage.measure import label

Pixel = tuple[int, int]  # (y, x)


def column_major(shape: tuple[int, int]) -> Iterator[Pixel]:
    return ((y, x) for x in range(shape[1]) for y in range(shape[0]))


def left_up_right_down(pixel: Pixel, shape: tuple[int, int]) -> list[Pixel]:
    y, x = pixel
    steps = ((y, x - 1), (y - 1, x), (y, x + 1), (y + 1, x))
    return [(b, a) for b, a in steps if 0 <= b < shape[0] and 0 <= a < shape[1]]


def numbered(white: np.ndarray) -> np.ndarray:
    """4-connected objects in the order of their first pixels, column by column."""
    found, numbers = label(white, connectivity=1), {0: 0}
    for pixel in column_major(white.shape):
        numbers.setdefault(int(found[pixel]), len(numbers))
    return np.array([numbers[k] for k in range(found.max() + 1)])[found]


def thinned(white: np.ndarray) -> np.ndarray:
    if not white.any():
        return np.ones(white.shape, int)
    basin, shape = numbered(white), white.shape
    state = {pixel: "basin" if white[pixel] else "black" for pixel in column_major(shape)}
    queue: deque[Pixel] = deque()
    for pixel in column_major(shape):
        if state[pixel] == "black" and any(basin[other] > 0 for other in left_up_right_down(pixel, shape)):
            state[pixel] = "queued"
            queue.append(pixel)
    while queue:
        pixel, flag = queue.popleft(), False
        for other in left_up_right_down(pixel, shape):
            if state[other] == "basin":
                if state[pixel] == "queued" or (state[pixel] == "dam" and flag):
                    state[pixel], basin[pixel] = "basin", basin[other]
                elif state[pixel] == "basin" and basin[pixel] != basin[other]:
                    state[pixel], basin[pixel], flag = "dam", 0, False
            elif state[other] == "dam":
                if state[pixel] == "queued":
                    state[pixel], flag = "dam", True
            elif state[other] == "black":
                state[other] = "queued"
                queue.append(other)
    return basin


def is_simple(neighbourhood: np.ndarray) -> bool:
    """Whether one 4-connected piece of object and one 8-connected piece of background touch the centre."""
    ring = neighbourhood.copy()
    ring[1, 1] = 0
    objects = label(ring, connectivity=1)
    beside = {objects[0, 1], objects[1, 0], objects[1, 2], objects[2, 1]} - {0}
    background = 1 - neighbourhood
    background[1, 1] = 0
    return len(beside) == 1 and label(background, connectivity=2).max() == 1


def warped(labels: np.ndarray, proposal: np.ndarray, threshold: float, mask: np.ndarray | None) -> np.ndarray:
    image = np.pad((labels > 0).astype(int), 1)
    values = np.pad(proposal.astype(np.float32).astype(np.float64), 1)
    target = values > threshold
    target[0] = target[-1] = target[:, 0] = target[:, -1] = False
    allowed = np.pad(np.ones(labels.shape, bool) if mask is None else mask != 0, 1)
    left = [p for p in column_major(image.shape) if image[p] != target[p] and allowed[p]]
    left.sort(key=lambda p: -np.float32(abs(values[p] - threshold)))  # Python's sort is stable
    flipped = True
    while flipped:
        flipped, kept = False, []
        for y, x in left:
            if is_simple(image[y - 1:y + 2, x - 1:x + 2]):
                image[y, x] ^= 1
                flipped = True
            else:
                kept.append((y, x))
        left = kept
    return image[1:-1, 1:-1]


def neighbour_ids(objects: np.ndarray, pixel: Pixel) -> set[int]:
    y, x = pixel
    ids = [int(objects[b, a]) for b in range(y - 1, y + 2) for a in range(x - 1, x + 2)
           if (b, a) != pixel and 0 <= b < objects.shape[0] and 0 <= a < objects.shape[1]]
    return set(ids)


def kind_of(image: np.ndarray, pixel: Pixel, radius: int) -> str:
    ids, white = neighbour_ids(label(image, connectivity=1), pixel), image[pixel] != 0
    if ids <= {0}:
        return "object_deletion" if white else "object_addition"
    if len(ids) == 1:
        return "hole_addition" if white else "hole_deletion"
    if len(ids) > 2:
        return "split" if white else "merge"
    if not white:
        return "hole_addition"
    without = image.copy()
    without[pixel] = 0
    if 1 <= radius <= min(image.shape):
        (y, x), padded = pixel, np.pad(without, radius)
        without, pixel = padded[y:y + 2 * radius + 1, x:x + 2 * radius + 1], (radius, radius)
    return "split" if len(neighbour_ids(label(without, connectivity=1), pixel)) > 2 else "hole_deletion"


def classified(image: np.ndarray, mismatch: np.ndarray, radius: int) -> dict[Pixel, str]:
    return {pixel: kind_of(image, pixel, radius) for pixel in column_major(image.shape) if mismatch[pixel]}


def clusters(image: np.ndarray, kinds: dict[Pixel, str]) -> dict[str, int]:
    counts = dict.fromkeys(("merge", "split", "hole_addition", "hole_deletion", "object_addition",
                            "object_deletion"), 0)
    for kind in counts:
        for white in (False, True):
            chosen = np.zeros(image.shape, bool)
            for pixel, found in kinds.items():
                chosen[pixel] = found == kind and bool(image[pixel]) == white
            eight = kind == "merge" or (kind == "hole_addition" and white)
            counts[kind] += int(label(chosen, connectivity=2 if eight else 1).max())
    return counts
