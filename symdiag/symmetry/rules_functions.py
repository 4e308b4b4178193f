"""How functions, operators and tensor methods carry unit axes; keyed by name, so that
``torch.relu``, ``F.relu`` and ``x.relu()`` share one rule. A name without a rule pins every unit it
touches.
"""

from __future__ import annotations

from typing import Any

from symdiag.symmetry.axes import AxisTable
from symdiag.symmetry.rules_shapes import (
    FunctionCall,
    FunctionRule,
    along,
    chunk,
    concatenate,
    glu,
    hstack,
    item,
    narrow,
    repeat,
    reshape_labels,
    select,
    split,
    stack,
    unbind,
    unknown,
)
from symdiag.symmetry.units import SINGLE, Label, Labels


def odd(table: AxisTable, call: FunctionCall) -> Any:
    """Entry by entry, commuting with sign flips."""
    return call.labels if len(call.tensors) == 1 else unknown(table, call)


def not_odd(table: AxisTable, call: FunctionCall) -> Any:
    """Entry by entry (or along an axis, alike for every order of it), not commuting with sign
    flips.
    """
    table.unsign(call.labels, f"{call.name} is not an odd function")
    return odd(table, call)


def addition(table: AxisTable, call: FunctionCall) -> Labels:
    """Sums tie the units of both sides; a constant or a broadcast summand does not follow a flip."""
    labels = _broadcast(table, call, "added to units that stay fixed")
    if len(call.tensors) < 2:
        table.unsign(labels, "a constant is added")
    return labels


def product(table: AxisTable, call: FunctionCall) -> Labels:
    """Products tie the units of both sides; two flips cancel, so shared units cannot flip."""
    labels = _broadcast(table, call, "is multiplied with units that stay fixed", scale=True)
    if len(call.tensors) > 1:
        table.unsign(labels, f"{call.name} of two activations")
    elif call.name in {"div", "truediv"} and call.args[:1] != (None,):
        table.unsign(labels, "a constant is divided by it")
    return labels


def _broadcast(table: AxisTable, call: FunctionCall, reason: str, *, scale: bool = False) -> Labels:
    """Unify the axes of all tensor arguments, aligned at the last; axes of size 1 stretch."""
    rank = max(len(shape) for _, shape in call.tensors)
    result: list[Label | None] = [None] * rank
    for position in range(rank):
        entries = [
            (labels[position - rank + len(shape)], shape[position - rank + len(shape)])
            for labels, shape in call.tensors
            if position - rank + len(shape) >= 0
        ]
        widest = max(size for _, size in entries)
        wide = [label for label, size in entries if size == widest]
        table.pin([label for label, size in entries if size < widest], SINGLE)
        label = wide[0]
        for other in wide[1:]:
            label = table.unify(label, other, f"{call.name}: {reason}")
        if len(wide) < len(call.tensors) and not scale:
            table.unsign([label], "a broadcast term is added")
        result[position] = label
    return tuple(result)


def broadcast(table: AxisTable, call: FunctionCall) -> Any:
    """broadcast_tensors: each keeps its units where it keeps its size; stretched axes have none."""
    results = []
    for (labels, shape), wide in zip(call.tensors, call.output_shape, strict=True):
        added = len(wide) - len(shape)
        kept = [a == b for a, b in zip(shape, wide[added:], strict=True)]
        table.pin([x for x, same in zip(labels, kept, strict=True) if not same], SINGLE)
        mine = (x if same else None for x, same in zip(labels, kept, strict=True))
        results.append((*(None for _ in range(added)), *mine))
    return tuple(results)


def reshape(table: AxisTable, call: FunctionCall) -> Labels:
    """view, reshape, flatten, and axes of size one that come and go."""
    return reshape_labels(table, call.labels, call.shape, call.output_shape)


def transpose(table: AxisTable, call: FunctionCall) -> Labels:
    """Two axes change places."""
    labels = list(call.labels)
    if call.name in {"t", "mT", "T"}:
        first, second = len(labels) - 2, len(labels) - 1
    else:
        first, second = call.option(1, "dim0"), call.option(2, "dim1")
    labels[first], labels[second] = labels[second], labels[first]
    return tuple(labels)


def permute(table: AxisTable, call: FunctionCall) -> Labels:
    """Axes in a new order."""
    order = call.option(1, "dims")
    order = call.args[1:] if isinstance(order, int) else order
    return tuple(call.labels[axis] for axis in order)


