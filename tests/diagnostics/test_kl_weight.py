"""The meter against models whose optimum at any weight of the KL is known in closed form."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from symdiag.diagnostics.kl_weight import conventions, meter
from symdiag.diagnostics.kl_weight.conventions import CONVENTIONS, Sizes, causes
from symdiag.diagnostics.kl_weight.gradients import Gradients, Trained, measure_gradients
from symdiag.diagnostics.kl_weight.regression import natural_slope, robust_slope
from symdiag.network.architecture import Layer, Network
from symdiag.network.functional import forward
from symdiag.objectives.likelihoods import find_likelihood
from symdiag.objectives.priors import flat_prior, total_kl
from symdiag.objectives.variational import Variational
from symdiag.posterior import Covariance, Posterior
from symdiag.priors import GaussianPrior, ScaleMixturePrior

POINTS, INPUTS, NOISE, PRIOR = 40, 24, 0.7, 1.5


def problem():
    rng = np.random.default_rng(3)
    # inputs of different sizes: stds from far below the prior's to nearly at it
    x = rng.standard_normal((POINTS, INPUTS)) * np.geomspace(0.02, 2.0, INPUTS)
    return x, x @ rng.standard_normal((INPUTS, 1)) + NOISE * rng.standard_normal((POINTS, 1))


def optimum(factors):
    """Means and stds of the mean-field optimum of a linear model, T by weight: conjugate."""
    x, y = problem()
    factors = np.broadcast_to(factors, INPUTS + 1)
    design = np.concatenate([x, np.ones((POINTS, 1))], axis=1)
    data = design.T @ design / NOISE**2
    pull = factors / PRIOR**2
    loc = np.linalg.solve(data + np.diag(pull), design.T @ y[:, 0] / NOISE**2)
    # σ² solves σ² h = T (1 − σ²/s²)
    return loc, np.sqrt(factors / (np.diag(data) + pull))


MIXTURE = ScaleMixturePrior({n: ((0.5, 2.0), (0.5, 0.05)) for n in ("fc.weight", "fc.bias")})


def optimum_under(prior, weight):
    """Means and stds at the optimum of the same model under any prior, by Newton-like descent."""
    x, y = problem()
    design = torch.tensor(np.concatenate([x, np.ones((POINTS, 1))], axis=1))
    target = torch.tensor(y[:, 0])
    loc, scale = optimum(weight)
    named = [{"fc.weight": v[None, :INPUTS], "fc.bias": v[INPUTS:]} for v in (loc, scale)]
    q = Variational.of(Posterior(*named))
    flat = flat_prior(prior, q.layout)
    search = torch.optim.LBFGS(
        [q.loc, q.log_scale], max_iter=2000, tolerance_grad=1e-9, line_search_fn="strong_wolfe"
    )

    def loss():
        search.zero_grad()
        residual = target - design @ q.loc
        spread = (design.square() @ q.scale.square()).sum()
        value = (residual.square().sum() + spread) / (2 * NOISE**2) + weight * total_kl(q, flat)
        value.backward()
        return value

    search.step(loss)
    assert max(float(p.grad.abs().max()) for p in (q.loc, q.log_scale)) < 1e-3 * max(1.0, weight)
    return q.loc.detach().numpy(), q.scale.detach().numpy()


def trained(loc, scale, *, chain=True, noise=NOISE, covariance=None):
    x, y = problem()
    layer = Layer("fc", "linear", "fc.weight", "fc.bias", INPUTS, 1, (1, INPUTS))
    network = Network((layer,))
    named = [{"fc.weight": v[None, :INPUTS], "fc.bias": v[INPUTS:]} for v in (loc, scale)]
    names = {"fc.weight", "fc.bias"}
    return Trained(
        Posterior(*named, covariance=covariance),
        GaussianPrior({n: np.zeros(1) for n in names}, {n: np.full(1, PRIOR) for n in names}),
        lambda weights, inputs: forward(network, weights, None, inputs),
        network if chain else None,
        find_likelihood("gaussian"),
        torch.tensor(x),
        torch.tensor(y),
        None if noise is None else math.log(noise),
    )


def exact_gradients(loc, scale):
    x, y = problem()
    design = np.concatenate([x, np.ones((POINTS, 1))], axis=1)
    residual = y[:, 0] - design @ loc
    return -(scale**2) * (design**2).sum(0) / NOISE**2, scale * (design.T @ residual) / NOISE**2


@pytest.mark.parametrize("chain", [True, False])
def test_gradients_are_those_of_the_closed_form(chain):
    loc, scale = optimum(3.0)
    loc = loc + 0.1  # off the optimum, so that the means' gradients are not zero
    found = measure_gradients(trained(loc, scale, chain=chain), seed=1)
    assert found.method == ("local-reparametrization" if chain else "weight-draws")
    for mine, error, exact in zip(
        (found.fit_log_std, found.fit_mean),
        (found.fit_log_std_error, found.fit_mean_error),
        exact_gradients(loc, scale),
        strict=True,
    ):
        z = (mine - exact) / np.maximum(error, 1e-9 * np.abs(exact).max())
        assert np.abs(z).max() < 5.0
        assert error.max() < 0.2 * np.abs(exact).max()
    np.testing.assert_allclose(found.kl_log_std, scale**2 / PRIOR**2 - 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.kl_mean, scale * loc / PRIOR**2, rtol=1e-12)


@pytest.mark.parametrize("weight", [0.01, 1.0, 9.0])
def test_the_optimum_at_a_weight_reads_as_that_weight(weight):
    found = meter.measure(trained(*optimum(weight)))
    assert found.status == "ok"
    assert found.value == pytest.approx(weight, rel=0.02)
    assert found.lower < weight < found.upper
    assert found.differs == (weight != 1.0)
    assert found.fit > 0.99
    assert found.convention == "summed"


@pytest.mark.parametrize("weight", [0.1, 1.0, 9.0])
@pytest.mark.parametrize("floor", [0.0, 1e-6])
def test_the_optimum_under_a_mixture_reads_as_its_weight(weight, floor):
    prior = dataclasses.replace(MIXTURE, floor=floor)
    model = dataclasses.replace(trained(*optimum_under(prior, weight)), prior=prior)
    found = meter.measure(model)
    assert found.status == "ok"
    assert found.value == pytest.approx(weight, rel=0.03)
    assert found.lower < weight < found.upper
    # the Gaussian of the same variance pulls otherwise
    gaussian = {n: np.full(1, math.sqrt(0.5 * 2.0**2 + 0.5 * 0.05**2)) for n in prior.names}
    wrong = dataclasses.replace(
        model, prior=GaussianPrior({n: np.zeros(1) for n in prior.names}, gaussian)
    )
    assert meter.measure(wrong).status == "not-stationary"


def test_stds_on_their_way_are_not_stationary():
    loc, scale = optimum(1.0)
    early = np.minimum(scale, np.exp(-2.5))  # as from a start at small stds
    found = meter.measure(trained(loc, early))
    assert found.status == "not-stationary"
    assert found.reasons
    assert not found.causes


def test_means_on_their_way_are_not_stationary():
    loc, scale = optimum(1.0)
    assert meter.measure(trained(0.5 * loc, scale)).status == "not-stationary"


def test_an_average_within_tensors_is_told_from_a_sum():
    # bias and weights under mean KL each: T = κ/24 and κ
    kappa = 30.0
    factors = np.append(np.full(INPUTS, kappa / INPUTS), kappa)
    sizes = Sizes(POINTS, (INPUTS, 1), ("fc", "fc"))
    gradients = measure_gradients(trained(*optimum(factors)))
    # four biases instead of one, so that they can be told apart by their number
    repeat = np.concatenate([np.arange(INPUTS), np.full(4, INPUTS)])
    many = gradients.take(np.ones(INPUTS + 1, dtype=bool))
    many = dataclasses.replace(
        many, **{k: v[repeat] for k, v in vars(many).items() if isinstance(v, np.ndarray)}
    )
    share = {c.name: c.share(sizes) for c in CONVENTIONS}
    np.testing.assert_allclose(share["tensor-mean"], [1 / INPUTS, 1.0])
    np.testing.assert_allclose(share["layer-mean"], [1 / 25, 1 / 25])
    assert meter.measure(trained(*optimum(factors))).layers[0].value == pytest.approx(
        kappa / INPUTS, rel=0.02
    )
    # with four biases the average within that tensor divides by four
    shifted = dataclasses.replace(
        many,
        fit_log_std=np.where(many.tensor == 1, many.fit_log_std / 4.0, many.fit_log_std),
        fit_mean=np.where(many.tensor == 1, many.fit_mean / 4.0, many.fit_mean),
    )
    found = meter.assess(shifted, POINTS)
    assert found.convention == "tensor-mean"
    assert found.status == "ok"
    assert found.value == pytest.approx(2 * kappa / (INPUTS + 4), rel=0.02)


@pytest.mark.parametrize(
    ("bias", "convention", "status"),
    [(30.0, "tensor-mean", "ok"), (8.0, "summed", "not-stationary"), (1.25, "summed", "ok")],
)
def test_the_bias_of_one_output_tells_an_average_from_a_sum(bias, convention, status):
    """The optimum under 30/24 on each of 24 weights and ``bias`` on the one bias: 30 is the average's."""
    factors = np.append(np.full(INPUTS, 30.0 / INPUTS), bias)
    found = meter.measure(trained(*optimum(factors)))
    assert (found.convention, found.status) == (convention, status)
    if status == "ok":
        assert found.value == pytest.approx(factors.mean(), rel=0.02)


