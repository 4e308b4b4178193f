"""What must hold whatever the weights: same function, same distance, idempotence, equivariance."""

from __future__ import annotations

import numpy as np
import pytest
from alignment_examples import (
    mlp_spec,
    planted,
    random_posterior,
    residual_spec,
    same_action,
    tanh_mlp,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import symdiag.alignment.search
from symdiag.alignment import align, available_costs
from symdiag.alignment.assignment import build_assignment
from symdiag.alignment.costs import get_cost
from symdiag.alignment.descent import Solver
from symdiag.alignment.search import signature_state
from symdiag.errors import UsageError
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.spec import Group, Member, PermutationSpec

COSTS = sorted(available_costs())


def nets(seed, *, signed=True, widths=(3, 6, 7, 2)):
    generator = np.random.default_rng(seed)
    spec, shapes = mlp_spec(widths, signed=signed)
    return random_posterior(shapes, generator), random_posterior(shapes, generator), spec


@pytest.mark.parametrize("cost", COSTS)
def test_aligning_to_itself_is_the_identity_at_distance_zero(cost):
    model, _, spec = nets(0)
    found = align(model, model, spec, cost=cost)
    assert found.is_identity
    assert found.certificate.distance == 0.0
    assert found.certificate.status == "optimal"
    assert found.relabelling_share == 0.0
    assert found.verdict() == "same mode up to symmetry"


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(COSTS), st.booleans())
def test_the_aligned_model_computes_the_same_function(seed, cost, signed):
    model, reference, spec = nets(seed, signed=signed)
    found = align(model, reference, spec, cost=cost, restarts=2, certify=False)
    inputs = np.random.default_rng(seed).standard_normal((50, 3))
    before, after = (tanh_mlp(p.loc, inputs, 3) for p in (model, found.posterior))
    assert after == pytest.approx(before, rel=1e-9, abs=1e-9)
    for name in model.names:
        moved = np.sort(np.abs(found.posterior.loc[name]), axis=None)
        assert (moved == np.sort(np.abs(model.loc[name]), axis=None)).all()
        assert (
            np.sort(found.posterior.scale[name], axis=None) == np.sort(model.scale[name], axis=None)
        ).all()


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(COSTS), st.booleans())
def test_aligning_twice_changes_nothing(seed, cost, signed):
    model, reference, spec = nets(seed, signed=signed)
    first = align(model, reference, spec, cost=cost, restarts=3, certify=False)
    second = align(first.posterior, reference, spec, cost=cost, restarts=3, certify=False)
    assert second.is_identity
    assert second.certificate.distance == first.certificate.distance
    assert second.certificate.distance_before == pytest.approx(first.certificate.distance)


def test_aligning_a_stuck_residual_net_twice_changes_nothing():
    generator = np.random.default_rng(0)
    spec, shapes = residual_spec(12, 16)
    model, reference = random_posterior(shapes, generator), random_posterior(shapes, generator)
    first = align(model, reference, spec, certify=False)
    assert align(first.posterior, reference, spec, certify=False).is_identity


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_the_signature_seed_reaches_the_same_distance_from_every_labelling(seed, signed):
    model, reference, spec = nets(seed, signed=signed)
    moved, _ = planted(model, spec, np.random.default_rng(seed))
    reached = []
    for start in (model, moved):
        problem = build_assignment(start, reference, spec, get_cost("w2"))
        solver = Solver(problem)
        reached.append(problem.distance(solver.descend(signature_state(solver))))
    assert reached[1] == pytest.approx(reached[0], rel=1e-9)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(COSTS))
def test_aligning_never_increases_the_distance(seed, cost):
    model, reference, spec = nets(seed)
    found = align(model, reference, spec, cost=cost, restarts=0, certify=False).certificate
    assert found.distance <= found.distance_before


@pytest.mark.parametrize("cost", ["w2", "mean"])
def test_the_single_precision_search_of_large_nets_recovers_and_repeats(cost, monkeypatch):
    monkeypatch.setattr(symdiag.alignment.search, "_SINGLE_ABOVE", 0)
    for certify in (True, False):
        model, reference, spec = nets(0)
        first = align(model, reference, spec, cost=cost, restarts=2, certify=certify)
        assert align(
            first.posterior, reference, spec, cost=cost, restarts=2, certify=certify
        ).is_identity
        moved, truth = planted(reference, spec, np.random.default_rng(0))
        found = align(moved, reference, spec, cost=cost, restarts=0, certify=certify)
        assert same_action(found.action, truth)
        assert found.certificate.distance == 0.0


def test_the_same_generator_gives_the_same_result():
    model, reference, spec = nets(5)
    first, second = (
        align(model, reference, spec, generator=np.random.default_rng(3)) for _ in range(2)
    )
    assert same_action(first.action, second.action)
    assert first.certificate == second.certificate


