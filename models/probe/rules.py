"""What every operator does to the axes of the image: one rule for each family of aten operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tiler.models.probe.call import (
    Call,
    Derived,
    NotUnderstoodError,
    joined,
    plain,
    regrouped,
    single_axis,
)
from tiler.models.probe.graph import UNIFORM, Atom, Dims, Evenness, axes_of
from tiler.models.probe.maps import WHOLE, Map, Window

Rule = Callable[[Call], Sequence[Derived]]
RULES: dict[str, Rule] = {}

POINTWISE = frozenset("""
    abs add addcdiv addcmul alias atan ceil celu clamp clamp_max clamp_min clone cos detach div elu erf exp expm1
    floor gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu lerp lift_fresh log log10 log1p log2
    log_sigmoid_forward maximum minimum mish mul neg pow _prelu_kernel reciprocal relu relu6 round rsqrt rsub selu
    sigmoid silu sin softplus softshrink sqrt square sub tanh threshold trunc _to_copy
""".split())
"""Element by element, and NaN in gives NaN out."""

_SWALLOWING_POINTWISE = frozenset("""
    where nan_to_num eq ne lt le gt ge isnan isfinite isinf isposinf isneginf fmax fmin masked_fill sign sgn
    heaviside logical_and logical_or logical_not logical_xor bitwise_and bitwise_or bitwise_not bitwise_xor
    floor_divide nextafter
""".split())
_SWALLOWING_REDUCTIONS = frozenset("argmax argmin nanmean nansum nanmedian count_nonzero any all".split())
_SORTING = frozenset("topk sort argsort".split())
SWALLOWS = _SWALLOWING_POINTWISE | _SWALLOWING_REDUCTIONS | _SORTING
"""NaN may end here, so that a proof by NaN would say nothing."""

_REDUCTIONS = _SWALLOWING_REDUCTIONS | frozenset("""
    mean sum amax amin max min std var var_mean prod logsumexp norm linalg_vector_norm median aminmax
""".split())


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
    """What was there before is gone."""
    number, _ = call.source("src")
    return [Derived(joined(call, [call.args["src"]], call.outputs[0].shape), [(number, {})])]


@rule("_softmax", "_log_softmax", "_safe_softmax", "cumsum", "cumprod", *_SORTING)
def along(call: Call) -> list[Derived]:
    """Every element depends on the whole of one dimension."""
    number, node = call.source()
    over = axes_of([node.dims[call.args["dim"]]])
    dims = tuple(dim if axes_of([dim]) else plain(size)
                 for dim, size in zip(node.dims, call.outputs[0].shape, strict=True))
    return [_normalised(number, dims, over, "runs along an axis of the image")]


def _normalised(number: int, dims: Dims, over: Sequence[int], why: str) -> Derived:
    """Every element depends on itself and on the whole of some axes."""
    uses: list[tuple[int, dict[int, Map]]] = [(number, {})]
    if over:
        uses.append((number, dict.fromkeys(over, WHOLE)))
    return Derived(dims, uses, "global", why)


@rule(*_REDUCTIONS)
def reduction(call: Call) -> list[Derived]:
    if "other" in call.args:  # max(a, b)
        return pointwise(call)
    number, node = call.source()
    given = call.args.get("dim")
    dims = given if isinstance(given, Sequence) else [given] if given is not None else []
    over = {d % len(node.dims) for d in dims} or set(range(len(node.dims)))
    keep = call.args.get("keepdim", False)
    kept = [plain(1) if at in over else dim for at, dim in enumerate(node.dims) if keep or at not in over]
    why = f"its {call.op} runs over the whole input"
    return [Derived(tuple(kept), [(number, {})], "reduce", why)]


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
    """Rows come from the left factor, columns from the right; where both vary, position meets position."""
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


@rule("permute")
def permute(call: Call) -> list[Derived]:
    number, node = call.source()
    return [Derived(tuple(node.dims[d] for d in call.args["dims"]), [(number, {})])]


@rule("transpose", "t")
def transpose(call: Call) -> list[Derived]:
    number, node = call.source()
    dims = list(node.dims)
    a, b = call.args.get("dim0", 0), call.args.get("dim1", -1)
    if len(dims) > 1:
        dims[a], dims[b] = dims[b], dims[a]
    return [Derived(tuple(dims), [(number, {})])]


@rule("view", "_unsafe_view", "_reshape_alias", "reshape")
def view(call: Call) -> list[Derived]:
    number, node = call.source()
    return [Derived(regrouped(node.dims, call.outputs[0].shape), [(number, {})])]


@rule("unsqueeze", "squeeze")
def squeeze(call: Call) -> list[Derived]:
    """Only dimensions of size 1 come or go, so a dimension keeps its place among the others."""
    number, node = call.source()
    wide = [dim for dim in node.dims if _size(dim) != 1]
    dims = tuple(plain(1) if size == 1 else wide.pop(0) for size in call.outputs[0].shape)
    return [Derived(dims, [(number, {})])]


def _size(dim: Sequence[Atom]) -> int:
    size = 1
    for atom in dim:
        size *= atom.size
    return size


@rule("expand", "repeat")
def expand(call: Call) -> list[Derived]:
    number, node = call.source()
    shape = call.outputs[0].shape
    padded: Dims = (plain(1),) * (len(shape) - len(node.dims)) + node.dims
    dims = []
    for dim, size in zip(padded, shape, strict=True):
        if _size(dim) == size:
            dims.append(dim)
        elif _size(dim) == 1:
            dims.append((Atom(UNIFORM, size),))
        elif axes_of([dim]):
            raise NotUnderstoodError("repeats an axis of the image")
        else:
            dims.append(plain(size))
    return [Derived(tuple(dims), [(number, {})])]


@rule("slice")
def slice_(call: Call) -> list[Derived]:
    number, node = call.source()
    at = call.args["dim"] % len(node.dims)
    axis, size = single_axis(node.dims[at]), _size(node.dims[at])
    start, _, step = slice(call.args["start"], call.args["end"], call.args["step"]).indices(size)
    if axis is None:
        return [Derived(_with(node.dims, at, plain(call.outputs[0].shape[at])), [(number, {})])]
    call.strided.append(Evenness(axis, (size - start) % step == 0, (size - start) % step == 0))
    return [_shifted(call, number, at, axis, Window(step, -start), 0)]


def _with(dims: Dims, at: int, dim: Sequence[Atom]) -> Dims:
    return (*dims[:at], tuple(dim), *dims[at + 1:])


def _shifted(call: Call, number: int, at: int, axis: int, step: Map, output: int) -> Derived:  # noqa: PLR0913
    """One output whose dimension ``at`` is a window of the node's."""
    dim = (Atom(axis, call.outputs[output].shape[at]),)
    return Derived(_with(call.node(number).dims, at, dim), [(number, {axis: step})])


