"""Intentions become a plan once; the plan is frozen, JSON, and hashed by what can change the result."""

from __future__ import annotations

import json
import time
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiler.errors import AlignmentError, GeometryError, MemoryBudgetError, PlanError
from tiler.geometry import Box, Footprint
from tiler.planning.block_order import best_visit
from tiler.planning.plan import Plan, Settings
from tiler.planning.resolve import resolve
from tiler.ports import Calibration, Capabilities, Cost
from tiler.testing.predictors import PoolingAxis, PoolingNet

pytestmark = pytest.mark.usefixtures("small_process")

GB = 10**9


class Unread:
    """A source of any size that must not be read."""

    name, identity = "huge.zarr", {"path": "huge.zarr"}

    def __init__(self, shape, dtype="uint8", read_unit=(64, 64, 64)):
        self.shape, self.dtype, self.read_unit = shape, np.dtype(dtype), read_unit
        self.calibration = Calibration.plain("zyx", shape[1:])

    def read(self, box):
        raise AssertionError("planning reads no voxel")


class UNetLike:
    """The geometry and the cost of the published U-Net, without the network."""

    footprint = Footprint((0, 92, 92), (0, 96, 96), (0, 92, 92), (0, 92, 92), (1, 16, 16))
    border, in_channels, classes, dtype, expects = "mirror", 1, ("cell",), np.dtype(np.float32), None
    capabilities = Capabilities()

    @property
    def identity(self):
        return {"name": "unet"}

    def cost(self, tile, batch):
        voxels = np.prod(tile)
        return Cost(1.2e6 * voxels * batch, int(900 * voxels))


class SameUNetLike(UNetLike):
    footprint = Footprint((0, 96, 96), (0, 96, 96), (0, 0, 0), (0, 0, 0), (1, 16, 16))
    border = "zero"


class Fed(UNetLike):
    """The same by several feeders, in the machine's memory or in that of a device."""

    def __init__(self, feeders, device_memory=None):
        self.capabilities = Capabilities(feeders=feeders, device_memory=device_memory)


def plan_for(shape, net=None, **settings):
    settings.setdefault("memory", 8 * GB)
    return resolve(Settings(**settings), Unread((1, *shape)), net or UNetLike())


def test_every_feeder_takes_the_memory_of_a_pass():
    fixed = {"tile": (572,), "block": (1, 384, 384), "batch": 1}
    one, two, three = (plan_for((30, 4096, 4096), Fed(feeders), **fixed).estimate.peak_bytes for feeders in (1, 2, 3))
    assert min(two - one, three - two) > 900 * 572**2
    assert plan_for((30, 4096, 4096), Fed(2), **fixed).fingerprint == plan_for((30, 4096, 4096), **fixed).fingerprint


def test_the_memory_of_a_device_is_a_budget_of_its_own():
    wide = plan_for((30, 4096, 4096), Fed(2), memory=64 * GB)
    device = plan_for((30, 4096, 4096), Fed(2, GB), memory=64 * GB)
    assert 900 * np.prod(device.tile) <= GB < 900 * np.prod(wide.tile)
    beside = plan_for((30, 4096, 4096), Fed(2, 64 * GB), tile=wide.tile, block=wide.block, batch=1, memory=64 * GB)
    inside = plan_for((30, 4096, 4096), Fed(2), tile=wide.tile, block=wide.block, batch=1, memory=64 * GB)
    assert beside.estimate.peak_bytes < inside.estimate.peak_bytes - 900 * np.prod(wide.tile)


def test_what_no_device_holds_is_one_line_with_what_would_do():
    with pytest.raises(MemoryBudgetError, match=r"a device has 10 MB .*the least that would do is \d+ MB, with tile "):
        plan_for((30, 4096, 4096), Fed(2, 10**7))
    with pytest.raises(MemoryBudgetError, match=r"tile 1x1084x1084 with batch 1 needs 1058 MB of a device, 1000 MB .*"
                                                "lower tile= or batch="):
        plan_for((30, 4096, 4096), Fed(2, GB), tile=(1084,), batch=1)


def test_a_slice_of_512_is_one_tile_of_700():
    plan = plan_for((30, 512, 512))
    assert plan.tile == (1, 700, 700)
    assert plan.footprint.core(plan.tile) == (1, 512, 512)
    assert plan.estimate.tiles == 30
    assert plan.estimate.redundant == 0