def test_layers_that_differ_by_two_are_not_settled_rather_than_averaged():
    """Means over layers of sizes 25 and 12 would give it, and so would one that lags behind."""
    gradients = measure_gradients(trained(*optimum(1.0)))
    both = gradients.take(np.ones(INPUTS + 1, dtype=bool))
    twice = np.tile(np.arange(INPUTS + 1), 2)[: INPUTS + 13]
    both = dataclasses.replace(
        both, **{k: v[twice] for k, v in vars(both).items() if isinstance(v, np.ndarray)}
    )
    second = np.arange(len(twice)) > INPUTS
    factor = np.where(second, 25.0 / 12.0, 1.0)
    found = meter.assess(
        dataclasses.replace(
            both,
            names=("a.weight", "b.weight"),
            tensor=second.astype(int),
            fit_log_std=both.fit_log_std * factor,
            fit_mean=both.fit_mean * factor,
        ),
        POINTS,
    )
    assert (found.status, found.convention) == ("not-stationary", "summed")


def test_a_small_layer_of_another_weight_is_not_drowned_by_a_large_one():
    gradients = measure_gradients(trained(*optimum(1.0)))
    every = np.concatenate([np.tile(np.arange(INPUTS + 1), 40), np.arange(INPUTS + 1)])
    small = np.arange(len(every)) >= 40 * (INPUTS + 1)
    many = gradients.take(np.ones(INPUTS + 1, dtype=bool))
    many = dataclasses.replace(
        many, **{k: v[every] for k, v in vars(many).items() if isinstance(v, np.ndarray)}
    )
    names = ("a.weight", "b.weight")
    for factor, status in ((1.0, "ok"), (2.0, "not-stationary")):
        own = np.where(small, factor, 1.0)
        found = meter.assess(
            dataclasses.replace(
                many,
                names=names,
                tensor=small.astype(int),
                fit_log_std=many.fit_log_std * own,
                fit_mean=many.fit_mean * own,
            ),
            POINTS,
        )
        assert found.status == status
        assert any("b.weight 2" in reason for reason in found.reasons) == (factor == 2.0)


