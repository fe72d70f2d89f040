"""Metrics of segmentations: arrays in, numbers out.

Scores of objects are computed from a `ContingencyTable`, scores of classes from a `ConfusionMatrix`. Both add up over
blocks, so volumes of any size are scored exactly. ISBI-2012 scores add up over slices.

=============  ======================================================================================
protocol       how to score
=============  ======================================================================================
``isbi2012``   `Isbi2012`; or `score_slice` in several processes, then `Isbi2012Result` of all slices
``semantic``   sum of `ConfusionMatrix.of` each block, then `SemanticResult`
``instances``  sum of `ContingencyTable.of` each block, then `score_instances`
``snemi3d``    likewise, then `score_snemi3d`
``cremi``      likewise, then `score_cremi`
=============  ======================================================================================
"""

from tiler.metrics.checks import integer_hint
from tiler.metrics.contingency import ContingencyTable
from tiler.metrics.cremi import CremiResult, border_mask, score_cremi
from tiler.metrics.information import VariationOfInformation, variation_of_information
from tiler.metrics.instances import InstancesResult, score_instances
from tiler.metrics.isbi2012 import THRESHOLDS, WARPING_THRESHOLDS, SliceScores, score_slice
from tiler.metrics.isbi2012_result import Isbi2012, Isbi2012Result
from tiler.metrics.mismatches import Mismatch, MismatchCounts
from tiler.metrics.panoptic import PanopticCounts, Segments, panoptic_counts
from tiler.metrics.pixel import pixel_counts, pixel_error
from tiler.metrics.rand import AdaptedRand, adapted_rand, rand_index
from tiler.metrics.result import Result
from tiler.metrics.semantic import ConfusionMatrix, SemanticResult
from tiler.metrics.snemi3d import Snemi3dResult, score_snemi3d
from tiler.metrics.statistics import Counts
from tiler.metrics.thinning import thin
from tiler.metrics.warping import Warping, warp

__all__ = [
    "THRESHOLDS",
    "WARPING_THRESHOLDS",
    "AdaptedRand",
    "ConfusionMatrix",
    "ContingencyTable",
    "Counts",
    "CremiResult",
    "InstancesResult",
    "Isbi2012",
    "Isbi2012Result",
    "Mismatch",
    "MismatchCounts",
    "PanopticCounts",
    "Result",
    "Segments",
    "SemanticResult",
    "SliceScores",
    "Snemi3dResult",
    "VariationOfInformation",
    "Warping",
    "adapted_rand",
    "border_mask",
    "integer_hint",
    "panoptic_counts",
    "pixel_counts",
    "pixel_error",
    "rand_index",
    "score_cremi",
    "score_instances",
    "score_slice",
    "score_snemi3d",
    "thin",
    "variation_of_information",
    "warp",
]
