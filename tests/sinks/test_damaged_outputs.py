"""Outputs that were damaged, or cannot be made: one line, and at the start."""

import os

import numpy as np
import pytest

import tiler
from tiler.errors import PlanError, SinkError
from tiler.executors.dask import check_reach
from tiler.geometry import Box
from tiler.sinks import open_sink
from tiler.testing.predictors import PoolingNet
from tiler.testing.sinks import ATTRIBUTES, EXAMPLES, written
from tiler.testing.sources import refused

SPEC = EXAMPLES["a stack"]
NAMES = ("out.npy", "out.tif", "out.ome.tif", "out.h5")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.6], ids=["empty", "header", "part"])
@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_output_is_one_line(tmp_path, name, share):
    sink, _ = written(lambda spec: open_sink(tmp_path / name, spec), SPEC)
    sink.finish(ATTRIBUTES)
    os.truncate(tmp_path / name, int(share * (tmp_path / name).stat().st_size))
    message = refused(SinkError, lambda: open_sink(tmp_path / name, SPEC).read(Box.of_shape(SPEC.shape[1:])))
    assert str(tmp_path / name) in message
    assert "overwrite=" in message


@pytest.mark.parametrize("name", ["out.npy", "out.tif", "out.h5", "out.zarr"])
def test_a_link_that_leads_nowhere_is_refused_before_anything_is_written(tmp_path, name):
    (tmp_path / name).symlink_to(tmp_path / "nowhere")
    volume = np.zeros(SPEC.shape[1:], "uint8")
    for overwrite in (False, True):
        with pytest.raises(SinkError, match="leads nowhere"):
            tiler.segment(volume, PoolingNet(), tmp_path / name, overwrite=overwrite)
    assert [file.name for file in tmp_path.iterdir()] == [name]


class Writing:
    """A job that writes to a sink."""

    def __init__(self, sink):
        self.sink = sink


@pytest.mark.parametrize("name", ["out.npy", "out.tif"])
def test_a_memory_map_is_not_written_by_several_hosts(tmp_path, name):
    job = Writing(open_sink(tmp_path / name, SPEC))
    check_reach(job, ["tcp://10.0.0.1:41", "tcp://10.0.0.1:42"])
    with pytest.raises(PlanError, match=r"10\.0\.0\.1, 10\.0\.0\.2: write \.zarr"):
        check_reach(job, ["tcp://10.0.0.1:41", "tcp://10.0.0.2:42"])
    check_reach(Writing(open_sink(tmp_path / "out.zarr", SPEC)), ["tcp://10.0.0.1:41", "tcp://10.0.0.2:42"])
