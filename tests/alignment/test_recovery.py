"""Planted permutations and signs are found, on the cases where published matchers fail."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from alignment_examples import mlp_spec, planted, random_posterior, residual_spec, same_action

from symdiag.alignment import align
from symdiag.alignment.assignment import build_assignment
from symdiag.alignment.costs import get_cost
from symdiag.alignment.search import Search
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element, act
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def residual_recoveries(d1, d2, seeds):
    spec, shapes = residual_spec(d1, d2)
    recovered = 0
    for seed in seeds:
        generator = np.random.default_rng(seed)
        reference = random_posterior(shapes, generator, deterministic=True)
        for name in ("din", "dout"):
            reference.loc[name][:] = 1.0
        model, truth = planted(reference, spec, generator)
        recovered += same_action(align(model, reference, spec).action, truth)
    return recovered


@pytest.mark.parametrize(("d1", "d2"), [(3, 5), (30, 50)])
def test_residual_nets_with_tied_groups_are_recovered(d1, d2):
    # coordinate descent as published gets 80 and 10 of 100
    assert residual_recoveries(d1, d2, range(100)) >= 99


def test_residual_net_is_recovered_under_noise():
    spec, shapes = residual_spec(30, 50)
    generator = np.random.default_rng(0)
    reference = random_posterior(shapes, generator, deterministic=True)
    model, truth = planted(reference, spec, generator, noise=1.0)
    assert same_action(align(model, reference, spec, certify=False).action, truth)


def counterexample(epsilon=0.1):
    """Git Re-Basin A.7.2: greedy descent stays at the identity; both groups must be swapped."""
    first = np.array([[1.0], [1.0 + epsilon]])
    model = {"w1": first, "w2": np.diag([1.0, epsilon]), "w3": np.array([[1.0, 0.0]])}
    reference = {"w1": first, "w2": np.diag([0.0, 1.0]), "w3": np.array([[0.0, 1.0]])}
    spec = PermutationSpec(
        (
            Group("p1", 2, (Member("w1", 0), Member("w2", 1))),
            Group("p2", 2, (Member("w2", 0), Member("w3", 1))),
        )
    )
    zeros = {name: np.zeros_like(a) for name, a in model.items()}
    return Posterior(model, zeros), Posterior(reference, zeros), spec


@pytest.mark.parametrize("start", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("reverse", [False, True])
def test_both_groups_of_the_greedy_counterexample_are_swapped(start, reverse):
    model, reference, spec = counterexample()
    swap = Element(np.array([1, 0]), np.ones(2))
    before = {g.name: swap for g, swapped in zip(spec, start, strict=True) if swapped}
    model = model.replace(loc=act(spec, before, model.loc))
    if reverse:
        spec = PermutationSpec(spec.groups[::-1])
    found = align(model, reference, spec)
    moved = {
        g.name: (not found.action[g.name].is_identity) != s
        for g, s in zip(counterexample()[2], start, strict=True)
    }
    assert moved == {"p1": True, "p2": True}
    assert found.certificate.status == "optimal"


def stalling_pair(epsilon=0.1):
    """Neither group gains anything by moving alone; together they gain almost all of the distance."""
    ends = {"w1": np.array([[1.0], [1.0 + epsilon]]), "w3": np.array([[1.0, 1.0 + epsilon]])}
    _, _, spec = counterexample()
    zeros = {"w1": np.zeros((2, 1)), "w2": np.zeros((2, 2)), "w3": np.zeros((1, 2))}
    model = Posterior({**ends, "w2": np.diag([1.0, 0.0])}, zeros)
    return model, Posterior({**ends, "w2": np.diag([0.0, 1.0])}, zeros), spec


def test_a_joint_move_goes_on_where_descent_stalls():
    model, reference, spec = stalling_pair()
    search = Search(build_assignment(model, reference, spec, get_cost("w2")), restarts=1, seed=0)
    assert all(e.is_identity for e in search.solver.descend(search.problem.identity()))
    search.attempt("identity", search.problem.identity())
    search.improve_jointly()
    assert [e.permutation.tolist() for e in search.state] == [[1, 0], [1, 0]]
    assert align(model, reference, spec).certificate.distance == pytest.approx(4 * 0.1**2)


def plant_in(vary, *, width=20, batchnorm=False):
    """A one-hidden-layer net whose units differ only in the tensors (or stds) that ``vary`` names."""
    generator = np.random.default_rng(7)
    spec, shapes = mlp_spec([3, width, 2])
    if batchnorm:
        members = (*spec.groups[0].members, *(Member(f"bn.{n}", 0) for n in ("weight", "bias")))
        spec = PermutationSpec((Group("h1", width, members),))
        shapes |= {"bn.weight": (width,), "bn.bias": (width,)}
    loc = {n: np.full(s, 0.5) for n, s in shapes.items()}
    scale = {n: np.full(s, 0.1) for n, s in shapes.items()}
    for name in vary:
        target, _, tensor = name.partition(":")
        chosen = loc if target == "loc" else scale
        chosen[tensor] = np.abs(generator.standard_normal(shapes[tensor]))
    reference = Posterior(loc, scale)
    return reference, *planted(reference, spec, generator), spec


@pytest.mark.parametrize("cost", ["w2", "kl", "hellinger", "mean"])
@pytest.mark.parametrize("vary", [("loc:b1",), ("loc:bn.weight",), ("loc:bn.bias",)])
def test_a_planting_seen_by_one_vector_alone_is_recovered(vary, cost):
    reference, model, truth, spec = plant_in(vary, batchnorm=True)
    assert same_action(align(model, reference, spec, cost=cost).action, truth)


@pytest.mark.parametrize("cost", ["w2", "kl", "hellinger"])
@pytest.mark.parametrize("tensor", ["w1", "b1", "w2"])
def test_a_planting_seen_by_stds_alone_is_recovered(tensor, cost):
    reference, model, truth, spec = plant_in((f"scale:{tensor}",))
    found = align(model, reference, spec, cost=cost)
    assert same_action(found.action, truth)
    assert found.matches["h1"].ambiguous == ()


def test_means_alone_cannot_see_a_planting_in_stds_and_the_margins_say_so():
    reference, model, truth, spec = plant_in(("scale:w1",))
    found = align(model, reference, spec, cost="mean")
    assert not same_action(found.action, truth)
    assert (found.matches["h1"].margins == 0).all()
    assert found.matches["h1"].ambiguous == tuple(range(20))


@pytest.mark.parametrize("count", [1, 2, 8, 64, 511])
def test_transposition_counts_are_recovered_at_width_512(count):
    width = 512
    spec, shapes = mlp_spec([4, width, 3])
    generator = np.random.default_rng(count)
    reference = random_posterior(shapes, generator)
    # one cycle over count + 1 units needs exactly count swaps
    units = generator.choice(width, count + 1, replace=False)
    permutation = np.arange(width)
    permutation[units] = np.roll(units, 1)
    action = {"h1": Element(permutation, np.ones(width))}
    model = Posterior(
        act(spec, action, reference.loc), act(spec, action, reference.scale, flip=False)
    )
    found = align(model, reference, spec)
    assert found.churn["h1"].transpositions == count
    assert found.churn["h1"].moved == count + 1
    assert found.certificate.status == "optimal"


@pytest.mark.parametrize("cost", ["w2", "kl", "hellinger"])
def test_signs_and_permutations_of_a_deep_tanh_net_are_recovered(cost):
    generator = np.random.default_rng(3)
    spec, shapes = mlp_spec([3, 8, 9, 7, 2], signed=True)
    reference = random_posterior(shapes, generator)
    model, truth = planted(reference, spec, generator)
    assert same_action(align(model, reference, spec, cost=cost).action, truth)


def test_convolution_blocks_after_flatten_and_heads_are_recovered():
    # conv kernels (out, in, k, k); columns that a channel owns after flatten; stacked q/k/v rows of heads
    generator = np.random.default_rng(4)
    channels, heads = 6, 4
    spec = PermutationSpec(
        (
            Group("conv1", channels, (Member("c1", 0), Member("c2", 1))),
            Group("conv2", channels, (Member("c2", 0), Member("fc", 1, inner=9))),
            Group("heads", heads, (Member("qkv", 0, outer=3, inner=5), Member("out", 1, inner=5))),
        )
    )
    shapes = {"c1": (6, 3, 3, 3), "c2": (6, 6, 3, 3), "fc": (4, 54), "qkv": (60, 7), "out": (7, 20)}
    reference = random_posterior(shapes, generator)
    model, truth = planted(reference, spec, generator)
    assert same_action(align(model, reference, spec).action, truth)


def test_recurrent_group_on_two_axes_of_one_tensor_is_recovered():
    generator = np.random.default_rng(5)
    members = (
        Member("ih", 0, outer=3),
        Member("hh", 0, outer=3),
        Member("hh", 1),
        Member("out", 1),
    )
    spec = PermutationSpec((Group("state", 16, members),))
    reference = random_posterior({"ih": (48, 2), "hh": (48, 16), "out": (1, 16)}, generator)
    model, truth = planted(reference, spec, generator, noise=0.2)
    found = align(model, reference, spec)
    assert same_action(found.action, truth)
    assert not found.matches["state"].exact


def unet_spec():
    """Two stages down, one up, with the first stage's channels concatenated to those of the way up."""

    def group(name, width, *members):
        return Group(
            name, width, tuple(Member(*m[:2], start=m[2] if len(m) > 2 else None) for m in members)
        )

    groups = (
        group("down", 6, ("d", 0), ("db", 0), ("m", 1), ("u", 1, 5)),
        group("middle", 7, ("m", 0), ("mb", 0), ("up", 0)),
        group("up", 5, ("up", 1), ("upb", 0), ("u", 1, 0)),
        group("last", 4, ("u", 0), ("ub", 0), ("out", 1)),
    )
    shapes = {"d": (6, 3, 3), "db": (6,), "m": (7, 6, 3), "mb": (7,), "up": (7, 5, 2), "upb": (5,)}
    return PermutationSpec(groups), {**shapes, "u": (4, 13, 3), "ub": (4,), "out": (2, 4)}