def test_a_layer_that_fell_back_on_the_prior_is_no_layer_of_another_weight():
    """Stds left within .4 % of the prior's balance nowhere: a mean over layers fitted them by chance."""
    rng = np.random.default_rng(4)
    sizes = (260, 60, 3)
    x = np.concatenate([0.004 * rng.standard_normal(260), rng.normal(-0.06, 0.01, 60)])
    x = np.concatenate([x, -0.07 + 0.01 * rng.standard_normal(3)])
    factor = np.repeat([26.0, 100.0, 100.0], sizes)
    gradients = Gradients(
        names=("fc1.weight", "fc2.weight", "fc2.bias"),
        tensor=np.repeat(np.arange(3), sizes),
        fit_log_std=factor * x,
        fit_log_std_error=np.full(323, 0.004),
        kl_log_std=x,
        fit_mean=np.zeros(323),
        fit_mean_error=np.full(323, 0.004),
        kl_mean=np.zeros(323),
        log_noise=0.0,
        method="",
        draws=1,
    )
    found = meter.assess(gradients, 120)
    assert found.convention == "summed"
    assert found.value == pytest.approx(100.0, rel=0.05)
    assert [part.value is None for part in found.layers] == [True, False, False]


def test_an_unknown_noise_scales_the_weight_and_leaves_the_squared_error_alone():
    loc, scale = optimum(4.0)
    known, unknown = (meter.measure(trained(loc, scale, noise=n)) for n in (NOISE, None))
    ratio = (unknown.noise_std / NOISE) ** 2
    assert unknown.value == pytest.approx(known.value / ratio, rel=0.02)
    assert unknown.squared_error_weight == pytest.approx(known.squared_error_weight, rel=0.02)
    assert known.squared_error_weight == pytest.approx(2 * NOISE**2 * 4.0 / POINTS, rel=0.02)


