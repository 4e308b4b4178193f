"""Attention, recurrent layers and torch's transformer layers, whose forward cannot be traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from symdiag.symmetry import rules_modules
from symdiag.symmetry.axes import AxisTable
from symdiag.symmetry.rules_modules import ModuleCall, ModuleRule, bind
from symdiag.symmetry.units import Label, Labels


@dataclass(frozen=True)
class Stacked:
    """An output whose first axis stacks tensors with units of their own (the last states of a
    recurrent stack).
    """

    levels: tuple[Labels, ...]


Stage = Callable[[AxisTable, ModuleCall, Labels], Labels]


def rule_for(module: Any) -> ModuleRule | None:
    """The rule of a module, or None if symdiag does not know how it treats units."""
    if isinstance(module, nn.TransformerEncoderLayer):
        return encoder_layer
    if isinstance(module, nn.TransformerDecoderLayer):
        return decoder_layer
    if isinstance(module, nn.MultiheadAttention):
        return attention
    if isinstance(module, nn.modules.rnn.RNNBase):
        return recurrent
    stacks = (nn.TransformerEncoder, nn.TransformerDecoder)
    return layers if isinstance(module, stacks) else rules_modules.rule_for(module)


def layers(table: AxisTable, call: ModuleCall) -> Labels:
    """A stack of encoder or decoder layers (which read the encoder's output, too) and an optional
    norm.
    """
    labels, *memory = call.inputs
    for index in range(len(call.module.layers)):
        labels = _part(table, call, f"layers.{index}", [labels, *memory])
    return labels if call.module.norm is None else _part(table, call, "norm", [labels])


def encoder_layer(table: AxisTable, call: ModuleCall) -> Labels:
    """Attention and a feed-forward block, each added to the residual stream, with a norm before or
    after.
    """
    return _blocks(table, call, (_attend, _feed_forward))


def decoder_layer(table: AxisTable, call: ModuleCall) -> Labels:
    """As an encoder layer, with attention to the encoder's output in between."""
    return _blocks(table, call, (_attend, _attend_across, _feed_forward))


def _blocks(table: AxisTable, call: ModuleCall, blocks: Sequence[Stage]) -> Labels:
    stream, first = call.inputs[0], call.module.norm_first
    for number, block in enumerate(blocks, start=1):
        norm = f"norm{number}"
        # pre-norm: the norm is inside the branch and the stream
        # passes untouched; post-norm: it is on the stream
        entered = _part(table, call, norm, [stream]) if first else stream
        stream = _add(table, stream, block(table, call, entered), call.path)
        stream = stream if first else _part(table, call, norm, [stream])
    return stream


def _attend(table: AxisTable, call: ModuleCall, labels: Labels) -> Labels:
    return _part(table, call, "self_attn", [labels] * 3)[0]  # type: ignore[no-any-return]


def _attend_across(table: AxisTable, call: ModuleCall, labels: Labels) -> Labels:
    memory = call.inputs[1]
    return _part(table, call, "multihead_attn", [labels, memory, memory])[0]  # type: ignore[no-any-return]


def _feed_forward(table: AxisTable, call: ModuleCall, labels: Labels) -> Labels:
    hidden = _part(table, call, "linear1", [labels])
    table.unsign(hidden[-1:], f"the activation of {call.path} need not be odd")
    return _part(table, call, "linear2", [hidden])  # type: ignore[no-any-return]


def _add(table: AxisTable, first: Labels, second: Labels, path: str) -> Labels:
    reason = f"{path} adds them to units that stay fixed"
    return tuple(table.unify(a, b, reason) for a, b in zip(first, second, strict=True))


def _part(table: AxisTable, call: ModuleCall, name: str, inputs: Sequence[Labels]) -> Any:
    """Apply the rule of one submodule; the whole block keeps the shape of its input."""

    def tensor(role: str) -> str | None:
        return call.tensor(f"{name}.{role}")

    module, shapes = call.module.get_submodule(name), [call.shapes[0]] * len(inputs)
    part = ModuleCall(f"{call.path}.{name}", module, inputs, shapes, call.output_shape, tensor)
    rule = rule_for(module)
    if rule is None:
        table.pin(
            [label for labels in inputs for label in labels], f"they pass through {part.path}"
        )
        return (None,) * len(call.shapes[0])
    return rule(table, part)


def attention(table: AxisTable, call: ModuleCall) -> tuple[Labels, Labels]:
    """Heads are the units: rows of q, k and v (stacked) and columns of the output projection, in
    blocks.

    The structure within a head (any invertible map between q and k, or v and output) is larger and
    not grouped.
    """
    module, heads = call.module, call.module.num_heads
    query = call.inputs[0]
    inner = module.head_dim
    unit = table.new(f"{call.path}.heads", heads)
    table.pin(
        [label for entry in call.inputs for label in entry[:-1]], f"{call.path} attends over units"
    )
    table.unsign([unit], "sign flips within heads are not grouped")
    # one packed matrix has one column axis: q, k and v must read the same units
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
        # (3, heads, head_dim) along the rows: a head's block recurs in q, k and v
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
    # weights averaged over heads are alike in every order of these, weights by head are not
    if weights is not None and len(weights) == len(query) + 1:
        table.pin(unit, f"{call.path} returns the weights of every head")
    return (*query[:-1], out), (None,) * len(weights or ())


def recurrent(table: AxisTable, call: ModuleCall) -> tuple[Labels, Any]:
    """Hidden units own a row in every gate and a column of the recurrent weight, layer by layer."""
    module, labels = call.module, call.inputs[0]
    gates = {"LSTM": 4, "GRU": 3}.get(module.mode, 1)
    label = labels[-1]
    table.pin(labels[:-1], f"{call.path} runs over units")
    if getattr(module, "proj_size", 0):
        table.pin(label, f"{call.path} is projected")
        return (*labels[:-1], None), (None,) * 3
    # torch orders the last states by layer, then direction
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
    table: AxisTable, call: ModuleCall, level: str, label: Label | None, gates: int
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
    # W_hh maps the units to themselves: its columns are the set that owns its rows
    bind(table, call, f"weight_hh_{level}", 1, unit)
    return unit
