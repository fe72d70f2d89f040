"""Rules for what operators do to the axes of the image, one for each family of operators.

Here are those that work element by element, reduce, normalise or multiply matrices; see `layout_rules` and
`spatial_rules` for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tiler.models.probe.call import Call, Derived, NotUnderstoodError, joined, plain
from tiler.models.probe.graph import Dims, axes_of
from tiler.models.probe.maps import WHOLE, Map

Rule = Callable[[Call], Sequence[Derived]]
RULES: dict[str, Rule] = {}


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


POINTWISE = _names("""
    abs add addcdiv addcmul alias atan ceil celu clamp clamp_max clamp_min clone cos detach div elu erf exp expm1
    floor gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu lerp lift_fresh log log10 log1p log2
    log_sigmoid_forward maximum minimum mish mul neg pow _prelu_kernel reciprocal relu relu6 round rsqrt rsub selu
    sigmoid silu sin softplus softshrink sqrt square sub tanh threshold trunc _to_copy
""")
"""Element-wise operators that turn NaN into NaN."""

_SWALLOWING_POINTWISE = _names("""
    where nan_to_num eq ne lt le gt ge isnan isfinite isinf isposinf isneginf fmax fmin masked_fill sign sgn
    heaviside logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor
    floor_divide nextafter
""")
_SWALLOWING_REDUCTIONS = _names("argmax argmin nanmean nansum nanmedian count_nonzero any all")
_SORTING = _names("topk sort argsort")
SWALLOWS = _SWALLOWING_POINTWISE | _SWALLOWING_REDUCTIONS | _SORTING
"""Operators that may turn NaN into finite values, so that a proof with NaN would prove nothing."""

_REDUCTIONS = _SWALLOWING_REDUCTIONS | _names("""
    mean sum amax amin max min std var var_mean prod logsumexp norm linalg_vector_norm median aminmax
""")


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Register a rule for aten operators, named without overload and trailing underscore."""
    def register(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function
    return register


@rule(*POINTWISE, *_SWALLOWING_POINTWISE)
def pointwise(call: Call) -> list[Derived]:
    dims = joined(call, call.tensors(), call.outputs[0].shape)
    return [Derived(dims, [(n, {}) for t in call.tensors() if (n := call.node_of(t)) is not None])]


@rule("copy")
def copy(call: Call) -> list[Derived]:
    """The result does not depend on the previous values."""
    number, _ = call.source("src")
    return [Derived(joined(call, [call.args["src"]], call.outputs[0].shape), [(number, {})])]


@rule("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", *_SORTING)
def along(call: Call) -> list[Derived]:
    """Each element depends on the whole of one dimension."""
    number, node = call.source()
    over = axes_of([node.dims[call.args["dim"]]])
    dims = tuple(dim if axes_of([dim]) else plain(size)
                 for dim, size in zip(node.dims, call.outputs[0].shape, strict=True))
    return [_normalised(number, dims, over, "runs along an axis of the image")]


def _normalised(number: int, dims: Dims, over: Sequence[int], why: str) -> Derived:
    """Each element depends on itself and on the whole of some axes."""
    uses: list[tuple[int, dict[int, Map]]] = [(number, {})]
    if over:
        uses.append((number, dict.fromkeys(over, WHOLE)))
    return Derived(dims, uses, "global", why)


@rule(*_REDUCTIONS)
def reduction(call: Call) -> list[Derived]:
    if "other" in call.args:  # max(a, b)
        return list(pointwise(call))
    number, node = call.source()
    given = call.args.get("dim")
    dims = given if isinstance(given, Sequence) else [given] if given is not None else []
    over = {d % len(node.dims) for d in dims} or set(range(len(node.dims)))
    keep = call.args.get("keepdim", False)
    kept = [plain(1) if at in over else dim for at, dim in enumerate(node.dims) if keep or at not in over]
    return [Derived(tuple(kept), [(number, {})], "global", f"its {call.op} runs over the whole input")]


@rule("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_no_training",
      "_batch_norm_with_update", "_batch_norm_no_update")
def batch_norm(call: Call) -> list[Derived]:
    number, node = call.source("input")
    running = call.args.get("running_mean") is not None and not call.args.get("training", False)
    over = [] if running else axes_of(node.dims)
    return [_normalised(number, node.dims, over, "normalises by the statistics of its whole input")]


@rule("native_group_norm", "native_layer_norm")
def other_norm(call: Call) -> list[Derived]:
    number, node = call.source("input")
    count = len(call.args["normalized_shape"]) if "normalized_shape" in call.args else len(node.dims) - 1
    over = axes_of(node.dims[len(node.dims) - count:])
    return [_normalised(number, node.dims, over, "normalises by the statistics of its whole input")]


@rule("mm", "bmm", "addmm", "baddbmm", "matmul", "mv", "dot")
def product(call: Call) -> list[Derived]:
    """Rows come from the left factor, columns from the right; if both vary, every position affects every other."""
    left, right = (call.args[a] for a in (("mat1", "mat2") if "mat1" in call.args else
                                          ("batch1", "batch2") if "batch1" in call.args else
                                          ("self", "mat2") if "mat2" in call.args else ("self", "other")))
    ends = call.node_of(left), call.node_of(right)
    shape = call.outputs[0].shape
    if len(shape) < 2 or call.node_of(call.args["self"]) not in (*ends, None):
        raise NotUnderstoodError("a matrix product with a bias that comes from the input")
    main = ends[0] if ends[0] is not None else ends[1]
    assert main is not None
    batch = call.node(main).dims[:-2]
    row = call.node(ends[0]).dims[-2] if ends[0] is not None else plain(shape[-2])
    column = call.node(ends[1]).dims[-1] if ends[0] is None and ends[1] is not None else plain(shape[-1])
    uses: list[tuple[int, dict[int, Map]]] = []
    if ends[0] is not None:
        uses.append((ends[0], dict.fromkeys(axes_of([call.node(ends[0]).dims[-1]]), WHOLE)))
    if ends[1] is not None:
        across = call.node(ends[1]).dims[-2:] if ends[0] is not None else call.node(ends[1]).dims[-2:-1]
        uses.append((ends[1], dict.fromkeys(axes_of(across), WHOLE)))
    return [Derived((*batch, row, column), uses, "global", "every position meets every other (attention)")]
