"""How each torch.nn module carries unit axes from its inputs to its outputs, and which parameters move with them.

A rule takes the axis table and one call and returns the labels of the output (a tuple of them for several outputs).
A rule that cannot follow a label must pin it: a pinned group loses symmetry, a dropped label would invent one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from symdiag.symmetry.axes import AxisTable
from symdiag.symmetry.reshaping import reshape_labels
from symdiag.symmetry.rules_pieces import halved
from symdiag.symmetry.units import Label, Labels

TensorName = Callable[[str], "str | None"]


@dataclass(frozen=True)
class Call:
    """One module call: ``inputs`` are the labels of its tensor arguments, ``shapes`` their shapes."""

    path: str
    module: Any
    inputs: Sequence[Labels]
    shapes: Sequence[tuple[int, ...]]
    output_shape: Any
    tensor: TensorName  # role → canonical tensor name, None where the module has no such tensor


@dataclass(frozen=True)
class Stacked:
    """An output whose first axis stacks tensors with units of their own (the last states of a recurrent stack)."""

    levels: tuple[Labels, ...]


Rule = Callable[[AxisTable, Call], Any]

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
    table: AxisTable, call: Call, role: str, axis: int, label: Label | None, *, flips: bool = True
) -> Label | None:
    """``AxisTable.bind`` for the module's tensor of that role, if it has one."""
    name = call.tensor(role)
    return label if name is None else table.bind(name, axis, label, flips=flips)


def _pass_others(table: AxisTable, call: Call, others: Sequence[Label | None]) -> None:
    """Axes a layer does not act on keep their units, but its bias would not follow a flip along them."""
    if call.tensor("bias") is not None:
        table.unsign(others, f"{call.path} adds a bias along another axis")


def linear(table: AxisTable, call: Call) -> Labels:
    """Inputs: columns. Outputs: new units, rows and bias."""
    labels = call.inputs[0]
    _pass_others(table, call, labels[:-1])
    bind(table, call, "weight", 1, labels[-1])
    return (*labels[:-1], _produce(table, call, 0, call.module.out_features))


def bilinear(table: AxisTable, call: Call) -> Labels:
    """Inputs: one weight axis each. Outputs: new units, rows and bias."""
    first, second = call.inputs
    _pass_others(table, call, [*first[:-1], *second[:-1]])
    bind(table, call, "weight", 1, first[-1])
    bind(table, call, "weight", 2, second[-1])
    reason = f"{call.path} reads units of different layers"
    shared = (table.unify(a, b, reason) for a, b in zip(first[:-1], second[:-1], strict=True))
    return (*shared, _produce(table, call, 0, call.module.out_features))


def _produce(table: AxisTable, call: Call, axis: int, size: int) -> Label | None:
    """New units along ``axis`` of the weight, and along the bias."""
    out = bind(table, call, "weight", axis, table.new(call.path, size))
    return bind(table, call, "bias", 0, out)


def convolution(table: AxisTable, call: Call) -> Labels:
    """Channels like features; depthwise keeps its channels; other grouped convolutions pin both sides."""
    module, labels = call.module, call.inputs[0]
    axis = len(labels) - len(module.kernel_size) - 1
    table.pin(labels[axis + 1 :], f"{call.path} slides over units")
    _pass_others(table, call, labels[:axis])
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


def _depthwise(table: AxisTable, call: Call, label: Label | None) -> Label | None:
    """Each input channel owns ``multiplier`` consecutive filters: the units pass through."""
    multiplier = call.module.out_channels // call.module.in_channels
    wide = label and Label(label.variable, label.outer, label.inner * multiplier)
    filters = label if call.module.transposed else wide  # one row an input channel, or one a filter
    bind(table, call, "weight", 0, filters, flips=False)
    return bind(table, call, "bias", 0, wide)


def batch_norm(table: AxisTable, call: Call) -> Labels:
    """Scale and statistics move with the channel; under a flip only the shift and the running mean change sign."""
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


def layer_norm(table: AxisTable, call: Call) -> Labels:
    """Equivariant under reordering of the normalised units; the mean over units rules flips out (RMSNorm has none)."""
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


def group_norm(table: AxisTable, call: Call) -> Labels:
    """One group: like LayerNorm. A group per channel: like BatchNorm. Else fixed sets of units are mixed: pinned."""
    labels, groups = list(call.inputs[0]), call.module.num_groups
    _pass_others(table, call, [*labels[:1], *labels[2:]])
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


def embedding(table: AxisTable, call: Call) -> Labels:
    """Rows are the vocabulary (fixed), columns new units."""
    bind(table, call, "weight", 0, None)
    label = bind(table, call, "weight", 1, table.new(call.path, call.module.embedding_dim))
    if isinstance(call.module, nn.EmbeddingBag):
        if call.module.mode == "max":
            table.unsign([label], f"{call.path} takes a maximum")
        return (None, label)
    return (*call.inputs[0], label)


def pooling(table: AxisTable, call: Call) -> Labels:
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


def prelu(table: AxisTable, call: Call) -> Labels:
    """A slope per channel moves with it."""
    labels = list(call.inputs[0])
    table.unsign(labels, f"{call.path} is not an odd function")
    if call.module.num_parameters > 1:
        labels[1] = bind(table, call, "weight", 0, labels[1], flips=False)
    return tuple(labels)


