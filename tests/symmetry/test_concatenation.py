"""Concatenated units: the groups found in nets that lay sets of units end to end, and that they hold."""

import copy

import pytest
import torch
from concatenations import CASES
from torch import nn

from symdiag.symmetry.tracing import trace_spec


def moved(tensor, member, order, signs):
    """One member axis in a new order, entry by entry, by nothing but its definition."""
    result, width, start = tensor.clone(), len(order), member.start or 0
    for o in range(member.outer):
        for unit in range(width):
            for i in range(member.inner):
                new, old = (
                    (o * width + u) * member.inner + i + start for u in (unit, int(order[unit]))
                )
                sign = float(signs[unit]) if member.flips else 1.0
                result.select(member.axis, new).copy_(sign * tensor.select(member.axis, old))
    return result


def flattened(value):
    parts = value if isinstance(value, tuple) else (value,)
    return torch.cat(
        [flattened(part) if isinstance(part, tuple) else part.reshape(-1) for part in parts]
    )


def change(module, group, inputs, seed=0):
    """Largest relative change of the outputs when one group's units are reordered and flipped at random."""
    generator = torch.Generator().manual_seed(seed)
    other = copy.deepcopy(module)
    order = torch.randperm(group.width, generator=generator)
    flips = torch.randint(2, (group.width,), generator=generator) * 2 - 1
    signs = flips if group.signed else torch.ones(group.width)
    tensors = {**dict(other.named_parameters()), **dict(other.named_buffers())}
    with torch.no_grad():
        for member in group.members:
            tensors[member.tensor].copy_(moved(tensors[member.tensor], member, order, signs))
        before, after = flattened(module(inputs)), flattened(other(inputs))
    return float((before - after).abs().max() / before.abs().max())


@pytest.mark.parametrize("case", sorted(CASES))
def test_groups_of_concatenations(case):
    torch.manual_seed(0)
    build, inputs, expected = CASES[case]
    module = build().double().eval()
    for name, buffer in module.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand_like(buffer) + 0.5)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    spec = trace_spec(module, (inputs,)).spec
    found = {group.name: group.width for group in spec}
    assert expected is None or found == expected, spec.notes
    for group in spec:
        assert max(change(module, group, inputs, seed) for seed in range(3)) < 1e-9, group


def members_of(case, name):
    build, inputs, _ = CASES[case]
    group = trace_spec(build().double().eval(), (inputs,)).spec.group(name)
    return {(m.tensor, m.axis, m.outer, m.inner, m.start) for m in group.members}, group


def test_members_are_ranges_of_what_reads_the_pieces():
    found, _ = members_of("flattened", "b")
    assert found == {
        ("b.weight", 0, 1, 1, None),
        ("b.bias", 0, 1, 1, None),
        ("out.weight", 1, 1, 64, 256),
    }
    found, group = members_of("with itself", "a")
    assert {m for m in found if m[0] == "b.weight"} == {
        ("b.weight", 1, 1, 1, 0),
        ("b.weight", 1, 1, 1, 6),
    }
    assert group.is_matrix_permanent
    found, _ = members_of("sum with a whole layer", "b")
    assert ("e.weight", 0, 1, 1, 6) in found
    found, group = members_of("bidirectional gru", "rnn.reverse")
    assert ("out.weight", 1, 1, 1, 5) in found
    assert not group.is_matrix_permanent


def test_signs_stay_where_pieces_are_odd():
    signs = {}
    for case in ("two towers", "raw input", "layernorm", "rmsnorm", "softmax", "glu"):
        build, inputs, _ = CASES[case]
        signs[case] = {
            group.signed for group in trace_spec(build().double().eval(), (inputs,)).spec
        }
    odd = {"two towers", "raw input", "rmsnorm"}
    assert signs == {case: {case in odd} for case in signs}


@pytest.mark.parametrize("case", ["groupnorm 2", "cut inside a piece"])
def test_held_pieces_are_explained(case):
    build, inputs, _ = CASES[case]
    notes = trace_spec(build().double().eval(), (inputs,)).spec.notes
    assert any(note.startswith("a: units held fixed") for note in notes)
    assert not any(note.startswith(("concatenation", "fixed")) for note in notes)