def test_a_plane_of_100000_is_many_tiles_of_a_good_size():
    plan = plan_for((1, 100_000, 100_000))
    assert 1000 < plan.tile[1] < 6000
    assert plan.estimate.redundant < 0.15
    assert plan.estimate.peak_bytes <= 8 * GB


def test_ten_terabytes_are_planned_at_once():
    begun = time.process_time()
    plan = plan_for((22_000, 22_000, 22_000))
    assert time.process_time() - begun < 20, "a generous bound: it takes two or three seconds of a processor"
    assert plan.estimate.blocks == len(plan.grid) > 100_000
    assert plan.estimate.bytes_written == 4 * 22_000**3


def test_blocks_are_whole_cores_and_chunks_divide_them():
    plan = plan_for((64, 5000, 3000))
    core = plan.footprint.core(plan.tile)
    assert all(side % unit == 0 for side, unit in zip(plan.block, core, strict=True))
    for side, unit, length in zip(plan.block, plan.chunk, plan.region.shape, strict=True):
        assert side % unit == 0 or side >= length
        assert unit <= 512


def test_chunks_are_whole_also_where_the_region_has_no_handsome_divisor():
    plain = PoolingNet((None, PoolingAxis(stride=1), PoolingAxis(stride=1)))
    assert plan_for((1, 1021, 1366), plain).chunk[1:] == (512, 512)


def test_the_block_is_as_deep_as_what_is_decoded_at_once():
    assert plan_for((640, 256, 256)).block[0] == 64
    assert plan_for((640, 512, 512)).block[0] == 32, "as far as a block may take"


@settings(deadline=None, max_examples=40)
@given(st.tuples(st.integers(1, 40), st.integers(1, 3000), st.integers(1, 3000)), st.booleans(),
       st.integers(3, 8))
def test_whatever_is_chosen_is_legal_fits_and_survives_json(shape, same, gigabytes):
    net = SameUNetLike() if same else UNetLike()
    plan = plan_for(shape, net, memory=gigabytes * GB)
    for axis, (size, reach) in enumerate(zip(plan.tile, plan.footprint.axes, strict=True)):
        assert reach.admits(size) or (plan.canvas and size == plan.canvas.shape[axis])
    assert plan.estimate.peak_bytes <= gigabytes * GB
    assert Plan.from_json(json.loads(json.dumps(plan.to_json()))) == plan


def test_an_illegal_tile_names_the_nearest_legal_ones():
    with pytest.raises(GeometryError, match=r"tile 570 in y.*556 and 572 \(tile=\)"):
        plan_for((1, 512, 512), tile=(570,))


def test_a_tile_that_no_memory_would_hold_is_refused_by_the_memory_it_needs():
    tracemalloc.start()
    with pytest.raises(MemoryBudgetError, match=r"tile 1x96000012x96000012 .*lower tile="):
        plan_for((1, 512, 512), tile=(96 * 10**6 + 12,))
    assert tracemalloc.get_traced_memory()[1] < 100 * 10**6
    tracemalloc.stop()


def test_a_tile_without_a_core_names_the_smallest():
    with pytest.raises(GeometryError, match=r"tile 188 in y leaves no core.*204"):
        plan_for((1, 512, 512), tile=(188,))


def test_a_budget_that_cannot_hold_says_the_least_that_would_do():
    with pytest.raises(MemoryBudgetError, match=r"would do is \d+ MB, with tile 1x204x204 \(memory=\)") as refused:
        plan_for((1, 5000, 5000), memory=10 * 10**6)
    least = int(str(refused.value).split("would do is ")[1].split()[0])
    assert plan_for((1, 5000, 5000), memory=(least + 20) * 10**6)  # the process itself grows a little


def test_a_tile_over_the_budget_is_refused():
    with pytest.raises(MemoryBudgetError, match=r"tile 1x4060x4060 .* raise memory= or lower tile="):
        plan_for((1, 9000, 9000), tile=(4060,), memory=2 * GB)


def test_a_region_outside_the_volume_is_refused():
    with pytest.raises(GeometryError, match=r"does not lie in the volume.*roi="):
        plan_for((4, 10, 10), region=Box.between((0, 0, 5), (4, 10, 15)))


