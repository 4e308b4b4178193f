"""How each torch.nn module carries unit axes from its inputs to its outputs, and which parameters
move with them.

A rule takes the axis table and one call and returns the labels of the output (a tuple of them for
several outputs). A rule that cannot follow a label must pin it: a pinned group loses symmetry, a
dropped label would invent one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from symdiag.symmetry.axes import AxisTable
from symdiag.symmetry.rules_shapes import halved, reshape_labels
from symdiag.symmetry.units import Label, Labels

TensorName = Callable[[str], "str | None"]


@dataclass(frozen=True)
class ModuleCall:
    """One module call: ``inputs`` are the labels of its tensor arguments, ``shapes`` their shapes."""

    path: str
    module: Any
    inputs: Sequence[Labels]
    shapes: Sequence[tuple[int, ...]]
    output_shape: Any
    tensor: TensorName  # role → canonical tensor name, None where the module has no such tensor


ModuleRule = Callable[[AxisTable, ModuleCall], Any]

ODD_MODULES = (
    nn.Tanh,
    nn.Softsign,
    nn.Tanhshrink,
    nn.Identity,
    nn.Softshrink,
    nn.Hardshrink,
    nn.modules.dropout._DropoutNd,
)
SOFTMAXES = (nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.Softmax2d)
_POOLS = (
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.Upsample,
)


def bind(
    table: AxisTable,
    call: ModuleCall,
    role: str,
    axis: int,
    label: Label | None,
    *,
    flips: bool = True,
) -> Label | None:
    """``AxisTable.bind`` for the module's tensor of that role, if it has one."""
    # absent tensors (bias=False, affine=False) constrain nothing
    name = call.tensor(role)
    return label if name is None else table.bind(name, axis, label, flips=flips)


def _pass_others(table: AxisTable, call: ModuleCall, others: Sequence[Label | None]) -> None:
    """Axes a layer does not act on keep their units, but its bias would not follow a flip along
    them.
    """
    if call.tensor("bias") is not None:
        table.unsign(others, f"{call.path} adds a bias along another axis")


def linear(table: AxisTable, call: ModuleCall) -> Labels:
    """Inputs: columns. Outputs: new units, rows and bias."""
    labels = call.inputs[0]
    _pass_others(table, call, labels[:-1])
    bind(table, call, "weight", 1, labels[-1])
    return (*labels[:-1], _produce(table, call, 0, call.module.out_features))


def bilinear(table: AxisTable, call: ModuleCall) -> Labels:
    """Inputs: one weight axis each. Outputs: new units, rows and bias."""
    first, second = call.inputs
    _pass_others(table, call, [*first[:-1], *second[:-1]])
    bind(table, call, "weight", 1, first[-1])
    # weight is (out, in1, in2)
    bind(table, call, "weight", 2, second[-1])
    reason = f"{call.path} reads units of different layers"
    shared = (table.unify(a, b, reason) for a, b in zip(first[:-1], second[:-1], strict=True))
    return (*shared, _produce(table, call, 0, call.module.out_features))


def _produce(table: AxisTable, call: ModuleCall, axis: int, size: int) -> Label | None:
    """New units along ``axis`` of the weight, and along the bias."""
    out = bind(table, call, "weight", axis, table.new(call.path, size))
    return bind(table, call, "bias", 0, out)


def convolution(table: AxisTable, call: ModuleCall) -> Labels:
    """Channels like features; depthwise keeps its channels; other grouped convolutions pin both
    sides.
    """
    module, labels = call.module, call.inputs[0]
    # counted from the end: an unbatched input (C, *space) is as good
    axis = len(labels) - len(module.kernel_size) - 1
    table.pin(labels[axis + 1 :], f"{call.path} slides over units")
    _pass_others(table, call, labels[:axis])
    # transposed convolutions store (in, out, *kernel)
    transposed = int(module.transposed)
    if module.groups == 1:
        bind(table, call, "weight", 1 - transposed, labels[axis])
        channel = _produce(table, call, transposed, module.out_channels)
    elif module.groups == module.in_channels:
        channel = _depthwise(table, call, labels[axis])
    else:
        channel = bind(table, call, "weight", 0, table.new(call.path, call.module.weight.shape[0]))
        table.pin([channel, labels[axis]], f"{call.path} is a grouped convolution")
        channel = None
    return (*labels[:axis], channel, *(None for _ in module.kernel_size))


def _depthwise(table: AxisTable, call: ModuleCall, label: Label | None) -> Label | None:
    """Each input channel owns ``multiplier`` consecutive filters: the units pass through."""
    multiplier = call.module.out_channels // call.module.in_channels
    wide = label and Label(label.variable, label.outer, label.inner * multiplier)
    filters = label if call.module.transposed else wide  # one row an input channel, or one a filter
    # input and output flip together, so the filter between them does not
    bind(table, call, "weight", 0, filters, flips=False)
    return bind(table, call, "bias", 0, wide)


def batch_norm(table: AxisTable, call: ModuleCall) -> Labels:
    """Scale and statistics move with the channel; under a flip only the shift and the running mean
    change sign.
    """
    labels = list(call.inputs[0])
    label = labels[1]
    _pass_others(table, call, [*labels[:1], *labels[2:]])
    for role, flips in (
        ("weight", False),
        ("bias", True),
        ("running_mean", True),
        ("running_var", False),
    ):
        label = bind(table, call, role, 0, label, flips=flips)
    labels[1] = label
    return tuple(labels)


