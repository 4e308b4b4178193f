"""H(g|ω) as a training term: values by enumeration, gradients by central differences, sampled marginals unbiased."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import logsumexp

from symdiag.errors import UnsupportedError, UsageError
from symdiag.objectives import group_term
from symdiag.objectives._moments import gradients
from symdiag.objectives.group_term import GroupTerm
from symdiag.objectives.terms.symmetrized import Symmetrized
from symdiag.objectives.variational import Variational
from symdiag.permanents import (
    bethe_functional,
    exact_log_permanent,
    exact_marginals,
    partner_table,
    swap_marginals,
)
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element, act
from symdiag.symmetry.spec import Group, Member, PermutationSpec


def mlp_group(width, *, signed=False, name="h", first="w1", bias="b1", second="w2"):
    members = (Member(first, 0), Member(bias, 0), Member(second, 1))
    return Group(name, width, members, signed)


def make_posterior(width, seed=0, *, inputs=2, spread=0.6, fixed=()):
    rng = np.random.default_rng(seed)
    shapes = {"w1": (width, inputs), "b1": (width,), "w2": (1, width), "b2": (1,)}
    loc = {k: spread * rng.standard_normal(s) for k, s in shapes.items()}
    scale = {k: np.exp(0.4 * rng.standard_normal(s) - 0.5) for k, s in shapes.items()}
    for name in fixed:
        scale[name] = np.zeros_like(scale[name])
    return Posterior(loc, scale)


def enumerate_entropy(spec, posterior, draws):
    """Mean over draws of log Σ_g q(g⁻¹ω)/q(ω), every element of one group written out."""
    (group,) = spec
    signs = (
        list(itertools.product([1.0, -1.0], repeat=group.width))
        if group.signed
        else [(1.0,) * group.width]
    )
    elements = [
        Element(np.array(p), np.array(s))
        for p in itertools.permutations(range(group.width))
        for s in signs
    ]

    def log_q(weights):
        total = 0.0
        for name, loc in posterior.loc.items():
            scale = posterior.scale[name]
            random = scale > 0
            if not (weights[name][~random] == loc[~random]).all():
                return -np.inf
            total -= 0.5 * (((weights[name] - loc)[random] / scale[random]) ** 2).sum()
        return total

    values = []
    for s in range(len(next(iter(draws.values())))):
        weights = {name: value[s] for name, value in draws.items()}
        terms = [log_q(act(spec, {group.name: e}, weights)) for e in elements]
        values.append(logsumexp(terms) - log_q(weights))
    return float(np.mean(values))


def evaluate(posterior, group, noise, marginals, loc=None, log_scale=None):
    q = Variational.of(posterior)
    with torch.no_grad():
        if loc is not None:
            q.loc.copy_(loc)
        if log_scale is not None:
            q.log_scale.copy_(log_scale)
    term = GroupTerm(group, q, marginals)
    return q, term(q.loc, q.scale, q.loc + q.scale * noise, np.random.default_rng(7))


def noise_for(posterior, draws, seed=3):
    return torch.from_numpy(
        np.random.default_rng(seed).standard_normal((draws, posterior.num_parameters))
    )


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("fixed", [(), ("w2",)])
def test_value_is_the_sum_over_group_elements(signed, fixed):
    posterior = make_posterior(4 if not signed else 3, fixed=fixed)
    if fixed:  # units 0 and 1 share their fixed outgoing weight: only they can swap
        posterior.loc["w2"][0, 1] = posterior.loc["w2"][0, 0]
    group = mlp_group(posterior.loc["b1"].size, signed=signed)
    noise = noise_for(posterior, 5)
    q, value = evaluate(posterior, group, noise, "exact")
    draws = {k: v.numpy() for k, v in q.layout.split((q.loc + q.scale * noise).detach()).items()}
    expected = enumerate_entropy(PermutationSpec((group,)), posterior, draws)
    assert expected > 0.01
    assert value.item() == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("width", [3, 8])
def test_gradient_is_the_central_difference(width, signed):
    posterior = make_posterior(width, seed=width)
    group = mlp_group(width, signed=signed)
    noise = noise_for(posterior, 3)
    q, value = evaluate(posterior, group, noise, "exact")
    value.backward()
    base = {"loc": q.loc.detach(), "log_scale": q.log_scale.detach()}
    step = 1e-5
    for name, gradient in (("loc", q.loc.grad), ("log_scale", q.log_scale.grad)):
        for k in range(posterior.num_parameters):
            ends = []
            for sign in (1.0, -1.0):
                moved = {n: v.clone() for n, v in base.items()}
                moved[name][k] += sign * step
                ends.append(evaluate(posterior, group, noise, "exact", **moved)[1].item())
            assert float(gradient[k]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)


def test_deterministic_weights_get_no_gradient():
    posterior = make_posterior(4, fixed=("b2",))
    q, value = evaluate(posterior, mlp_group(4), noise_for(posterior, 2), "exact")
    value.backward()
    q.hold_fixed()
    assert float(q.loc.grad[-1]) == 0.0
    assert float(q.log_scale.grad[-1]) == 0.0
    assert float(q.loc.grad[:-1].abs().min()) > 0.0


@pytest.mark.parametrize(("width", "spread"), [(6, 0.1), (8, 0.6), (8, 1.5)])
def test_sampled_marginals_are_unbiased_for_the_exact_ones(width, spread):
    """Averaged over chains, |P_mcmc − P_exact| is within 5 standard errors everywhere."""
    posterior = make_posterior(width, spread=spread)
    q = Variational.of(posterior)
    group = mlp_group(width)
    noise = noise_for(posterior, 1)
    seen = {}

    def record(log_weights, generator):
        seen["a"] = log_weights
        return exact_marginals(log_weights)

    term = GroupTerm(group, q)
    term._marginals = record
    term(q.loc, q.scale, q.loc + q.scale * noise, np.random.default_rng(0))
    exact = exact_marginals(seen["a"])[1][0]
    chains = swap_marginals(np.repeat(seen["a"], 400, axis=0), np.random.default_rng(1), steps=2000)
    error = chains.std(0, ddof=1) / 20 + 1e-4
    assert (np.abs(chains.mean(0) - exact) < 5 * error).all()
    np.testing.assert_allclose(chains.sum(1), 1.0, atol=1e-12)
    np.testing.assert_allclose(chains.sum(2), 1.0, atol=1e-12)


def test_sampled_gradient_agrees_with_the_exact_one_in_expectation():
    posterior = make_posterior(8)
    group, noise = mlp_group(8), noise_for(posterior, 64)
    exact, value = evaluate(posterior, group, noise, "exact")
    value.backward()
    sampled = []
    for seed in range(30):
        q = Variational.of(posterior)
        draws = q.loc + q.scale * noise
        GroupTerm(group, q, "mcmc")(q.loc, q.scale, draws, np.random.default_rng(seed)).backward()
        sampled.append(torch.cat([q.loc.grad, q.log_scale.grad]).numpy())
    sampled = np.array(sampled)
    difference = sampled.mean(0) - torch.cat([exact.loc.grad, exact.log_scale.grad]).numpy()
    error = sampled.std(0, ddof=1) / math.sqrt(len(sampled))
    assert (np.abs(difference) < 5 * error + 1e-3).all()


@pytest.mark.parametrize("few_weights", [64, 0], ids=["without matrix", "with matrix"])
@pytest.mark.parametrize(("signed", "fixed"), [(False, ()), (True, ()), (False, ("w2",))])
def test_training_gradient_agrees_with_the_exact_one_in_expectation(
    signed, fixed, few_weights, monkeypatch
):
    """Short chains with a table of partners, and densities worked out where a swap needs them."""
    monkeypatch.setattr(group_term, "_FEW_WEIGHTS", few_weights)
    posterior = make_posterior(8, fixed=fixed)
    if fixed:  # two sets of units that may exchange within themselves only
        posterior.loc["w2"][0] = np.repeat([0.5, -0.7], 4)
    group = Group(
        "h", 8, (Member("b1", 0), Member("w1", 0), Member("w2", 1, flips=not fixed)), signed
    )
    noise = noise_for(posterior, 64)
    exact, value = evaluate(posterior, group, noise, "exact")
    value.backward()
    sampled = []
    for seed in range(40):
        q = Variational.of(posterior)
        term = GroupTerm(group, q, "mcmc", value_every=0)
        draws = q.loc + q.scale * noise
        term(q.loc, q.scale, draws, np.random.default_rng(seed)).backward()
        sampled.append(torch.cat([q.loc.grad, q.log_scale.grad]).numpy())
    sampled = np.array(sampled)
    target = torch.cat([exact.loc.grad, exact.log_scale.grad]).numpy()
    error = sampled.std(0, ddof=1) / math.sqrt(len(sampled))
    assert (np.abs(sampled.mean(0) - target) < 5 * error + 2e-3).all()
    assert np.abs(target).max() > 0.1


def test_mixed_flips_of_one_group_agree_with_the_exact_gradient():
    """A unit whose bias does not change sign: the shares of the two signs matter on the rest."""
    posterior = make_posterior(6, seed=5)
    members = (Member("b1", 0, flips=False), Member("w1", 0), Member("w2", 1))
    group, noise = Group("h", 6, members, True), noise_for(posterior, 64)
    exact, value = evaluate(posterior, group, noise, "exact")
    value.backward()
    sampled = []
    for seed in range(40):
        q = Variational.of(posterior)
        term = GroupTerm(group, q, "mcmc", value_every=0)
        term(q.loc, q.scale, q.loc + q.scale * noise, np.random.default_rng(seed)).backward()
        sampled.append(torch.cat([q.loc.grad, q.log_scale.grad]).numpy())
    sampled = np.array(sampled)
    target = torch.cat([exact.loc.grad, exact.log_scale.grad]).numpy()
    error = sampled.std(0, ddof=1) / math.sqrt(len(sampled))
    assert (np.abs(sampled.mean(0) - target) < 5 * error + 2e-3).all()


def test_wide_groups_use_fewer_draws_and_leave_the_others_without_gradient():
    width = 400
    posterior = make_posterior(width)
    q = Variational.of(posterior)
    draws = (q.loc + q.scale * noise_for(posterior, 8)).detach().requires_grad_()
    term = GroupTerm(mlp_group(width), q, value_every=0)
    term(q.loc, q.scale, draws, np.random.default_rng(0)).backward()
    used = draws.grad.abs().sum(1) > 0
    assert used.tolist() == [True] * term.draws_used(8) + [False] * (8 - term.draws_used(8))
    assert 0 < term.draws_used(8) < 8


@pytest.mark.parametrize("signed", [False, True])
def test_single_precision_keeps_densities_and_gradients(signed):
    """Units of many weights, trained in float32, their means far from 0 together."""
    rng = np.random.default_rng(0)
    width, inputs = 12, 400
    shapes = {"w1": (width, inputs), "b1": (width,), "w2": (1, width)}
    posterior = Posterior(
        {n: 1.0 * (not signed) + 0.02 * rng.standard_normal(s) for n, s in shapes.items()},
        {n: 0.02 * np.exp(0.1 * rng.standard_normal(s)) for n, s in shapes.items()},
    )
    members = (Member("b1", 0), Member("w1", 0), Member("w2", 1))
    group = Group("h", width, tuple(replace(m, flips=signed) for m in members), signed)
    noise = noise_for(posterior, 3)
    found = []
    for dtype in (torch.float32, torch.float64):
        q = Variational.of(posterior, dtype=dtype)
        term = GroupTerm(group, q, "mcmc", value_every=0)
        draws = (q.loc + q.scale * noise.to(dtype)).detach()
        slots, std = term._slots(q.loc.detach(), q.scale.detach(), draws)
        assert slots.x.dtype == dtype
        matrices = term.log_weights(slots)
        # any doubly stochastic shares: these mix the identity with two cyclic shifts
        shares = sum(np.roll(np.eye(width), k, axis=1) for k in (0, 1, 5)) / 3.0
        shares = torch.from_numpy(np.repeat(shares[None], 3, axis=0)).to(dtype)
        moments = term._matrix_moments(slots, shares, 0.1 * shares if signed else None)
        found.append((matrices, *gradients(slots, std, moments)))
    single, double = found
    assert single[0].dtype == np.float64
    np.testing.assert_allclose(single[0], double[0], atol=2e-3)
    for mine, exact in zip(single[1:], double[1:], strict=True):
        error = (mine.double() - exact).norm() / exact.norm()
        assert float(error) < 1e-3


def test_partners_follow_the_odds_of_a_swap():
    """Two units that overlap with each other alone are listed for each other; never a unit itself."""
    log_weights = np.full((2, 6, 6), -50.0)
    log_weights[:, range(6), range(6)] = 0.0
    log_weights[:, 0, 1] = log_weights[:, 1, 0] = -0.1
    table = partner_table(log_weights, np.random.default_rng(0))
    assert (table[0] == 1).mean() > 0.85
    assert (table[1] == 0).mean() > 0.85
    assert (table != np.arange(6)[:, None]).all()
    assert all(set(table[k]) == set(range(6)) - {k} for k in range(2, 6))
    assert len(set(table[0])) > 2  # a tenth of the proposals goes anywhere


@pytest.mark.parametrize("gap", [-50.0, -371.0, -373.0, -1e4, -np.inf])
def test_partners_of_units_that_never_swap_are_all_others(gap):
    """Also where the chance of a swap is denormal, and the reciprocal of its sum overflows."""
    log_weights = np.full((3, 5, 5), gap)
    log_weights[:, range(5), range(5)] = 0.0
    table = partner_table(log_weights, np.random.default_rng(0))
    assert all(set(row) == set(range(5)) - {k} for k, row in enumerate(table))


def test_a_term_goes_on_as_if_it_had_not_been_interrupted():
    posterior = make_posterior(16)
    q = Variational.of(posterior)
    spec = PermutationSpec((mlp_group(16),))

    def gradient(objective, step):
        q.loc.grad = None
        draws = q.loc + q.scale * noise_for(posterior, 4, seed=step)
        objective.term(q, draws, np.random.default_rng(step)).backward()
        return q.loc.grad.clone()

    through = Symmetrized(spec, q, value_every=0)
    expected = [gradient(through, step) for step in range(40)]
    first = Symmetrized(spec, q, value_every=0)
    for step in range(35):
        gradient(first, step)
    second = Symmetrized(spec, q, value_every=0)
    second.load(first.tensors())
    assert all(torch.equal(gradient(second, step), expected[step]) for step in range(35, 40))


def test_bethe_value_is_a_lower_bound():
    posterior = make_posterior(8)
    noise = noise_for(posterior, 16)
    exact = evaluate(posterior, mlp_group(8), noise, "exact")[1].item()
    bound = evaluate(posterior, mlp_group(8), noise, "bethe")[1].item()
    assert exact - 3.0 < bound < exact


@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_sampled_values_are_those_of_the_exact_permanents(spread):
    """Wide enough to be sampled: sequential Monte Carlo, whose mean is a lower bound."""
    posterior = make_posterior(12, spread=spread)
    noise = noise_for(posterior, 8)
    exact = evaluate(posterior, mlp_group(12), noise, "exact")[1].item()
    sampled = evaluate(posterior, mlp_group(12), noise, "mcmc")[1].item()
    assert sampled == pytest.approx(exact, abs=0.3)
    assert exact > 1.0


def test_a_sampled_value_is_a_lower_bound_in_expectation_near_zero_too():
    """exp of it is unbiased for the permanent; cut off at 0, where log perm ends, it would exceed it."""
    posterior = make_posterior(12, seed=2, inputs=4, spread=1.0)
    q = Variational.of(posterior)
    term = GroupTerm(mlp_group(12), q)
    with torch.no_grad():
        draw = (q.loc + q.scale * noise_for(posterior, 11))[10:]  # whose units are told apart
        exact = exact_log_permanent(term.log_weights(term._slots(q.loc, q.scale, draw)[0]))
        values = term.values(q.loc, q.scale, draw.expand(600, -1), np.random.default_rng(1))
    ratio = np.exp(values - exact)
    error = ratio.std() / math.sqrt(len(values))
    assert exact < 0.01
    assert abs(ratio.mean() - 1.0) < 4.0 * error
    # the test can tell: what a cut at 0 adds is out of the interval
    assert np.maximum(ratio, np.exp(-exact)).mean() - 1.0 > 6.0 * error


def test_values_are_renewed_as_often_as_asked():
    """Between two values the last one is returned; far apart units leave log perm at 0."""
    posterior = make_posterior(12)
    q = Variational.of(posterior)
    term = GroupTerm(mlp_group(12), q, value_every=3)
    rng = np.random.default_rng(0)
    values = [
        term(q.loc, q.scale, q.loc + q.scale * noise_for(posterior, 2, seed=k), rng).item()
        for k in range(6)
    ]
    assert values[0] == values[1] == values[2] != values[3]
    assert values[3] == values[4] == values[5]
    q.log_scale.data -= 8.0
    still = GroupTerm(mlp_group(12), q)
    assert still(
        q.loc, q.scale, q.loc + q.scale * noise_for(posterior, 2), rng
    ).item() == pytest.approx(0.0, abs=1e-9)


def test_bethe_functional_of_known_cases():
    identical = np.zeros((1, 4, 4))
    uniform = np.full((1, 4, 4), 0.25)
    expected = 16 * (-0.25 * math.log(0.25) + 0.75 * math.log(0.75))
    assert bethe_functional(identical, uniform)[0] == pytest.approx(expected)
    assert bethe_functional(identical, np.eye(4)[None])[0] == pytest.approx(0.0, abs=1e-12)


def test_forbidden_swaps_never_happen():
    log_weights = np.zeros((3, 5, 5))
    log_weights[:, :2, 2:] = -np.inf
    log_weights[:, 2:, :2] = -np.inf
    marginals = swap_marginals(log_weights, np.random.default_rng(0), steps=4000)
    assert (marginals[:, :2, 2:] == 0).all()
    np.testing.assert_allclose(marginals[:, :2, :2], 0.5, atol=0.08)


def test_two_hidden_layers_add_up():
    rng = np.random.default_rng(0)
    shapes = {"w1": (4, 2), "b1": (4,), "w2": (3, 4), "b2": (3,), "w3": (1, 3)}
    posterior = Posterior(
        {k: rng.standard_normal(s) for k, s in shapes.items()},
        {k: np.full(s, 0.7) for k, s in shapes.items()},
    )
    first = Group("a", 4, (Member("w1", 0), Member("b1", 0), Member("w2", 1)))
    second = Group("b", 3, (Member("w2", 0), Member("b2", 0), Member("w3", 1)))
    q = Variational.of(posterior)
    draws = q.loc + q.scale * noise_for(posterior, 4)
    both = Symmetrized(PermutationSpec((first, second)), q).term(q, draws, np.random.default_rng(0))
    parts = [
        GroupTerm(g, q)(q.loc, q.scale, draws, np.random.default_rng(0)) for g in (first, second)
    ]
    assert both.item() == pytest.approx(sum(parts).item(), abs=1e-12)


def test_refusals():
    posterior = make_posterior(3)
    q = Variational.of(posterior)
    with pytest.raises(UnsupportedError, match="two axes"):
        GroupTerm(Group("r", 3, (Member("w1", 0), Member("w1", 1))), q)
    with pytest.raises(UsageError, match="unknown marginals"):
        GroupTerm(mlp_group(3), q, "guess")