def test_distance_is_what_the_aligned_posteriors_say():
    model, reference, spec = nets(1)
    found = align(model, reference, spec)
    gaps = [
        (found.posterior.loc[n] - reference.loc[n]) ** 2
        + (found.posterior.scale[n] - reference.scale[n]) ** 2
        for n in model.names
    ]
    assert found.certificate.distance == pytest.approx(sum(g.sum() for g in gaps), rel=1e-12)


@pytest.mark.parametrize("cost", COSTS)
def test_deterministic_and_partly_deterministic_nets_align_without_nan(cost):
    model, _, spec = nets(2)
    point = model.replace(scale={n: np.zeros_like(s) for n, s in model.scale.items()})
    partly = model.replace(scale={**model.scale, "w2": np.zeros_like(model.scale["w2"])})
    for reference in (point, partly):
        moved, truth = planted(reference, spec, np.random.default_rng(0))
        found = align(moved, reference, spec, cost=cost)
        assert same_action(found.action, truth)
        assert found.certificate.distance == 0.0
        across = align(moved, model, spec, cost=cost)
        assert np.isfinite(across.certificate.distance)
        assert all(np.isfinite(m.margins).all() for m in across.matches.values())


def test_tensors_outside_every_group_count_but_do_not_move():
    model, reference, spec = nets(3)
    extra = {"skip": np.full((2, 2), 3.0)}
    shifted = {"skip": np.full((2, 2), 4.0)}
    zero = {"skip": np.zeros((2, 2))}
    without = align(model, reference, spec).certificate.distance
    model = Posterior({**model.loc, **extra}, {**model.scale, **zero})
    reference = Posterior({**reference.loc, **shifted}, {**reference.scale, **zero})
    found = align(model, reference, spec)
    assert found.certificate.distance == pytest.approx(without + 4.0)
    assert (found.posterior.loc["skip"] == 3.0).all()


def test_a_spec_without_groups_leaves_everything_in_place():
    model, reference, _ = nets(4)
    found = align(model, reference, PermutationSpec(()))
    assert found.certificate.status == "optimal"
    assert found.certificate.distance == found.certificate.distance_before
    assert found.relabelling_share == 0.0


def test_groups_of_one_unit_and_groups_without_tensors_are_harmless():
    generator = np.random.default_rng(0)
    spec, shapes = mlp_spec([2, 1, 3, 1])
    spec = PermutationSpec((*spec.groups, Group("elsewhere", 4, (Member("not.here", 0),))))
    found = align(random_posterior(shapes, generator), random_posterior(shapes, generator), spec)
    assert found.action["elsewhere"].is_identity
    assert found.matches["h1"].margins.tolist() == [np.inf]
    assert found.matches["h1"].ambiguous == ()
    assert found.matches["elsewhere"].ambiguous == (0, 1, 2, 3)


def test_different_architectures_and_wrong_specs_are_refused():
    model, reference, spec = nets(0)
    other = random_posterior(mlp_spec([3, 6, 8, 2])[1], np.random.default_rng(0))
    with pytest.raises(UsageError) as caught:
        align(model, other, spec)
    assert caught.value.code == "architectures-differ"
    assert "w2" in caught.value.message
    for members in ((Member("w1", 1),), (Member("w1", 0), Member("w1", 0))):
        with pytest.raises(UsageError) as caught:
            align(model, reference, PermutationSpec((Group("h1", 6, members),)))
        assert caught.value.code == "spec-mismatch"


@pytest.mark.parametrize("cost", COSTS)
def test_a_random_states_distance_equals_that_of_the_moved_posterior(cost):
    # the blocks of the problem and the action on posteriors describe the same move
    generator = np.random.default_rng(0)
    spec = PermutationSpec(
        (
            Group(
                "a",
                3,
                (Member("x", 0, outer=2, inner=2), Member("y", 1), Member("z", 1)),
                signed=True,
            ),
            Group("b", 4, (Member("y", 0, flips=False), Member("z", 0, inner=3)), signed=True),
        )
    )
    shapes = {"x": (12, 5), "y": (4, 3, 2), "z": (12, 3)}
    model, reference = random_posterior(shapes, generator), random_posterior(shapes, generator)
    problem = build_assignment(model, reference, spec, get_cost(cost))
    action = random_action(spec, generator)
    moved = Posterior(act(spec, action, model.loc), act(spec, action, model.scale, flip=False))
    state = tuple(action[g.name] for g in spec)
    there = build_assignment(moved, reference, spec, get_cost(cost))
    assert problem.distance(state) == pytest.approx(there.distance(there.identity()), rel=1e-12)
