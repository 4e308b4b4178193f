"""The triangle certificate says "optimal" only where nothing is nearer."""

import itertools

import numpy as np
import pytest
from alignment_examples import every_state, mlp_spec, random_posterior

from symdiag.alignment.assignment import build_assignment
from symdiag.alignment.bounds import triangle_holds
from symdiag.alignment.costs import get_cost
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def line(model, reference):
    """Units on a line, one weight each."""
    count = len(model)
    spec = PermutationSpec((Group("h", count, (Member("w", 0),)),))
    ones = {"w": np.ones(count)}
    return build_assignment(
        Posterior({"w": np.array(model)}, ones),
        Posterior({"w": np.array(reference)}, ones),
        spec,
        get_cost("w2"),
    )


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_a_reference_farther_from_its_swap_than_the_model_is_no_certificate(order):
    """d(ref, swapped ref) = 1.41 exceeds d(model, ref) = 0.85, and the swap is nearer, at 0.57."""
    problem = line(
        np.array([0.6, 100.0, 0.4])[list(order)], np.array([0.0, 100.0, 1.0])[list(order)]
    )
    distance = problem.distance(problem.identity())
    assert min(problem.distance(state) for state in every_state(problem)) < distance
    assert not triangle_holds(problem, distance)


def test_twice_the_distance_is_enough():
    """0.35 off on both units: the swap is 1.41 away, twice 0.495 is 0.99; at 0.5 off it fails."""
    near = line([0.35, 1.35], [0.0, 1.0])
    assert triangle_holds(near, near.distance(near.identity()))
    far = line([0.51, 1.51], [0.0, 1.0])
    assert not triangle_holds(far, far.distance(far.identity()))


def test_whenever_it_holds_the_identity_is_optimal():
    """Model near the reference by a random amount: enumerated optimum against the certificate."""
    held = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        spec, shapes = mlp_spec([2, 3, 3, 1], signed=bool(seed % 2))
        reference = random_posterior(shapes, rng)
        shift = rng.choice([0.05, 0.2, 0.5, 1.0])
        moved = {n: v + shift * rng.standard_normal(v.shape) for n, v in reference.loc.items()}
        problem = build_assignment(reference.replace(loc=moved), reference, spec, get_cost("w2"))
        distance = problem.distance(problem.identity())
        if triangle_holds(problem, distance):
            held += 1
            best = min(problem.distance(state) for state in every_state(problem))
            assert best == pytest.approx(distance, rel=1e-12)
    assert held >= 3