def test_correlated_weights_are_read_along_their_stds():
    """At the optimum of a full covariance, Σ⁻¹ = (data + T/s²)/T: scaling a weight balances too."""
    x, _ = problem()
    design = np.concatenate([x, np.ones((POINTS, 1))], axis=1)
    weight = 2.0
    precision = design.T @ design / NOISE**2 / weight + np.eye(INPUTS + 1) / PRIOR**2
    covariance = np.linalg.inv(precision)
    loc, _ = optimum(weight)
    full = Covariance(
        ("fc.weight", "fc.bias"), np.linalg.cholesky(covariance), np.zeros(INPUTS + 1)
    )
    found = meter.measure(trained(loc, np.sqrt(np.diag(covariance)), covariance=full))
    assert found.method == "weight-draws"
    assert found.value == pytest.approx(weight, rel=0.1)


def test_without_anything_learned_nothing_is_said():
    found = meter.measure(trained(np.zeros(INPUTS + 1), np.full(INPUTS + 1, PRIOR)))
    assert (found.status, found.value) == ("undetermined", None)


def test_slopes_of_exact_lines_are_exact():
    x = np.linspace(-1.0, -0.1, 30)
    for line in (robust_slope, natural_slope):
        found = line(x, 2.5 * x, np.full(30, 1e-6))
        assert found.slope == pytest.approx(2.5, rel=1e-9)
    crossed = robust_slope(x, 2.5 * x + 0.3, np.full(30, 1e-6), intercept=True)
    assert (crossed.slope, crossed.intercept) == (
        pytest.approx(2.5, rel=1e-6),
        pytest.approx(0.3, rel=1e-6),
    )


def test_a_robust_slope_is_not_drawn_off_by_a_few_unsettled_weights():
    rng = np.random.default_rng(0)
    x = -rng.uniform(0.5, 1.0, 60)
    y = 2.0 * x * np.exp(0.03 * rng.standard_normal(60))
    y[:6] = 0.1 * x[:6]
    found = robust_slope(x, y, np.full(60, 0.01))
    assert found.slope == pytest.approx(2.0, rel=0.02)
    assert found.error < 0.05


def test_dead_units_are_no_exact_measurements_of_a_slope_of_zero():
    """A ReLU that never fires has a data gradient of exactly 0, without error, wherever its std is."""
    rng = np.random.default_rng(1)
    x = -rng.uniform(0.3, 1.0, 200)
    y = 8.0 * x * np.exp(0.05 * rng.standard_normal(200))
    error = np.full(200, 0.3)
    y[:20], error[:20] = 0.0, 0.0
    x[:5] = 0.0  # already at the prior
    robust, natural = robust_slope(x, y, error), natural_slope(x, y, error)
    assert robust.slope == pytest.approx(8.0, rel=0.03)
    assert robust.informative > 100
    assert natural.slope == pytest.approx(8.0, rel=0.1)
    assert math.isfinite(natural.informative)


@pytest.mark.parametrize(
    ("measured", "options", "name", "text"),
    [
        (9.0, {}, "full-per-batch", "minibatch of 100 of 927"),
        (10.0, {"batch_size": 100}, "full-per-batch", "each of 10 minibatches"),
        (927 / 32, {"batch_size": 32}, "full-per-batch", "minibatch of 32 of 927"),
        (927.0, {"batch_size": 100}, "not-per-point", "N = 927"),
        (1 / 927, {"batch_size": 100}, "per-point-of-sum", "N = 927"),
        (0.1 * 927 / 61, {"library": "torchbnn"}, "mean-over-weights", "times 0.1"),
        (0.5, {"library": "torch-uncertainty"}, "mean-over-layers", "2 layers"),
    ],
)
def test_usual_causes_are_named(measured, options, name, text):
    sizes = Sizes(927, (20, 20, 20, 1), ("fc1", "fc1", "fc2", "fc2"))
    keywords = {"batch_size": None, "library": None, **options}
    found = causes(CONVENTIONS[0], sizes, measured, 0.05, **keywords)
    assert found[0].name == name
    assert text in found[0].text
    assert abs(math.log(found[0].weight / measured)) <= 0.05


def test_nothing_is_named_that_does_not_fit():
    sizes = Sizes(927, (20, 20, 20, 1), ("fc1", "fc1", "fc2", "fc2"))
    assert causes(CONVENTIONS[0], sizes, 3.3, 0.02, batch_size=100, library=None) == ()


def test_weights_by_tensor_average_to_the_value():
    found = dataclasses.replace(
        meter.measure(trained(*optimum(1.0))), convention="tensor-mean", value=0.7
    )
    by_weight = conventions.tensor_weights(found, (("a.weight", (4, 3)), ("a.bias", (4,))))
    assert by_weight.mean() == pytest.approx(0.7)
    np.testing.assert_allclose(by_weight[:12] * 12, by_weight[12:].mean() * 4)
