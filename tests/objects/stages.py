"""The stages that make objects, run one after the other."""

from __future__ import annotations

import threading

import numpy as np

from tiler.executors import open_executor
from tiler.geometry import Box, Grid
from tiler.jobs.components import ComponentsJob, Labelled, MergeJob, NumberJob
from tiler.objects.connectivity import Connectivity
from tiler.ports import Calibration, OutputSpec
from tiler.sinks import open_sink
from tiler.stores.shelf import shelf_at


def spec(shape, dtype, block):
    return OutputSpec((1, *shape), np.dtype(dtype), Calibration.plain("zyx", shape), ("objects",), False, block, block)


def in_memory(labels):
    sink = open_sink(None, spec(labels.shape, labels.dtype, labels.shape))
    sink.create()
    sink.write(Box.of_shape(labels.shape), labels[None])
    return sink


def objects_of(labels, block, neighbours, min_size=0, dtype="uint32", executor="serial", place=None,
               link=None):
    """All three stages, and how many objects they find."""
    labelled = Labelled(in_memory(labels), Grid(Box.of_shape(labels.shape), block), Connectivity(neighbours),
                        shelf_at(place), link)
    sink, total = numbered(labelled, min_size, dtype, executor)
    return sink.array, total


def numbered(labelled, min_size=0, dtype="uint32", executor="serial"):
    """A sink with the objects, and how many they are."""
    shape = labelled.grid.region.shape
    sink = open_sink(None, spec(shape, dtype, labelled.grid.block))
    sink.create()
    found = done(ComponentsJob(labelled), len(labelled.grid), executor)
    counts = tuple(found[index]["count"] for index in range(len(labelled.grid)))
    total = done(MergeJob(labelled, counts, min_size, np.dtype(dtype)), 1)[0]["count"]
    done(NumberJob(labelled, sink, np.dtype(dtype)), len(labelled.grid), executor)
    return sink, total


def done(job, blocks, executor="serial"):
    run = open_executor(executor, 2).run(job, range(blocks), threading.Event())
    return {finished.index: finished.record for finished in run}
