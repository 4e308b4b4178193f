"""Churn, verdicts, and the straight path between posteriors."""

from __future__ import annotations

import numpy as np
import pytest
from alignment_examples import mlp_spec, planted, random_posterior, tanh_mlp
from scipy.stats import norm

from symdiag.alignment import align, function_gap, path_between, path_noise
from symdiag.alignment.comparison import FunctionGap, churn, closeness, interpolate, judge
from symdiag.posterior import Posterior
from symdiag.priors import GaussianPrior
from symdiag.symmetry.elements import Element


def test_churn_counts_transpositions_moves_and_flips():
    # cycles (0 1 2) and (3 4), 5 in place: 2 + 1 swaps
    element = Element(np.array([1, 2, 0, 4, 3, 5]), np.array([1.0, -1, 1, 1, 1, -1]))
    assert churn(element) == type(churn(element))(transpositions=3, moved=5, flipped=2)


def test_uniform_permutations_average_n_minus_harmonic_transpositions():
    width, generator = 512, np.random.default_rng(0)
    counts = [
        churn(Element(generator.permutation(width), np.ones(width))).transpositions
        for _ in range(300)
    ]
    expected = width - sum(1 / k for k in range(1, width + 1))
    assert np.mean(counts) == pytest.approx(expected, abs=4 * np.std(counts) / np.sqrt(300))


def gaussian(loc, scale):
    return Posterior({"w": np.array(loc)}, {"w": np.array(scale)})


@pytest.mark.parametrize(
    ("model", "reference", "gap", "verdict"),
    [
        (gaussian([5.0], [1.0]), gaussian([6.0], [1.0]), None, "same mode up to symmetry"),
        (gaussian([5.0], [0.1]), gaussian([6.0], [0.1]), None, "different"),
        (
            gaussian([5.0], [0.1]),
            gaussian([6.0], [0.1]),
            FunctionGap(0.05, 0.01, 0.5),
            "same function, different mode",
        ),
        # the same by both measures, error included, or not at all
        (gaussian([5.0], [0.1]), gaussian([6.0], [0.1]), FunctionGap(0.05, 0.03, 0.5), "different"),
        (gaussian([5.0], [0.1]), gaussian([6.0], [0.1]), FunctionGap(0.05, 0.01, 1.5), "different"),
        (
            gaussian([5.0], [0.1]),
            gaussian([6.0], [0.1]),
            FunctionGap(0.05, 0.0, None),
            "same function, different mode",
        ),
        (gaussian([5.0], [0.1]), gaussian([6.0], [0.1]), FunctionGap(0.5, 0.01, 0.5), "different"),
        # weights within their own noise of zero say nothing, however well they agree
        (
            gaussian([5.0, 0.0, 0.0], [0.1, 1.0, 1.0]),
            gaussian([6.0, 0.1, 0.2], [0.1, 1.0, 1.0]),
            None,
            "different",
        ),
        # without stds: 99 % of the means explained
        (
            gaussian([1.0, 1.0], [0.0, 0.0]),
            gaussian([1.0, 1.05], [0.0, 0.0]),
            None,
            "same mode up to symmetry",
        ),
        (gaussian([1.0, 1.0], [0.0, 0.0]), gaussian([1.0, 1.5], [0.0, 0.0]), None, "different"),
        (gaussian([0.0], [0.0]), gaussian([0.0], [0.0]), None, "same mode up to symmetry"),
    ],
)
def test_verdicts(model, reference, gap, verdict):
    assert judge(closeness(model, reference), gap) == verdict


def test_standard_difference_is_the_rms_of_z():
    found = closeness(gaussian([3.0, 4.0], [0.3, 0.4]), gaussian([3.5, 2.0], [0.4, 0.3]))
    assert found.standard_difference == pytest.approx(np.sqrt((0.5**2 / 0.25 + 2.0**2 / 0.25) / 2))
    assert found.unexplained == pytest.approx((0.25 + 4.0) / (0.5 * (9 + 16 + 12.25 + 4)))


def slope_model(inputs, targets, noise):
    def log_likelihood(draws):
        return norm.logpdf(targets, draws["w"] * inputs, noise)

    return log_likelihood


def test_path_values_match_closed_forms():
    # y = w x + noise with Gaussian w: expected log-likelihood, KL and predictive density are known
    inputs, targets, noise = np.array([0.5, -1.0, 2.0]), np.array([0.4, -0.8, 1.5]), 0.5
    model, reference = gaussian([0.2], [0.05]), gaussian([1.4], [0.25])
    prior = GaussianPrior({"w": np.zeros(1)}, {"w": np.ones(1)})
    found = path_between(
        model,
        reference,
        slope_model(inputs, targets, noise),
        prior=prior,
        points=5,
        samples=40_000,
        seed=1,
    )
    for t, nll, elbo in zip(found.positions, found.nll, found.elbo, strict=True):
        mean, std = 0.2 + 1.2 * t, 0.05 + 0.2 * t
        predictive = norm.logpdf(targets, mean * inputs, np.sqrt(noise**2 + (std * inputs) ** 2))
        expected = norm.logpdf(targets, mean * inputs, noise) - 0.5 * (std * inputs / noise) ** 2
        kl = 0.5 * (std**2 + mean**2 - 1) - np.log(std)
        assert nll == pytest.approx(-predictive.mean(), abs=0.01)
        assert elbo == pytest.approx(expected.sum() - kl, abs=0.05)


