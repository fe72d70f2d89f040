import math
from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from tiler.errors import ModelError
from tiler.geometry import Box, Footprint, Reach, tiles_of
from tiler.models import UNet
from tiler.models.predictor.averaging import TURNS, mean_over, union
from tiler.models.predictor.rotation import ANGLES, Rotations

FLAT = Reach(0, 0, 0, 0, 1)
NARROW = Footprint((0, 20, 20), (0, 24, 24), (0, 20, 20), (0, 20, 20), (1, 4, 4))
"""Of the valid U-Net of depth 2, with a lopsided context."""


@st.composite
def reaches(draw) -> Reach:
    shrink = draw(st.integers(0, 9)), draw(st.integers(0, 9))
    low, high = shrink[0] + draw(st.integers(0, 20)), shrink[1] + draw(st.integers(0, 20))
    return Reach(low, high, *shrink, draw(st.sampled_from([1, 2, 3, 8, 16])))


def test_the_group_has_eight_different_elements():
    image = torch.arange(6).reshape(1, 1, 2, 3)
    seen = {name: {str(turn.apply(image).tolist()) for turn in turns} for name, turns in TURNS.items()}
    assert {name: len(images) for name, images in seen.items()} == {"none": 1, "flip4": 4, "rot4": 4, "d4": 8}
    assert seen["rot4"] == {str(torch.rot90(image, k, (-2, -1)).tolist()) for k in range(4)}
    for turn in TURNS["d4"]:
        assert torch.equal(turn.undo(turn.apply(image)), image)


@given(reaches(), reaches())
@settings(deadline=None, max_examples=200)
def test_union_holds_every_orientation_and_keeps_phase_and_sizes(y, x):
    for turns in (TURNS["none"], TURNS["flip4"]) + ((TURNS["d4"],) if x == y else ()):
        plain = Footprint.of((FLAT, y, x))
        joint = union(plain, turns)
        for turn in turns:
            for whole, part, own in zip(joint.axes, turn.footprint(plain).axes, plain.axes, strict=True):
                assert whole.low >= part.low
                assert whole.high >= part.high
                assert whole.shrink_low >= part.shrink_low
                assert whole.shrink_high >= part.shrink_high
                assert whole.stride == own.stride
                assert (whole.low - own.low) % own.stride == 0
                assert (whole.low + whole.high - own.low - own.high) % own.stride == 0
        smallest = (max(a.low, a.high) for a in plain.axes[1:])
        assert all(a.low - small < a.stride for a, small in zip(joint.axes[1:], smallest, strict=True))


def test_union_of_the_published_network():
    plain = Footprint((0, 92, 92), (0, 96, 96), (0, 92, 92), (0, 92, 92), (1, 16, 16))
    assert union(plain, TURNS["none"]) == plain
    assert union(plain, TURNS["d4"]) == Footprint((0, 108, 108), (0, 96, 96), *[(0, 92, 92)] * 2, (1, 16, 16))


def test_quarter_turns_need_equal_axes():
    uneven = Footprint.of((FLAT, Reach(2, 2, 2, 2, 1), Reach(3, 2, 2, 2, 1)))
    union(uneven, TURNS["flip4"])
    with pytest.raises(ModelError, match="flip4"):
        union(uneven, TURNS["rot4"])


def mirrored(image: torch.Tensor, box: Box) -> torch.Tensor:
    """Voxels of a box of the plane that is the image, reflected without end."""
    for axis, span in zip((-2, -1), box.spans[1:], strict=True):
        period = 2 * (image.shape[axis] - 1)
        index = [min(i % period, period - i % period) for i in range(span.start, span.stop)]
        image = image.index_select(axis, torch.tensor(index))
    return image


def tiled(forward, image: torch.Tensor, tile: tuple[int, int, int], plain: Footprint, turns) -> torch.Tensor:
    whole = Box.of_shape((1, *image.shape[-2:]))
    out = torch.full((1, 2, *image.shape[-2:]), math.nan, dtype=torch.float64)
    for t in tiles_of(whole, tile, union(plain, turns)):
        part = mean_over(forward, mirrored(image, t.read), plain, turns)
        out[(..., *t.write.slices[1:])] = part[(..., *t.crop.slices[1:])]
    return out


@pytest.fixture(scope="module")
def forward():
    torch.manual_seed(5)
    module = UNet(base=4, depth=2).double().eval()
    with torch.inference_mode():
        yield lambda x, turn=0: module(x).softmax(1)


