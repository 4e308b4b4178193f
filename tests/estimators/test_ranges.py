"""Units that own a range of an axis: what every estimator sees of them equals enumeration."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from brute_force import one_draw, straddling_of

from symdiag.diagnostics.collapse import weak_units
from symdiag.errors import UnsupportedError
from symdiag.estimators.densities import SlotDensity, unit_blocks
from symdiag.estimators.joint import GroupSum
from symdiag.estimators.proposals import one_axis_per_tensor, own_tensors
from symdiag.estimators.straddling import estimate_straddling
from symdiag.objectives.group_term import GroupTerm
from symdiag.objectives.penalty import StraddlingPenalty
from symdiag.objectives.terms.symmetrized import Symmetrized
from symdiag.objectives.variational import Variational
from symdiag.permanents.exact import exact_log_permanent
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element, act_on_axis
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def concatenation(seed=0, *, signed=False, std=0.6, pools=False):
    """out(cat[a(x), x, b(x)]), or mean and max pooled channels of a side by side, then b."""
    rng = np.random.default_rng(seed)
    first = [Member("a.weight", 0), Member("a.bias", 0), Member("out.weight", 1, start=0)]
    first += [Member("out.weight", 1, start=5, flips=False)] if pools else []
    last = 8 if pools else 5
    groups = (
        Group("a", 3, tuple(first), signed),
        Group(
            "b",
            2,
            (Member("b.weight", 0), Member("b.bias", 0), Member("out.weight", 1, start=last)),
            signed,
        ),
    )
    shapes = {
        "a.weight": (3, 2),
        "a.bias": (3,),
        "b.weight": (2, 2),
        "b.bias": (2,),
        "out.weight": (2, last + 2),
    }
    loc = {n: rng.normal(size=s) for n, s in shapes.items()}
    scale = {n: std * np.exp(0.3 * rng.normal(size=s)) for n, s in shapes.items()}
    return Posterior(loc, scale), PermutationSpec(groups)


@pytest.mark.parametrize("seed", range(20))
def test_numpy_and_torch_move_the_same_entries(seed):
    rng = np.random.default_rng(seed)
    outer, width, inner, start = (int(k) for k in rng.integers((1, 2, 1, 0), 4))
    member = Member("w", 1, outer, inner, bool(rng.integers(2)), start)
    length = start + outer * width * inner + int(rng.integers(3))
    array, count = rng.normal(size=(2, length, 3)), 4
    batch = Element.random(Group("g", width, (member,), signed=True), rng, count)
    one_by_one = [Element(p, s) for p, s in zip(batch.permutation, batch.signs, strict=True)]
    expected = np.stack([act_on_axis(array, member, element) for element in one_by_one])
    np.testing.assert_array_equal(
        act_on_axis(torch.from_numpy(array)[None], member, batch).numpy(), expected
    )
    each = torch.from_numpy(array).expand(count, -1, -1, -1)
    np.testing.assert_array_equal(act_on_axis(each, member, batch).numpy(), expected)


def test_blocks_hold_the_range_alone():
    tensor = torch.arange(24.0).reshape(2, 12)
    blocks = unit_blocks(tensor, Member("w", 1, 2, 1, start=3), 3)  # columns 3…5 and 6…8
    assert blocks.tolist() == [[3, 15, 6, 18], [4, 16, 7, 19], [5, 17, 8, 20]]
    assert unit_blocks(tensor[None], Member("w", 1, 2, 1, start=3), 3, batched=True)[0].equal(
        blocks
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("pools", [False, True])
def test_slot_densities_match_enumeration(signed, pools):
    posterior, spec = concatenation(1, signed=signed, pools=pools)
    draw = one_draw(posterior, 2)
    tensors = [
        {n: torch.from_numpy(v) for n, v in part.items()}
        for part in (posterior.loc, posterior.scale)
    ]
    for group in spec:
        assert group.is_matrix_permanent
        matrix = SlotDensity(group, *tensors)(
            {n: torch.from_numpy(v)[None] for n, v in draw.items()}
        )
        expected = straddling_of(posterior, PermutationSpec((group,)), draw)
        assert exact_log_permanent(matrix.numpy())[0] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("pools", [False, True])
def test_the_whole_group_matches_enumeration(pools):
    posterior, spec = concatenation(3, pools=pools)
    tensors = [
        {n: torch.from_numpy(v) for n, v in part.items()}
        for part in (posterior.loc, posterior.scale)
    ]
    for seed in range(3):
        draw = one_draw(posterior, seed)
        total = GroupSum(posterior, spec, *tensors).exact(
            {n: torch.from_numpy(v) for n, v in draw.items()}
        )
        assert total == pytest.approx(straddling_of(posterior, spec, draw), abs=1e-9)


def test_estimates_agree_with_enumeration():
    posterior, spec = concatenation(4, signed=True)
    found = estimate_straddling(posterior, spec, samples=150)
    draws = posterior.sample(np.random.default_rng(1), 50)
    values = [
        straddling_of(posterior, spec, {n: v[s] for n, v in draws.items()}) for s in range(50)
    ]
    error = 4 * np.std(values) / np.sqrt(50) + 4 * (found.total.std_error or 0.0)
    assert abs(found.total.value - np.mean(values)) < error
    assert spec.adjacent(
        *spec.groups
    )  # ranges of one tensor are not told apart: exact sums are claimed for none


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("pools", [False, True])
def test_training_term_and_its_gradient_match_enumeration(signed, pools):
    posterior, spec = concatenation(5, signed=signed, pools=pools)
    q = Variational.of(posterior)
    noise = torch.from_numpy(np.random.default_rng(6).standard_normal((3, q.loc.numel())))

    def expected(moved):
        draws = q.layout.split(moved + q.scale.detach() * noise)
        at = posterior.replace(loc={n: v.numpy() for n, v in q.layout.split(moved).items()})
        each = [{n: v[s].numpy() for n, v in draws.items()} for s in range(3)]
        return sum(
            np.mean([straddling_of(at, PermutationSpec((g,)), d) for d in each]) for g in spec
        )

    value = Symmetrized(spec, q, "exact").term(q, q.loc + q.scale * noise, np.random.default_rng(7))
    centre = q.loc.detach()
    assert float(value.detach()) == pytest.approx(expected(centre), abs=1e-9)
    value.backward()
    for k in range(0, centre.numel(), 3):
        step = torch.zeros_like(centre)
        step[k] = 1e-5
        numeric = (expected(centre + step) - expected(centre - step)) / 2e-5
        assert float(q.loc.grad[k]) == pytest.approx(numeric, abs=1e-5)


def test_penalty_on_a_module_that_concatenates_matches_enumeration():
    posterior, spec = concatenation(9, signed=True, pools=True)
    model = torch.nn.Module()
    for layer in ("a", "b", "out"):
        part = torch.nn.Module()
        for role in {"a": ("weight", "bias"), "b": ("weight", "bias"), "out": ("weight",)}[layer]:
            name = f"{layer}.{role}"
            part.register_parameter(
                f"{role}_mu", torch.nn.Parameter(torch.from_numpy(posterior.loc[name]))
            )
            log_sigma = torch.from_numpy(np.log(posterior.scale[name]))
            part.register_parameter(f"{role}_log_sigma", torch.nn.Parameter(log_sigma))
        model.add_module(layer, part)
    draw = one_draw(posterior, 3)
    found = StraddlingPenalty(model, spec=spec, marginals="exact")(
        {n: torch.from_numpy(v) for n, v in draw.items()}
    )
    expected = sum(straddling_of(posterior, PermutationSpec((group,)), draw) for group in spec)
    assert found.item() == pytest.approx(expected, abs=1e-8)


def test_two_ranges_of_one_axis_are_one_block_and_two_axes_are_not():
    ranges = Group("g", 2, (Member("w", 0, start=0), Member("w", 0, start=2), Member("b", 0)))
    axes = Group("g", 2, (Member("w", 0, start=0), Member("w", 1), Member("b", 0)))
    assert ranges.is_matrix_permanent
    assert not axes.is_matrix_permanent
    assert one_axis_per_tensor(ranges) == ranges
    assert [m.axis for m in one_axis_per_tensor(axes).members] == [0, 0]
    assert own_tensors(ranges, ()) == ("w", "b")
    assert own_tensors(axes, ()) == ("b",)
    with pytest.raises(ValueError, match="two axes"):
        SlotDensity(axes, {}, {})


def test_a_unit_is_alive_in_either_of_its_ranges():
    posterior, spec = concatenation(8, pools=True, std=0.01)
    array = posterior.loc["out.weight"]
    array[:, 0] = 0.0  # unit 0 of a: gone from the first range, not from the second
    array[:, [1, 6]] = 0.0  # unit 1: gone from both
    assert weak_units(posterior, spec.groups[0]).tolist() == [False, True, False]


def test_group_terms_refuse_two_axes_with_ranges():
    posterior = Posterior({"w": np.ones((4, 2))}, {"w": np.ones((4, 2))})
    group = Group("g", 2, (Member("w", 0, start=1), Member("w", 1)))
    with pytest.raises(UnsupportedError, match="two axes"):
        GroupTerm(group, Variational.of(posterior))
    draw = one_draw(posterior, 0)
    batch = {n: torch.from_numpy(v) for n, v in draw.items()}
    tensors = [
        {n: torch.from_numpy(v) for n, v in part.items()}
        for part in (posterior.loc, posterior.scale)
    ]
    total = GroupSum(posterior, PermutationSpec((group,)), *tensors).exact(batch)
    assert total == pytest.approx(
        straddling_of(posterior, PermutationSpec((group,)), draw), abs=1e-9
    )
