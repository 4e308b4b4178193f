"""Permutation specs of inferred chains: one group per hidden layer, named after the layer that
gives its units.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from symdiag.network import Layer, Network
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec


@dataclass
class _Draft:
    """A group under construction. ``broken`` holds why it must be given up, ``unsigned`` why flips
    must.
    """

    name: str
    width: int
    members: list[Member] = field(default_factory=list)
    broken: str = ""
    unsigned: str = ""


def infer_spec(posterior: Posterior, network: Network) -> PermutationSpec:
    """The groups of a chain: all but its input and output units can be reordered.

    Sign flips are included where the activation is known and odd. Units that pass through a norm
    which may mix them in fixed groups (GroupNorm) are left out, with a note.
    """
    # norms keep running statistics in buffers, and those are members too
    shapes = {
        **posterior.shapes,
        **{name: value.shape for name, value in posterior.buffers.items()},
    }
    drafts = _drafts(network, shapes)
    notes = [f"{d.name}: {d.broken}" for d in drafts if d.broken]
    notes += [
        f"{d.name}: {d.unsigned}" for d in drafts if network.is_odd and d.unsigned and not d.broken
    ]
    groups = tuple(
        Group(d.name, d.width, tuple(d.members), signed=network.is_odd and not d.unsigned)
        for d in drafts
        if not d.broken
    )
    return PermutationSpec(groups, (*network.notes, *notes))


def _drafts(network: Network, shapes: dict[str, tuple[int, ...]]) -> list[_Draft]:
    drafts: list[_Draft] = []
    # its outputs are the network's: relabelling them changes the function
    last = network.unit_layers[-1]
    for layer in network.layers:
        # norms before the first weights act on inputs, which stay fixed
        if layer.is_norm:
            if drafts:
                _pass_norm(drafts[-1], layer)
            continue
        if drafts:
            drafts[-1].members.append(
                Member(layer.weight, _axis(layer, incoming=True), inner=layer.inner)
            )
        if layer is last:
            break
        drafts.append(_produced(layer, shapes))
    return drafts


def _produced(layer: Layer, shapes: dict[str, tuple[int, ...]]) -> _Draft:
    """The group of the units that ``layer`` gives: rows of its weight (in every gate), entries of
    its biases.
    """
    draft = _Draft(layer.name, layer.out_features)
    # stacked gates, (gates * n): unit i owns row i of every gate, so the gates are outer
    gates = layer.shape[_axis(layer, incoming=False)] // layer.out_features
    draft.members.append(Member(layer.weight, _axis(layer, incoming=False), outer=gates))
    for bias in (layer.bias, layer.tensor_for("recurrent_bias")):
        if bias is not None:
            draft.members.append(Member(bias, len(shapes[bias]) - 1, outer=gates))
    recurrent = layer.tensor_for("recurrent")
    if recurrent is not None:
        # W_hh maps the units to themselves: both axes move, as P W P^T
        draft.members.append(Member(recurrent, _axis(layer, incoming=False), outer=gates))
        draft.members.append(Member(recurrent, _axis(layer, incoming=True)))
        draft.unsigned = f"no sign flips, the activation inside {layer.name} is not in the file"
    return draft


def _axis(layer: Layer, *, incoming: bool) -> int:
    """Axis of the layer's weight that runs over its inputs (or its outputs)."""
    # torch's Linear stores (out, in), in_out ones (in, out)
    return int(incoming != layer.in_out)


def _pass_norm(draft: _Draft, layer: Layer) -> None:
    """Add a norm's tensors to the group of the units it scales.

    The flip of a unit negates its incoming weights, so BatchNorm's running mean and shift flip too,
    its scale and running variance do not.
    """
    if layer.kind == "groupnorm":
        draft.broken = (
            f"units pass through {layer.name}, which may be a GroupNorm that mixes them in fixed groups "
            "(no running statistics in the file): not grouped; confirm with --model or --spec"
        )
    # flipping some of the units changes their mean, reordering them does not
    if layer.kind == "layernorm":
        draft.unsigned = f"no sign flips, {layer.name} subtracts the mean over units"
    draft.members.append(Member(layer.weight, 0, flips=False))
    if layer.bias is not None:
        draft.members.append(Member(layer.bias, 0))
    for role, name in layer.extras:
        if role.startswith("running_"):
            draft.members.append(Member(name, 0, flips=role == "running_mean"))