def test_channels_that_do_not_fit_are_refused():
    with pytest.raises(PlanError, match=r"has 3 channels, the network takes 1.*channel="):
        resolve(Settings(), Unread((3, 1, 64, 64)), UNetLike())


def test_a_zero_border_needs_a_network_that_keeps_its_size():
    with pytest.raises(PlanError, match=r"border=.mirror"):
        plan_for((1, 512, 512), border="zero")


def test_a_zero_border_holds_small_volumes_in_one_tile():
    plan = plan_for((3, 100, 250), SameUNetLike())
    assert plan.canvas.shape == (3, 112, 256)
    assert plan.tile == (1, 112, 256)


def test_bad_blocks_are_refused():
    with pytest.raises(AlignmentError, match="block="):
        plan_for((1, 512, 512), block=(1, 2, 3, 4))


def test_a_block_of_one_number_is_one_slice_thick_for_a_network_of_slices():
    assert plan_for((9, 512, 512), block=(256,)).block == (1, 256, 256)
    assert plan_for((9, 512, 512), PoolingNet((PoolingAxis(),) * 3), block=(256,)).block == (256, 256, 256)


def test_batch_and_workers_leave_the_fingerprint_and_all_else_changes_it():
    plan = plan_for((8, 700, 700), tile=(572,))
    assert plan_for((8, 700, 700), tile=(572,), batch=4, workers=7).fingerprint == plan.fingerprint
    assert plan.with_resources(3, 5).fingerprint == plan.fingerprint
    others = [plan_for((8, 700, 700), tile=(556,)), plan_for((8, 700, 700), tile=(572,), block=(1, 384, 384)),
              plan_for((8, 700, 700), tile=(572,), nan="zero"), plan_for((8, 700, 701), tile=(572,)),
              plan_for((8, 700, 700), tile=(572,), region=Box.of_shape((8, 700, 699)))]
    assert len({plan.fingerprint, *(other.fingerprint for other in others)}) == 1 + len(others)


def test_a_stored_plan_that_was_changed_is_refused():
    content = plan_for((8, 700, 700)).to_json()
    content["essence"]["nan"] = "zero"
    with pytest.raises(PlanError, match="fingerprint"):
        Plan.from_json(content)
    with pytest.raises(PlanError, match="format 99"):
        Plan.from_json({**content, "format": 99})


def test_traffic_is_what_the_blocks_read(monkeypatch):
    net = PoolingNet()
    plan = resolve(Settings(tile=(30,), block=(1, 21, 17), region=Box.between((0, 3, 5), (2, 60, 50))),
                   Unread((1, 2, 61, 53), read_unit=(1, 16, 16)), net)
    monkeypatch.setattr("tiler.planning.workload.best_visit",
                        lambda axes, *rest: best_visit(axes, 1, 0, 1))  # room for none
    plan_without_cache = resolve(Settings(tile=(30,), block=(1, 21, 17), region=plan.region),
                                 Unread((1, 2, 61, 53), read_unit=(1, 16, 16)), net)
    from tiler.geometry import hull, tiles_of
    from tiler.geometry.mirrored import mirrored_indices

    tiles = voxels = decoded = 0
    for block in plan.grid:
        pieces = tiles_of(block, plan.tile, plan.footprint)
        read = hull([piece.read for piece in pieces])
        places = [mirrored_indices(span, size) for span, size in zip(read.spans, (2, 61, 53), strict=True)]
        tiles += len(pieces)
        voxels += int(np.prod([np.ptp(found) + 1 for found in places]))
        chunks = [{int(place) // unit for place in found} for found, unit in zip(places, (1, 16, 16), strict=True)]
        decoded += int(np.prod([sum(min(unit, size - chunk * unit) for chunk in found) for found, unit, size in
                                zip(chunks, (1, 16, 16), (2, 61, 53), strict=True)]))
    estimate = plan.estimate
    assert (estimate.tiles, estimate.bytes_read) == (tiles, voxels)
    assert plan_without_cache.estimate.bytes_decoded == decoded
    assert estimate.bytes_decoded < decoded


def test_a_plan_is_frozen():
    with pytest.raises(AttributeError):
        plan_for((1, 512, 512)).batch = 3
    assert replace(plan_for((1, 512, 512)), batch=3).batch == 3
