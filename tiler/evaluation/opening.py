"""Open and align the volumes of a request, and refuse all that can be refused before a voxel is read."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from tiler.errors import PlanError
from tiler.evaluation.meaning import Meaning, Wish, Written, meaning_of, written_by_tiler
from tiler.evaluation.pair import Pair, Part, align
from tiler.evaluation.request import EvaluationRequest
from tiler.evaluation.streaming import Scorer
from tiler.geometry import Box
from tiler.options import Region, parse_roi
from tiler.ports import Source
from tiler.sources import open_source


@dataclass(frozen=True, slots=True)
class Comparison:
    """Opened and aligned volumes, ready to be scored.

    Parameters
    ----------
    request
        The user's request.
    scorer
        Reads slices of the volumes; its pair reads blocks.
    notes
        Decisions about the input, one line each.
    named
        Names of the proposal's classes in its metadata; empty if there are none.
    """

    request: EvaluationRequest
    scorer: Scorer
    notes: tuple[str, ...]
    named: tuple[str, ...]

    @property
    def pair(self) -> Pair:
        return self.scorer.pair

    def beside(self, source: Any, option: str) -> Part:
        """Open a volume that lies on the labels, such as the image; it has their shape or that of the region."""
        opened = open_source(source, missing=self.request.missing)
        return _beside(opened, self.pair.labels, option)


def open_comparison(request: EvaluationRequest) -> Comparison:
    """Open the volumes of a request, align them and interpret their values.

    Raises
    ------
    TilerError
        The protocol is unknown, shapes differ, an input is a colour image, or an option does not apply.
    """
    request.check()
    region = _region(request.slices, request.roi)
    time = None if region is None else region.time
    proposal = open_source(request.proposal, axes=request.axes, time=time, missing=request.missing)
    labels = open_source(request.labels, axes=request.labels_axes, time=time, missing=request.missing)
    if labels.shape[0] > 1:
        raise PlanError(f"the labels {labels.name} have {labels.shape[0]} channels (a colour image?): labels have one "
                        "(`labels_axes` where the axes are named wrongly)")
    written = written_by_tiler(request.proposal)
    meaning, notes = _meaning(request, proposal, labels, written)
    larger = max(proposal.shape[1:], labels.shape[1:], key=lambda shape: shape[0] * shape[1] * shape[2])
    aligned = align(proposal, labels, _box(region, larger), written.region)
    truth = Part(labels, aligned.labels)
    mask = None
    if request.mask is not None:
        mask = _beside(open_source(request.mask, missing=request.missing), truth, "mask")
    pair = Pair(Part(proposal, aligned.proposal, meaning.channel), truth, mask)
    if request.invert_labels:
        notes.append("the labels are inverted: white is membrane (`invert_labels`)")
    if aligned.note:
        notes.append(aligned.note)
    return Comparison(request, Scorer(pair, meaning, request.invert_labels), tuple(notes), written.classes)


def _region(slices: Any, roi: Any) -> Region | None:
    """Combine both options into one region; None if neither is given."""
    region = None if roi is None else parse_roi(roi)
    if slices is None:
        return region
    if region is None:
        region = Region(((None, None),) * 3)
    if region.spans[0] != (None, None):
        raise PlanError(f"`slices` {slices} and `roi` {roi} both choose slices: give one of them")
    return replace(region, spans=(parse_slices(slices), *region.spans[1:]))


def parse_slices(value: Any) -> tuple[int | None, int | None]:
    """Read start and stop from ``"3:8"``, ``":8"``, ``"3"``, 3, ``(3, 8)`` or ``slice(3, 8)``.

    Raises
    ------
    PlanError
        The value has another form.
    """
    try:
        if isinstance(value, slice) and value.step in (None, 1):
            return value.start, value.stop
        if isinstance(value, int):
            return value, value + 1
        if isinstance(value, str):
            start, colon, stop = value.partition(":")
            if not colon:
                return int(start), int(start) + 1
            return int(start) if start.strip() else None, int(stop) if stop.strip() else None
        start, stop = value
        return int(start), int(stop)
    except (TypeError, ValueError):
        raise PlanError(f"slices {value!r} cannot be read: give 3:8 for 3, 4, ... 7, or one number "
                        "(`slices`)") from None


def _box(region: Region | None, shape: tuple[int, ...]) -> Box | None:
    if region is None:
        return None
    box = region.within(shape)
    if not box.voxels:
        raise PlanError(f"the region {box} is empty (`slices`, `roi`)")
    return box


def _meaning(request: EvaluationRequest, proposal: Source, labels: Source,
             written: Written) -> tuple[Meaning, list[str]]:
    if request.protocol == "isbi2012":
        wish = Wish(request.invert, request.rescale, request.channel)
        return meaning_of(proposal.name, proposal.shape[0], proposal.dtype, written, wish)
    for name, source in (("proposal", proposal), ("labels", labels)):
        if source.dtype.kind not in "biuf":
            raise PlanError(f"the {name} {source.name} hold{'s' * (name == 'proposal')} {source.dtype}: the protocol "
                            f"{request.protocol} compares ids, which are integers")
    channel = request.channel or 0
    if proposal.shape[0] > 1 and request.channel is None:
        raise PlanError(f"{proposal.name} has {proposal.shape[0]} channels (a colour image?): choose one with "
                        "`channel`")
    if not 0 <= channel < proposal.shape[0]:
        raise PlanError(f"{proposal.name} has {proposal.shape[0]} channels; got {channel} (`channel`)")
    return Meaning(channel), []


def _beside(source: Source, labels: Part, option: str) -> Part:
    whole, region, shape = labels.source.shape[1:], labels.box, source.shape[1:]
    if shape == whole:
        return Part(source, region)
    if shape == region.shape:
        return Part(source, Box.of_shape(shape))
    raise PlanError(f"{source.name} has shape {shape} (z, y, x), the labels {labels.source.name} have {whole}, of "
                    f"which {region} is scored: give a volume of either shape (`{option}`)")