def reduce(table: AxisTable, call: FunctionCall) -> Any:
    """Sums, means and extrema: alike for every order of the units, not for their signs."""
    dims = call.option(1, "dim")
    rank = len(call.labels)
    axes = {
        a % rank
        for a in ([dims] if isinstance(dims, int) else dims if dims is not None else range(rank))
    }
    table.unsign([call.labels[a] for a in axes], f"{call.name} over units")
    if isinstance(dims, bool):
        return unknown(table, call)
    if call.name not in {"mean", "sum"}:
        table.unsign(call.labels, f"{call.name} is not odd")
    keep = bool(
        call.kwargs.get("keepdim", False)
        if call.name in {"var", "std"}
        else call.option(2, "keepdim", False)
    )
    kept = tuple(
        None if a in axes else label for a, label in enumerate(call.labels) if keep or a not in axes
    )
    return (kept, kept) if call.name in {"max", "min"} and dims is not None else kept


def pool(table: AxisTable, call: FunctionCall) -> Labels:
    """Functional pooling and interpolation over axes that must be fixed."""
    moved = [
        label
        for label, a, b in zip(call.labels, call.shape, call.output_shape, strict=True)
        if a != b
    ]
    table.pin(moved, f"{call.name} pools over units")
    if "max" in call.name:
        table.unsign(call.labels, "a maximum is taken")
    return call.labels


def matmul(table: AxisTable, call: FunctionCall) -> Any:
    """Batched product: contracted units are tied, batch units must agree, rows and columns pass."""
    (left, left_shape), (right, right_shape) = call.tensors[:2]
    if len(left_shape) < 2 or len(right_shape) < 2:
        return unknown(table, call)
    table.unify(left[-1], right[-2], "a product sums over units that stay fixed on one side")
    batch = FunctionCall(
        call.name, [(left[:-2], left_shape[:-2]), (right[:-2], right_shape[:-2])], (), {}, None
    )
    outer = (
        _broadcast(table, batch, "is multiplied with units that stay fixed", scale=True)
        if left[:-2] or right[:-2]
        else ()
    )
    table.unsign(outer, "a product of two activations")
    return (*outer, left[-2], right[-1])


def matmul_added(table: AxisTable, call: FunctionCall) -> Any:
    """addmm, baddbmm: a sum with a product."""
    (added, shape), *factors = call.tensors
    product_ = matmul(table, FunctionCall(call.name, factors, (), {}, call.output_shape))
    summands = [(added, shape), (product_, call.output_shape)]
    return _broadcast(
        table, FunctionCall(call.name, summands, (), {}, None), "added to units that stay fixed"
    )


def einsum(table: AxisTable, call: FunctionCall) -> Any:
    """Axes with one letter are tied. A letter met twice, output included, follows a flip; others do
    not.
    """
    equation = str(call.args[0]).replace(" ", "") if call.args else ""
    inputs, arrow, output = equation.partition("->")
    terms = inputs.split(",")
    if not arrow or "." in equation or any(len(set(term)) < len(term) for term in [*terms, output]):
        return unknown(table, call)
    found: dict[str, Label | None] = {}
    for term, (labels, _) in zip(terms, call.tensors, strict=True):
        for letter, label in zip(term, labels, strict=True):
            known = letter in found
            reason = "a product sums over units that stay fixed on one side"
            found[letter] = table.unify(found[letter], label, reason) if known else label
    odd_ones = [
        found[letter] for letter in found if sum(letter in term for term in [*terms, output]) != 2
    ]
    table.unsign(odd_ones, "a product of several activations")
    return tuple(found[letter] for letter in output)


def linear(table: AxisTable, call: FunctionCall) -> Labels:
    """F.linear: (..., in), (out, in), (out) → (..., out)."""
    labels, weight = call.labels, call.tensors[1][0]
    table.unify(labels[-1], weight[1], "a layer reads units that stay fixed")
    out = weight[0]
    if len(call.tensors) > 2:
        out = table.unify(out, call.tensors[2][0][0], "a bias is shared with units that stay fixed")
        table.unsign(labels[:-1], "a bias is added along another axis")
    return (*labels[:-1], out)


def embedding(table: AxisTable, call: FunctionCall) -> Labels:
    """F.embedding: indices into (vocabulary, units)."""
    weight = call.tensors[1][0]
    table.pin(weight[0], "rows are picked by index")
    return (*call.labels, weight[1])


def layer_norm(table: AxisTable, call: FunctionCall) -> Labels:
    """F.layer_norm and F.rms_norm: scale and shift move with the normalised units."""
    labels = list(call.labels)
    first = len(labels) - len(call.option(1, "normalized_shape"))
    for affine, _ in call.tensors[1:]:
        for position, label in enumerate(affine, start=first):
            labels[position] = table.unify(
                labels[position], label, "a norm scales units that stay fixed"
            )
    table.unsign(labels, f"{call.name} may add a shift and subtract a mean")
    return tuple(labels)


