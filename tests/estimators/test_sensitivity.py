"""Retention, confusion and the data-free shift against finite differences and enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from brute_force import mlp

from symdiag.estimators.densities import SlotDensity, log_add, separations, unit_blocks
from symdiag.estimators.sensitivity import sensitivity, unit_gradients
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member


def log_permanent(matrix: torch.Tensor) -> torch.Tensor:
    n = len(matrix)
    rows = torch.arange(n)
    return torch.logsumexp(
        torch.stack([matrix[rows, list(p)].sum() for p in itertools.permutations(range(n))]), 0
    )


@pytest.mark.parametrize("signed", [False, True])
def test_unit_gradients_equal_automatic_differentiation(signed):
    """Through densities *and* reparameterised draws: the closed form against autograd on the
    enumerated sum.
    """
    posterior, spec = mlp((2, 4, 2), seed=3, spread=0.4, std=0.6, signed=signed)
    group = spec.groups[0]
    rng = np.random.default_rng(0)
    loc = {n: torch.tensor(posterior.loc[n], requires_grad=True) for n in group.tensors}
    log_scale = {
        n: torch.tensor(np.log(posterior.scale[n]), requires_grad=True) for n in group.tensors
    }
    noise = {n: torch.from_numpy(rng.normal(size=(1, *v.shape))) for n, v in loc.items()}
    scale = {n: v.exp() for n, v in log_scale.items()}
    draws = {n: loc[n] + scale[n] * noise[n] for n in loc}
    kept, flipped = SlotDensity(group, loc, scale).signed_parts(draws)
    matrix = (kept if flipped is None else log_add(kept, flipped))[0]
    value = log_permanent(matrix)
    (joint,) = torch.autograd.grad(value, matrix, retain_graph=True)
    value.backward()
    odds = (
        torch.ones_like(joint)
        if flipped is None
        else torch.tanh(0.5 * (kept - flipped))[0].detach()
    )
    for member in group.members:
        blocks = [unit_blocks(a[member.tensor].detach(), member, group.width) for a in (loc, scale)]
        point = unit_blocks(draws[member.tensor][0].detach(), member, group.width)
        shift, log_std = unit_gradients(joint, joint * odds, *blocks, point)
        expected = unit_blocks(loc[member.tensor].grad, member, group.width) * blocks[1]
        torch.testing.assert_close(shift, expected, atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(
            log_std,
            unit_blocks(log_scale[member.tensor].grad, member, group.width),
            atol=1e-9,
            rtol=1e-9,
        )


def test_gradient_matches_central_differences_of_the_entropy():
    """Common random numbers: H averaged over fixed noise, differentiated numerically in one mean."""
    posterior, spec = mlp((1, 3, 1), seed=1, spread=0.5, std=0.7)
    group = spec.groups[0]
    rng = np.random.default_rng(2)
    noise = {n: rng.normal(size=(50, *v.shape)) for n, v in posterior.loc.items()}

    def entropy(loc):
        draws = {n: torch.from_numpy(loc[n] + posterior.scale[n] * noise[n]) for n in group.tensors}
        tensors = [
            {n: torch.from_numpy(p[n]) for n in group.tensors} for p in (loc, posterior.scale)
        ]
        return float(np.mean([log_permanent(m) for m in SlotDensity(group, *tensors)(draws)]))

    step = 1e-5
    up, down = ({n: v.copy() for n, v in posterior.loc.items()} for _ in range(2))
    up["l0.weight"][1, 0] += step
    down["l0.weight"][1, 0] -= step
    numeric = (entropy(up) - entropy(down)) / (2 * step)
    tensors = [
        {n: torch.from_numpy(p[n]) for n in group.tensors} for p in (posterior.loc, posterior.scale)
    ]
    total = 0.0
    for s in range(50):
        draw = {
            n: torch.from_numpy(posterior.loc[n] + posterior.scale[n] * noise[n][s])
            for n in group.tensors
        }
        matrix = SlotDensity(group, *tensors)({n: v[None] for n, v in draw.items()})[
            0
        ].requires_grad_()
        (joint,) = torch.autograd.grad(log_permanent(matrix), matrix)
        member = group.members[0]
        blocks = [unit_blocks(a[member.tensor], member, 3) for a in (*tensors, draw)]
        shift, _ = unit_gradients(joint, joint, *blocks)
        total += float(shift[1, 0]) / posterior.scale["l0.weight"][1, 0] / 50
    assert total == pytest.approx(numeric, abs=1e-6)


def test_identical_units_lose_their_labels_evenly():
    group = Group("h", 4, (Member("w", 0),))
    posterior = Posterior({"w": np.ones((4, 2))}, {"w": np.full((4, 2), 0.3)})
    found = sensitivity(posterior, group, draws=400, generator=np.random.default_rng(0))
    np.testing.assert_allclose(found.confusion.sum(0), 1.0, atol=1e-9)
    np.testing.assert_allclose(found.retention, 0.25, atol=0.08)
    # a symmetric point is stationary for the means; symmetrisation wants narrower stds there
    assert found.mean_shift.max() < 0.3
    assert (found.log_std_shift > -1.0).all()


def test_separated_units_keep_labels_and_feel_nothing():
    group = Group("h", 3, (Member("w", 0),), signed=True)
    posterior = Posterior({"w": np.array([[10.0], [30.0], [50.0]])}, {"w": np.ones((3, 1))})
    found = sensitivity(posterior, group, draws=16, generator=np.random.default_rng(0))
    np.testing.assert_allclose(found.retention, 1.0, atol=1e-12)
    assert found.mean_shift.max() == found.log_std_shift.max() == 0.0


def test_two_units_are_pushed_apart():
    """Two overlapping units: less entropy means further apart and narrower, in the direction of the
    data-free shift.
    """
    group = Group("h", 2, (Member("w", 0),))
    posterior = Posterior({"w": np.array([[-0.5], [0.5]])}, {"w": np.ones((2, 1))})
    found = sensitivity(posterior, group, draws=4000, generator=np.random.default_rng(1))
    assert (found.mean_shift > 0.05).all()
    assert (found.log_std_shift < 0.0).all()


@pytest.mark.parametrize("signed", [False, True])
def test_separation_is_the_distance_in_stds_for_equal_stds(signed):
    rng = np.random.default_rng(0)
    loc, std = rng.normal(size=(4, 3)), 0.4
    group = Group("h", 4, (Member("w", 0),), signed)
    found = separations(Posterior({"w": loc}, {"w": np.full((4, 3), std)}), group)
    distance = np.linalg.norm(loc[:, None] - loc[None], axis=-1) / std
    if signed:
        distance = np.minimum(distance, np.linalg.norm(loc[:, None] + loc[None], axis=-1) / std)
    np.fill_diagonal(distance, np.inf)
    np.testing.assert_allclose(found, distance, rtol=1e-9)


def test_separation_is_the_root_of_the_jeffreys_divergence():
    loc, scale = np.array([[0.0, 1.0], [2.0, -1.0]]), np.array([[1.0, 0.5], [0.3, 2.0]])
    p, q = (
        torch.distributions.Normal(torch.tensor(m), torch.tensor(s))
        for m, s in zip(loc, scale, strict=True)
    )
    kl = torch.distributions.kl_divergence
    expected = float((kl(p, q) + kl(q, p)).sum()) ** 0.5
    found = separations(Posterior({"w": loc}, {"w": scale}), Group("h", 2, (Member("w", 0),)))
    assert found[0, 1] == pytest.approx(expected, rel=1e-9)


def test_a_deterministic_difference_is_infinitely_far():
    posterior = Posterior(
        {"w": np.array([[0.0, 1.0], [0.0, 1.0], [0.0, 2.0]])}, {"w": np.array([[1.0, 0.0]] * 3)}
    )
    found = separations(posterior, Group("h", 3, (Member("w", 0),)))
    assert found[0, 1] == 0.0
    assert np.isinf(found[0, 2])


def quadrature_entropy(mean, std):
    """H(g|ω) of two scalar units, by Gauss-Hermite quadrature over both draws."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(180)
    mass = np.outer(weights, weights) / weights.sum() ** 2
    x, y = mean[0] + std[0] * nodes[:, None], mean[1] + std[1] * nodes[None, :]

    def log_q(a, b):
        return -0.5 * (((a - mean[0]) / std[0]) ** 2 + ((b - mean[1]) / std[1]) ** 2)

    return float((mass * np.logaddexp(0.0, log_q(y, x) - log_q(x, y))).sum())


