"""Convert options to the rules for objects, and refuse rules that contradict the input or the network."""

from __future__ import annotations

from tiler.errors import PlanError
from tiler.objects.connectivity import Connectivity
from tiler.objects.rules import Rules, default_connectivity
from tiler.objects.splitting import Watershed
from tiler.options import AUTO, AutoType, ResolvedOptions
from tiler.ports import Calibration, Predictor, Source
from tiler.ports.units import NANOMETRES, steps


def rules_of(options: ResolvedOptions, source: Source, predictor: Predictor) -> Rules:
    """Rules for objects from the options, for an input and a network."""
    sampling = sampling_of(source.calibration)
    touch = Connectivity(options.connectivity or default_connectivity(predictor.footprint.flat))
    height = options.seed_height or (1.0 if options.seeds == "distance" else 0.1)
    return Rules(
        connectivity=touch, threshold=threshold_of(options, predictor), fill_holes=options.fill_holes,
        split=None if options.split == "none" else Watershed(height, touch, sampling, options.split_limit),
        seeds=options.seeds, link=options.link, min_size=options.min_size, grow=options.grow, sampling=sampling)


def threshold_of(options: ResolvedOptions, predictor: Predictor) -> float | None:
    """Probability above which voxels belong to instances or to a mask; None if these are made from labels.

    Raises
    ------
    PlanError
        If the best one is wanted, and the weights do not state it.
    """
    cut = cut_of(options)
    if cut is not AUTO:
        return cut
    best = predictor.capabilities.trained_on.best_threshold
    if best is None:
        raise PlanError("the weights do not say which threshold scored best: give a number, such as `threshold=0.5`")
    return best


def cut_of(options: ResolvedOptions) -> float | AutoType | None:
    """The threshold as it was given; None if instances are made from labels."""
    wanted = options.split != "none" and options.seeds == "probability"
    return 0.5 if options.threshold is None and wanted else options.threshold


def sampling_of(calibration: Calibration) -> tuple[float, float, float]:
    """``(z, y, x)`` sides of a voxel, relative to x; 1 if unknown."""
    known = {axis: scale * NANOMETRES[unit] for axis, (scale, unit) in steps(calibration).items() if unit in NANOMETRES}
    sides = [known.get(axis, known.get("x", 1.0)) / known.get("x", 1.0) for axis in "zyx"]
    return sides[0], sides[1], sides[2]


def check_rules(rules: Rules, source: Source, predictor: Predictor) -> None:
    """Refuse objects that would span time points, and rules that do not suit the classes.

    Raises
    ------
    PlanError
        The message names the option.
    """
    axes, sizes = source.calibration.axes, source.calibration.sizes
    if rules.through_volume and "t" in axes and sizes[axes.index("t")] > 1:
        raise PlanError(f"{source.name} has {sizes[axes.index('t')]} time points: objects cannot go from one "
                        "to the next; choose one with `roi=t=N`, or say `connectivity=4` and leave out `link`")
    classes, meaning = predictor.classes, predictor.capabilities.meaning
    if (rules.threshold is not None) != (meaning == "probabilities"):
        raise PlanError(f"the opened model gives {meaning}, instances are to be made of "
                        f"{'labels' if rules.threshold is None else 'probabilities'}: open it with "
                        "tiler.open_model(..., `kind=labels`), or with `kind=probabilities` for a `threshold`")
    if rules.threshold is not None and len(classes) > 1:
        raise PlanError(f"instances above a threshold are made of one class, the network has {', '.join(classes)}: "
                        "choose one", option="classes")
    names = predictor.identity.get("names", classes)
    if rules.fill_holes and rules.threshold is None and len(names) > 2:
        raise PlanError(f"holes are filled in instances of one class, the network has {', '.join(names)}: choose one "
                        "with `classes`, or leave out `fill_holes`")