def weight_norm(table: AxisTable, call: FunctionCall) -> Labels:
    """The weight of torch's weight_norm: directions (units, …) times a length for each unit, which
    keeps its sign.
    """
    (directions, _), (lengths, _) = call.tensors
    axis = call.option(2, "dim", 0)
    label = table.unify(
        directions[axis], lengths[axis], "lengths are shared with units that stay fixed"
    )
    table.unsign([label], f"{call.name} has lengths that do not flip")
    return (*directions[:axis], label, *directions[axis + 1 :])


def convolution(table: AxisTable, call: FunctionCall) -> Any:
    """F.conv1d to conv3d without groups."""
    labels, weight = call.labels, call.tensors[1][0]
    axis = len(labels) - len(weight) + 1
    if call.option(6, "groups", 1) != 1:
        return unknown(table, call)
    table.pin([*labels[axis + 1 :], *weight[2:]], "a convolution slides over units")
    table.unify(labels[axis], weight[1], "a layer reads units that stay fixed")
    out = weight[0]
    if len(call.tensors) > 2:
        out = table.unify(out, call.tensors[2][0][0], "a bias is shared with units that stay fixed")
    return (*labels[:axis], out, *labels[axis + 1 :])


def attention(table: AxisTable, call: FunctionCall) -> Labels:
    """scaled_dot_product_attention: heads (batch axes) agree, q and k share units within a head, v
    passes.
    """
    (query, shape), (key, key_shape), (value, value_shape) = call.tensors[:3]
    table.unify(query[-1], key[-1], "q and k do not share units")
    table.pin([query[-2], key[-2], value[-2]], "attention runs over units")
    parts = [(query[:-2], shape[:-2]), (key[:-2], key_shape[:-2]), (value[:-2], value_shape[:-2])]
    heads = _broadcast(
        table, FunctionCall(call.name, parts, (), {}, None), "heads do not match", scale=True
    )
    table.unsign([*heads, query[-1]], "sign flips within heads are not grouped")
    for labels, _ in call.tensors[3:]:
        table.pin(labels, "an attention mask depends on units")
    return (*heads, None, value[-1])


def compare(table: AxisTable, call: FunctionCall) -> Labels:
    """Entry by entry over several tensors, with no regard for signs: comparisons, where,
    masked_fill.
    """
    labels = _broadcast(table, call, "is combined with units that stay fixed", scale=True)
    table.unsign(labels, f"{call.name} is not odd")
    return labels


def _names(names: str, rule: FunctionRule) -> dict[str, FunctionRule]:
    return dict.fromkeys(names.split(), rule)


RULES: dict[str, FunctionRule] = {
    **_names(
        "tanh tanh_ erf sin softsign tanhshrink asinh sinh atan neg negative tan clone contiguous detach",
        odd,
    ),
    **_names(
        "dropout dropout1d dropout2d dropout3d alpha_dropout feature_dropout to float double identity",
        odd,
    ),
    **_names(
        "relu relu_ relu6 gelu silu mish elu selu celu leaky_relu softplus sigmoid logsigmoid hardswish",
        not_odd,
    ),
    **_names(
        "hardsigmoid hardtanh exp expm1 log log1p abs cos square sqrt rsqrt reciprocal pow clamp",
        not_odd,
    ),
    **_names("softmax log_softmax softmin normalize", not_odd),
    **_names("add iadd sub isub rsub add_ sub_", addition),
    **_names("mul imul div truediv itruediv mul_ div_", product),
    **_names("view reshape flatten unflatten squeeze unsqueeze ravel view_as reshape_as", reshape),
    **_names("transpose swapaxes swapdims t mT T", transpose),
    **_names("permute", permute),
    **_names("mean sum amax amin max min var std logsumexp", reduce),
    **_names(
        "max_pool1d max_pool2d max_pool3d avg_pool1d avg_pool2d avg_pool3d interpolate pad", pool
    ),
    **_names("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", pool),
    **_names("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", pool),
    **_names("matmul bmm mm", matmul),
    **_names("addmm baddbmm", matmul_added),
    **_names("einsum", einsum),
    **_names("gt lt ge le eq ne where maximum minimum masked_fill", compare),
    **_names("chunk", chunk),
    **_names("split", split),
    **_names("unbind", unbind),
    **_names("glu", glu),
    **_names("linear", linear),
    **_names("_weight_norm", weight_norm),
    **_names("embedding", embedding),
    **_names("layer_norm rms_norm", layer_norm),
    **_names("conv1d conv2d conv3d", convolution),
    **_names("scaled_dot_product_attention", attention),
    **_names("broadcast_tensors", broadcast),
    **_names("cat concat concatenate", concatenate),
    **_names("hstack", hstack),
    **_names("narrow", narrow),
    **_names("getitem", item),
    **_names("expand expand_as repeat", repeat),
    **_names("flip roll cumsum", along),
    **_names("select", select),
    **_names("stack", stack),
}
