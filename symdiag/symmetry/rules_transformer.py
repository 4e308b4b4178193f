"""torch's own transformer layers, whose forward cannot be traced: their parts follow the rules of rules_modules."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from symdiag.symmetry import rules_modules
from symdiag.symmetry.axes import AxisTable
from symdiag.symmetry.rules_modules import Call, Rule
from symdiag.symmetry.units import Labels

Block = Callable[[AxisTable, Call, Labels], Labels]


def rule_for(module: Any) -> Rule | None:
    """The rule of a module, or None if symdiag does not know how it treats units."""
    if isinstance(module, nn.TransformerEncoderLayer):
        return encoder_layer
    if isinstance(module, nn.TransformerDecoderLayer):
        return decoder_layer
    stacks = (nn.TransformerEncoder, nn.TransformerDecoder)
    return layers if isinstance(module, stacks) else rules_modules.rule_for(module)


def layers(table: AxisTable, call: Call) -> Labels:
    """A stack of encoder or decoder layers (which read the encoder's output, too) and an optional norm."""
    labels, *memory = call.inputs
    for index in range(len(call.module.layers)):
        labels = _part(table, call, f"layers.{index}", [labels, *memory])
    return labels if call.module.norm is None else _part(table, call, "norm", [labels])


def encoder_layer(table: AxisTable, call: Call) -> Labels:
    """Attention and a feed-forward block, each added to the residual stream, with a norm before or after."""
    return _blocks(table, call, (_attend, _feed_forward))


def decoder_layer(table: AxisTable, call: Call) -> Labels:
    """As an encoder layer, with attention to the encoder's output in between."""
    return _blocks(table, call, (_attend, _attend_across, _feed_forward))


def _blocks(table: AxisTable, call: Call, blocks: Sequence[Block]) -> Labels:
    stream, first = call.inputs[0], call.module.norm_first
    for number, block in enumerate(blocks, start=1):
        norm = f"norm{number}"
        entered = _part(table, call, norm, [stream]) if first else stream
        stream = _add(table, stream, block(table, call, entered), call.path)
        stream = stream if first else _part(table, call, norm, [stream])
    return stream


def _attend(table: AxisTable, call: Call, labels: Labels) -> Labels:
    return _part(table, call, "self_attn", [labels] * 3)[0]  # type: ignore[no-any-return]


def _attend_across(table: AxisTable, call: Call, labels: Labels) -> Labels:
    memory = call.inputs[1]
    return _part(table, call, "multihead_attn", [labels, memory, memory])[0]  # type: ignore[no-any-return]


def _feed_forward(table: AxisTable, call: Call, labels: Labels) -> Labels:
    hidden = _part(table, call, "linear1", [labels])
    table.unsign(hidden[-1:], f"the activation of {call.path} need not be odd")
    return _part(table, call, "linear2", [hidden])  # type: ignore[no-any-return]


def _add(table: AxisTable, first: Labels, second: Labels, path: str) -> Labels:
    reason = f"{path} adds them to units that stay fixed"
    return tuple(table.unify(a, b, reason) for a, b in zip(first, second, strict=True))


def _part(table: AxisTable, call: Call, name: str, inputs: Sequence[Labels]) -> Any:
    """Apply the rule of one submodule; the whole block keeps the shape of its input."""

    def tensor(role: str) -> str | None:
        return call.tensor(f"{name}.{role}")

    module, shapes = call.module.get_submodule(name), [call.shapes[0]] * len(inputs)
    part = Call(f"{call.path}.{name}", module, inputs, shapes, call.output_shape, tensor)
    rule = rule_for(module)
    if rule is None:
        table.pin(
            [label for labels in inputs for label in labels], f"they pass through {part.path}"
        )
        return (None,) * len(call.shapes[0])
    return rule(table, part)