@rule("split", "split_with_sizes", "unbind", "select")
def split(call: Call) -> list[Derived]:
    number, node = call.source()
    at = call.args["dim"] % len(node.dims)
    axis = single_axis(node.dims[at]) if axes_of([node.dims[at]]) else None
    found, start = [], 0
    for output, tensor in enumerate(call.outputs):
        if tensor.ndim < len(node.dims):
            dims = (*node.dims[:at], *node.dims[at + 1:])
            found.append(Derived(dims, [(number, {})], "global", "takes one position of an axis"))
            continue
        if axis is None:
            found.append(Derived(_with(node.dims, at, plain(tensor.shape[at])), [(number, {})]))
        else:
            found.append(_shifted(call, number, at, axis, Window(1, -start), output))
        start += tensor.shape[at]
    return found


@rule("cat")
def cat(call: Call) -> list[Derived]:
    tensors = [t for t in call.args["tensors"] if t.numel()]
    shape = call.outputs[0].shape
    at = call.args["dim"] % len(shape)
    used = [(t, number) for t in tensors if (number := call.node_of(t)) is not None]
    axes = {axis for _, number in used for axis in axes_of([call.node(number).dims[at]])}
    if not axes:
        dims = joined(call, tensors, shape, free=at)
        return [Derived(dims, [(number, {}) for _, number in used])]
    return [_cat_along(call, tensors, at, axes.pop())]


def _cat_along(call: Call, tensors: Sequence[Any], at: int, axis: int) -> Derived:
    """Something constant joined to an axis of the image is padding; anything else is not understood."""
    tracked = [place for place, t in enumerate(tensors) if call.node_of(t) is not None]
    if len(tracked) != 1 or not all(call.uniform(t) for p, t in enumerate(tensors) if p not in tracked):
        raise NotUnderstoodError("joins parts along an axis of the image")
    number = call.node_of(tensors[tracked[0]])
    assert number is not None
    call.padded = True
    return _shifted(call, number, at, axis, Window(1, sum(t.shape[at] for t in tensors[:tracked[0]])), 0)


@rule("stack")
def stack(call: Call) -> list[Derived]:
    tensors = call.args["tensors"]
    at = call.args["dim"] % call.outputs[0].ndim
    dims = list(joined(call, tensors, tensors[0].shape))
    dims.insert(at, plain(len(tensors)))
    return [Derived(tuple(dims), [(n, {}) for t in tensors if (n := call.node_of(t)) is not None])]