def layer_norm(table: AxisTable, call: ModuleCall) -> Labels:
    """Equivariant under reordering of the normalised units; the mean over units rules flips out
    (RMSNorm has none).
    """
    labels = list(call.inputs[0])
    first = len(labels) - len(call.module.normalized_shape)
    _pass_others(table, call, labels[:first])
    for position in range(first, len(labels)):
        labels[position] = bind(
            table, call, "weight", position - first, labels[position], flips=False
        )
        labels[position] = bind(table, call, "bias", position - first, labels[position])
    if not isinstance(call.module, nn.RMSNorm):
        table.unsign(labels[first:], f"{call.path} subtracts the mean over units")
    return tuple(labels)


def group_norm(table: AxisTable, call: ModuleCall) -> Labels:
    """One group: like LayerNorm. A group per channel: like BatchNorm. Else fixed sets of units are
    mixed: pinned.
    """
    labels, groups = list(call.inputs[0]), call.module.num_groups
    _pass_others(table, call, [*labels[:1], *labels[2:]])
    # units could be reordered within a set and sets swapped: a wreath product, which is not grouped
    if groups not in {1, call.module.num_channels}:
        table.pin(
            labels[1], f"{call.path} normalises {groups} fixed groups of channels (GroupNorm)"
        )
        labels[1] = None
    if groups == 1:
        table.unsign(labels[1:2], f"{call.path} subtracts the mean over units")
    labels[1] = bind(table, call, "weight", 0, labels[1], flips=False)
    labels[1] = bind(table, call, "bias", 0, labels[1])
    return tuple(labels)


def embedding(table: AxisTable, call: ModuleCall) -> Labels:
    """Rows are the vocabulary (fixed), columns new units."""
    bind(table, call, "weight", 0, None)
    label = bind(table, call, "weight", 1, table.new(call.path, call.module.embedding_dim))
    # a bag reduces the axis of indices, which is gone from the output
    if isinstance(call.module, nn.EmbeddingBag):
        if call.module.mode == "max":
            table.unsign([label], f"{call.path} takes a maximum")
        return (None, label)
    return (*call.inputs[0], label)


def pooling(table: AxisTable, call: ModuleCall) -> Labels:
    """Channels pass; pooled axes must be fixed ones. A maximum is not odd."""
    labels, rank = call.inputs[0], len(call.output_shape)
    moved = [
        label
        for label, a, b in zip(labels, call.shapes[0], call.output_shape, strict=True)
        if a != b
    ]
    table.pin(moved, f"{call.path} pools over units")
    if "Max" in type(call.module).__name__:
        table.unsign(labels, f"{call.path} takes a maximum")
    return labels[:rank]


def prelu(table: AxisTable, call: ModuleCall) -> Labels:
    """A slope per channel moves with it."""
    labels = list(call.inputs[0])
    # max(0, x) + a min(0, x) is odd for a = 1 alone
    table.unsign(labels, f"{call.path} is not an odd function")
    if call.module.num_parameters > 1:
        labels[1] = bind(table, call, "weight", 0, labels[1], flips=False)
    return tuple(labels)


def pointwise(table: AxisTable, call: ModuleCall) -> Labels:
    """Applied entry by entry; only odd functions commute with sign flips."""
    labels = call.inputs[0]
    odd = isinstance(call.module, ODD_MODULES)
    if isinstance(call.module, nn.Hardtanh):
        odd = call.module.min_val == -call.module.max_val
    if not odd:
        table.unsign(labels, f"{type(call.module).__name__} is not an odd function")
    return labels


def glu(table: AxisTable, call: ModuleCall) -> Labels:
    """A gated linear unit: unit i owns entry i of both halves."""
    return halved(table, call.inputs[0], call.shapes[0], call.module.dim)


def reshaped(table: AxisTable, call: ModuleCall) -> Labels:
    """Flatten and Unflatten modules."""
    return reshape_labels(table, call.inputs[0], call.shapes[0], call.output_shape)


RULES: tuple[tuple[Any, ModuleRule], ...] = (
    (nn.Linear, linear),
    (nn.Bilinear, bilinear),
    (nn.modules.conv._ConvNd, convolution),
    (nn.modules.batchnorm._NormBase, batch_norm),
    ((nn.LayerNorm, nn.RMSNorm), layer_norm),
    (nn.GroupNorm, group_norm),
    ((nn.Embedding, nn.EmbeddingBag), embedding),
    (nn.PReLU, prelu),
    (nn.GLU, glu),
    (_POOLS, pooling),
    ((nn.Flatten, nn.Unflatten), reshaped),
    ((*ODD_MODULES, *SOFTMAXES), pointwise),
)
"""First match wins. Other classes of ``torch.nn.modules.activation`` are pointwise too."""


def rule_for(module: Any) -> ModuleRule | None:
    """The rule of a plain layer, or None where there is none."""
    for kinds, rule in RULES:
        if isinstance(module, kinds):
            return rule
    return pointwise if type(module).__module__ == "torch.nn.modules.activation" else None