@pytest.mark.parametrize("cost", ["mean", "w2", "kl", "hellinger"])
def test_concatenated_channels_are_recovered(cost):
    spec, shapes = unet_spec()
    for seed in range(10):
        generator = np.random.default_rng(seed)
        reference = random_posterior(shapes, generator)
        model, truth = planted(reference, spec, generator)
        found = align(model, reference, spec, cost=cost)
        assert same_action(found.action, truth)
        assert found.certificate.distance == pytest.approx(0.0, abs=1e-9)
        for name, array in found.apply(model.loc).items():
            np.testing.assert_array_equal(array, reference.loc[name])


def test_ranges_cost_what_the_moved_tensors_cost():
    spec, shapes = unet_spec()
    generator = np.random.default_rng(1)
    model, reference = random_posterior(shapes, generator), random_posterior(shapes, generator)
    for part in (spec, PermutationSpec(spec.groups[:3])):
        problem = build_assignment(model, reference, part, get_cost("mean"))
        action = {g.name: Element.random(g, generator) for g in part}
        moved = act(part, action, model.loc)
        expected = sum(((moved[n] - reference.loc[n]) ** 2).sum() for n in shapes)
        assert problem.distance(tuple(action[g.name] for g in part)) == pytest.approx(expected)
        left = sum(part.left_out(n, shape) for n, shape in shapes.items())
        assert problem.size == sum(a.size for a in model.loc.values()) - left
    assert left == 4 + 2 * 4 + 4 * 2 * 3  # ub, out, and the two columns of u that nobody owns