def attention(table: AxisTable, call: Call) -> tuple[Labels, Labels]:
    """Heads are the units: rows of q, k and v (stacked) and columns of the output projection, in blocks.

    The structure within a head (any invertible map between q and k, or v and output) is larger and not grouped.
    """
    module, heads = call.module, call.module.num_heads
    query = call.inputs[0]
    inner = module.head_dim
    unit = table.new(f"{call.path}.heads", heads)
    table.pin(
        [label for entry in call.inputs for label in entry[:-1]], f"{call.path} attends over units"
    )
    table.unsign([unit], "sign flips within heads are not grouped")
    if call.tensor("in_proj_weight") is not None:
        label = query[-1]
        for other in call.inputs[1:3]:
            label = table.unify(label, other[-1], f"{call.path} reads units of different layers")
        bind(table, call, "in_proj_weight", 1, label)
        stacked = [("in_proj_weight", 3), ("in_proj_bias", 3)]
    else:
        for role, entry in zip("qkv", call.inputs, strict=False):
            bind(table, call, f"{role}_proj_weight", 1, entry[-1])
        stacked = [
            ("q_proj_weight", 1),
            ("k_proj_weight", 1),
            ("v_proj_weight", 1),
            ("in_proj_bias", 3),
        ]
    for role, outer in stacked:
        bind(table, call, role, 0, Label(unit.variable, outer, inner))
    for role in ("bias_k", "bias_v"):
        bind(table, call, role, 2, Label(unit.variable, 1, inner))
    bind(table, call, "out_proj.weight", 1, Label(unit.variable, 1, inner))
    out = bind(table, call, "out_proj.weight", 0, table.new(call.path, module.embed_dim))
    out = bind(table, call, "out_proj.bias", 0, out)
    outputs = (
        call.output_shape if isinstance(call.output_shape[0], tuple) else (call.output_shape, None)
    )
    weights = outputs[1]
    if weights is not None and len(weights) == len(query) + 1:
        table.pin(unit, f"{call.path} returns the weights of every head")
    return (*query[:-1], out), (None,) * len(weights or ())


def recurrent(table: AxisTable, call: Call) -> tuple[Labels, Any]:
    """Hidden units own a row in every gate and a column of the recurrent weight, layer by layer."""
    module, labels = call.module, call.inputs[0]
    gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    label = labels[-1]
    table.pin(labels[:-1], f"{call.path} runs over units")
    if getattr(module, "proj_size", 0):
        table.pin(label, f"{call.path} is projected")
        return (*labels[:-1], None), (None,) * 3
    states: list[Label] = []
    for level in range(module.num_layers):
        ways = ["", "_reverse"] if module.bidirectional else [""]
        units = [_recurrent_level(table, call, f"l{level}{way}", label, gates) for way in ways]
        states += units
        label = table.concatenation([(unit, module.hidden_size) for unit in units])
    if len(call.inputs) > 1:
        table.pin(states, f"{call.path} is given an initial state")
    state = Stacked(tuple((None, unit) for unit in states))
    return (*labels[:-1], label), (state, state) if module.mode == "LSTM" else state


def _recurrent_level(
    table: AxisTable, call: Call, level: str, label: Label | None, gates: int
) -> Label:
    """One direction of one layer: new units, reading ``label`` and themselves."""
    module = call.module
    bind(table, call, f"weight_ih_{level}", 1, label)
    single = module.num_layers == 1
    name = f"{call.path}.{level.partition('_')[2]}" if single else f"{call.path}.{level}"
    unit = table.new(name.rstrip("."), module.hidden_size)
    if module.mode != "RNN_TANH":
        table.unsign([unit], f"{call.path} has gates or activations that are not odd")
    for role in (
        f"weight_ih_{level}",
        f"bias_ih_{level}",
        f"weight_hh_{level}",
        f"bias_hh_{level}",
    ):
        bind(table, call, role, 0, Label(unit.variable, gates))
    bind(table, call, f"weight_hh_{level}", 1, unit)
    return unit


def pointwise(table: AxisTable, call: Call) -> Labels:
    """Applied entry by entry; only odd functions commute with sign flips."""
    labels = call.inputs[0]
    odd = isinstance(call.module, ODD_MODULES)
    if isinstance(call.module, nn.Hardtanh):
        odd = call.module.min_val == -call.module.max_val
    if not odd:
        table.unsign(labels, f"{type(call.module).__name__} is not an odd function")
    return labels


def glu(table: AxisTable, call: Call) -> Labels:
    """A gated linear unit: unit i owns entry i of both halves."""
    return halved(table, call.inputs[0], call.shapes[0], call.module.dim)


def reshaped(table: AxisTable, call: Call) -> Labels:
    """Flatten and Unflatten modules."""
    return reshape_labels(table, call.inputs[0], call.shapes[0], call.output_shape)


RULES: tuple[tuple[Any, Rule], ...] = (
    (nn.Linear, linear),
    (nn.Bilinear, bilinear),
    (nn.modules.conv._ConvNd, convolution),
    (nn.modules.batchnorm._NormBase, batch_norm),
    ((nn.LayerNorm, nn.RMSNorm), layer_norm),
    (nn.GroupNorm, group_norm),
    ((nn.Embedding, nn.EmbeddingBag), embedding),
    (nn.MultiheadAttention, attention),
    (nn.modules.rnn.RNNBase, recurrent),
    (nn.PReLU, prelu),
    (nn.GLU, glu),
    (_POOLS, pooling),
    ((nn.Flatten, nn.Unflatten), reshaped),
    ((*ODD_MODULES, *SOFTMAXES), pointwise),
)
"""First match wins. Other classes of ``torch.nn.modules.activation`` are pointwise too."""


def rule_for(module: Any) -> Rule | None:
    """The rule of a module, or None if symdiag does not know how it treats units."""
    for kinds, rule in RULES:
        if isinstance(module, kinds):
            return rule
    return pointwise if type(module).__module__ == "torch.nn.modules.activation" else None