@pytest.fixture(scope="module")
def image():
    return torch.rand(1, 1, 37, 53, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("name", ["flip4", "rot4", "d4"])
def test_tiled_average_equals_one_big_tile(forward, image, name):
    turns = TURNS[name]
    joint = union(NARROW, turns)
    one = tiled(forward, image, joint.covering((1, *image.shape[-2:])), NARROW, turns)
    assert one.std() > 1e-3
    for core in ((8, 8), (16, 4), (20, 12)):
        many = tiled(forward, image, joint.covering((1, *core)), NARROW, turns)
        assert (many - one).abs().max() <= 1e-12


def test_average_is_the_mean_of_eight_explicit_passes(forward, image):
    turns = TURNS["d4"]
    joint = union(NARROW, turns)
    tile = joint.covering((1, 8, 12))
    x = mirrored(image, Box.of_shape(tile))
    explicit = [
        _orient_back(forward(_orient(x, k, flip)), k, flip) for k, flip in product(range(4), (False, True))
    ]
    assert (mean_over(forward, x, NARROW, turns) - torch.stack(explicit).mean(0)).abs().max() < 1e-14


def _orient(x, k, flip):
    return torch.rot90(x.flip(-1) if flip else x, k, (-2, -1))


def _orient_back(x, k, flip):
    x = torch.rot90(x, -k, (-2, -1))
    return x.flip(-1) if flip else x


def test_lopsided_outputs_are_cropped_to_what_all_have():
    lopsided = Footprint((0, 3, 3), (0, 1, 1), (0, 3, 3), (0, 1, 1), (1, 1, 1))

    def shift(x):  # the value three before, and no more than what has one after
        return x[..., : x.shape[-2] - 4, : x.shape[-1] - 4]

    x = torch.rand(1, 1, 12, 12, dtype=torch.float64)
    mean = mean_over(shift, x, lopsided, TURNS["flip4"])
    before, after = x[..., :6, :], x[..., 6:, :]
    expected = (before[..., :6] + before[..., 6:] + after[..., :6] + after[..., 6:]) / 4
    assert mean.shape[2:] == union(lopsided, TURNS["flip4"]).output((1, 12, 12))[1:]
    assert torch.allclose(mean, expected)


@pytest.mark.parametrize("shape", [(37, 53), (40, 40), (1, 9)])
def test_rotations_cover_the_slice_with_one_tile(shape):
    rotations = Rotations(NARROW, shape)
    footprint = rotations.footprint
    tile = (1, *rotations.outer)
    assert footprint.admits(tile)
    assert footprint.output(tile) == footprint.core(tile) == (1, *shape)
    assert NARROW.admits((1, *rotations.inner))
    assert min(NARROW.core((1, *rotations.inner))[1:]) >= math.hypot(*shape)


def test_rotations_see_nothing_but_the_tile(forward, image, monkeypatch):
    expected = rotated_mean(forward, image)
    resample = functional.grid_sample

    def check(x, grid, **options):
        lengths = torch.tensor([x.shape[-1], x.shape[-2]], dtype=grid.dtype)
        at = ((grid + 1) * lengths - 1) / 2
        assert at.min() >= -1e-9
        assert ((lengths - 1 - at) >= -1e-9).all()
        return resample(x, grid, **options)

    monkeypatch.setattr(functional, "grid_sample", check)
    assert torch.equal(rotated_mean(forward, image), expected)


def rotated_mean(forward, image, plain=NARROW):
    rotations = Rotations(plain, image.shape[-2:])
    footprint = rotations.footprint
    read = Box.between([-low for low in footprint.low], [-low + t for low, t in
                                                         zip(footprint.low, (1, *rotations.outer), strict=True)])
    return rotations.mean(forward, mirrored(image, read))


def test_rotating_there_and_back_keeps_a_smooth_image():
    row, column = torch.meshgrid(torch.arange(37.0), torch.arange(53.0), indexing="ij")
    smooth = (torch.cos(row * math.pi / 36) + torch.cos(column * math.pi / 52))[None, None].double()
    crop = slice(20, -20)
    mean = rotated_mean(lambda x: x[..., crop, crop], smooth)
    assert mean.shape == smooth.shape
    assert (mean - smooth).abs().max() < 0.01


def test_the_first_angle_is_the_plain_pass_and_every_angle_counts(forward, image, monkeypatch):
    plain = mirrored(image, Box.between((0, -20, -20), (1, 60, 76)))
    expected = forward(plain)[..., :37, :53]
    mean = rotated_mean(forward, image)
    monkeypatch.setattr("tiler.models.predictor.rotation.ANGLES", ANGLES[:1])
    first = rotated_mean(forward, image)
    assert (first - expected).abs().max() < 1e-9
    assert (mean - expected).abs().max() > 1e-3


def test_rotations_work_plane_by_plane_on_volumes(image):
    blur = torch.ones(1, 1, 1, 3, 3, dtype=torch.float64) / 9
    plain = Footprint((0, 1, 1), (0, 1, 1), (0, 1, 1), (0, 1, 1), (1, 1, 1))
    stack = torch.stack([image, 1 - image], 2)
    both = rotated_mean(lambda x: functional.conv3d(x, blur), stack, plain)
    one = rotated_mean(lambda x: functional.conv2d(x, blur[0]), image, plain)
    assert torch.allclose(both[:, :, 0], one)
    assert torch.allclose(both[:, :, 1], 1 - one)