def test_barriers_are_excesses_over_the_straight_line():
    found = path_between(
        gaussian([-1.0], [0.0]), gaussian([1.0], [0.0]), lambda d: -(1.0 - d["w"] ** 2), samples=2
    )
    # NLL is 1 − t'² with t' from −1 to 1: highest in the middle, 0 at the ends
    assert found.barrier == pytest.approx(1.0)
    assert found.elbo_barrier == pytest.approx(1.0)
    flat = path_between(
        gaussian([1.0], [0.0]), gaussian([1.0], [0.0]), lambda d: -(1.0 - d["w"] ** 2), samples=2
    )
    assert (flat.barrier, flat.elbo_barrier) == (0.0, 0.0)


def test_interpolation_mixes_float_buffers_and_keeps_the_rest():
    model, reference = gaussian([0.0], [1.0]), gaussian([4.0], [3.0])
    model = model.replace(
        buffers={"running": np.array([0.0]), "count": np.array([3]), "own": np.array([7.0])}
    )
    reference = reference.replace(buffers={"running": np.array([8.0]), "count": np.array([9])})
    middle = interpolate(model, reference, 0.25)
    assert (middle.loc["w"], middle.scale["w"]) == (1.0, 1.5)
    assert {name: float(b[0]) for name, b in middle.buffers.items()} == {
        "running": 2.0,
        "count": 3,
        "own": 7.0,
    }


def test_alignment_removes_the_barrier_of_a_relabelled_net_and_nothing_of_its_function():
    generator = np.random.default_rng(0)
    spec, shapes = mlp_spec([2, 12, 1], signed=True)
    reference = random_posterior(shapes, generator)
    reference = reference.replace(scale={n: np.full(s, 0.01) for n, s in shapes.items()})
    model, _ = planted(reference, spec, generator)
    inputs = generator.standard_normal((30, 2))
    targets = tanh_mlp(reference.loc, inputs, 2)[:, 0]

    def outputs(draws):
        count = len(draws["b1"])
        return np.array(
            [tanh_mlp({n: a[s] for n, a in draws.items()}, inputs, 2) for s in range(count)]
        )

    def log_likelihood(draws):
        return norm.logpdf(targets, outputs(draws)[:, :, 0], 0.1)

    found = align(model, reference, spec)
    before = path_between(model, reference, log_likelihood, samples=4)
    after = path_between(found.posterior, reference, log_likelihood, samples=4)
    assert before.barrier > 1.0
    assert after.barrier < 1e-9
    gap = function_gap(found.posterior, reference, log_likelihood, outputs)
    assert (gap.nats, gap.outputs) == pytest.approx((0.0, 0.0), abs=1e-9)
    apart = function_gap(
        reference,
        reference.replace(loc={n: 1.3 * v for n, v in reference.loc.items()}),
        log_likelihood,
        outputs,
    )
    assert not apart.is_small
    # the model as it was is the same function; its draws have other noise
    assert function_gap(model, reference, log_likelihood, outputs, samples=200).nats < 0.5


def test_paths_before_and_after_relabelling_meet_at_both_ends():
    """The same function has the same NLL and expected log-likelihood, to rounding, with few draws."""
    generator = np.random.default_rng(3)
    spec, shapes = mlp_spec([2, 6, 1], signed=True)
    model = random_posterior(shapes, generator)
    reference = random_posterior(shapes, generator)
    inputs, targets = generator.standard_normal((20, 2)), generator.standard_normal(20)

    def log_likelihood(draws):
        count = len(draws["b1"])
        fits = [tanh_mlp({n: a[s] for n, a in draws.items()}, inputs, 2) for s in range(count)]
        return norm.logpdf(targets, np.array(fits)[:, :, 0], 0.5)

    found = align(model, reference, spec)
    assert not found.is_identity
    own, moved = (path_noise(model, 5, 1, relabel) for relabel in (None, found.apply))
    before = path_between(model, reference, log_likelihood, noise=(own, moved))
    after = path_between(found.posterior, reference, log_likelihood, noise=(moved, moved))
    for end in (0, -1):
        assert before.nll[end] == pytest.approx(after.nll[end], abs=1e-12)
        assert before.elbo[end] == pytest.approx(after.elbo[end], abs=1e-9)
    assert before.nll[5] != pytest.approx(after.nll[5], abs=1e-3)