def test_log_std_shifts_are_minus_the_derivative_of_the_entropy():
    """Uneven units, so that the two shifts differ in sign: against central differences of quadrature."""
    mean, std = np.array([0.0, 0.3]), np.array([0.4, 3.0])
    group = Group("h", 2, (Member("w", 0),))
    posterior = Posterior({"w": mean[:, None]}, {"w": std[:, None]})
    found = sensitivity(posterior, group, draws=6000, generator=np.random.default_rng(3))
    expected = []
    for unit in range(2):
        step = np.where(np.arange(2) == unit, 1e-4, 0.0)
        up, down = (quadrature_entropy(mean, std * np.exp(s * step)) for s in (1.0, -1.0))
        expected.append(-(up - down) / 2e-4)
    assert expected[0] < -0.1  # widening the narrow one adds overlap
    assert expected[1] > 0.1  # widening the wide one takes it away
    np.testing.assert_allclose(found.log_std_shift, expected, atol=0.04)


def test_mean_shifts_are_the_size_of_the_entropys_gradient():
    """Per unit |σ ∂H/∂μ|, against central differences of quadrature."""
    mean, std = np.array([-0.6, 0.6]), np.array([0.7, 1.0])
    group = Group("h", 2, (Member("w", 0),))
    posterior = Posterior({"w": mean[:, None]}, {"w": std[:, None]})
    found = sensitivity(posterior, group, draws=6000, generator=np.random.default_rng(4))
    for unit in range(2):
        step = np.where(np.arange(2) == unit, 1e-4, 0.0)
        up, down = (quadrature_entropy(mean + s * step, std) for s in (1.0, -1.0))
        expected = abs(std[unit] * (up - down) / 2e-4)
        assert found.mean_shift[unit] == pytest.approx(expected, abs=0.03)
