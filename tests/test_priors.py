"""Scale mixtures of Gaussians as priors: quadrature against brute force, in numpy and in torch."""

import math

import numpy as np
import pytest
import torch

from symdiag.errors import SymmetryError, UsageError
from symdiag.objectives.priors import flat_prior, total_kl
from symdiag.objectives.variational import Layout, Variational
from symdiag.posterior import Posterior
from symdiag.priors import GaussianPrior, ScaleMixturePrior, with_floor
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.symmetry.verification import prior_violations
from symdiag.training.config import ModelConfig, parse_prior_mixture
from symdiag.training.prior import check_prior_invariance, resolve_prior

HALF = ((0.5, 1.0), (0.5, 0.1))
# up to a spike a million times narrower than the slab, and two Gaussians that hardly differ
MIXTURES = [
    HALF,
    ((0.25, 1.0), (0.75, 0.0025)),
    ((0.9, 1.0), (0.1, 1e-6)),
    ((0.5, 1.0), (0.5, 0.99)),
    ((0.01, 10.0), (0.99, 1e-4)),
    ((0.2, 1.0), (0.3, 0.05), (0.5, 1e-3)),
]


def log_density(w, components, floor):
    parts = [
        math.log(p / s) - 0.5 * math.log(2 * math.pi) - 0.5 * (w / s) ** 2 for p, s in components
    ]
    parts += [np.full_like(w, math.log(floor))] if floor else []
    return np.logaddexp.reduce(parts, axis=0)


def brute_force(loc, scale, components, floor):
    """E_q[log p] and its derivatives: Gauss–Legendre between breaks at every component's own scale."""
    breaks = [c * std for _, std in components for c in np.linspace(-12, 12, 97)]
    breaks = np.unique([*breaks, *(loc + scale * np.linspace(-9.5, 9.5, 97))])
    breaks = breaks[np.abs(breaks - loc) <= 9.5 * scale]
    nodes, weights = np.polynomial.legendre.leggauss(24)
    half, middle = np.diff(breaks) / 2, (breaks[1:] + breaks[:-1]) / 2
    w = (middle[:, None] + half[:, None] * nodes).ravel()
    z = (w - loc) / scale
    mass = (
        (half[:, None] * weights).ravel() * np.exp(-0.5 * z**2) / (scale * math.sqrt(2 * math.pi))
    )
    value = log_density(w, components, floor)
    # integration by parts: the density itself need not be differentiated
    return np.array([(mass * f * value).sum() for f in (np.ones_like(z), z, z**2 - 1.0)])


def posteriors():
    rng = np.random.default_rng(0)
    loc = rng.standard_normal(60) * 10 ** rng.uniform(-5, 0.5, 60)
    return np.append(loc, np.zeros(20)), 10 ** rng.uniform(-5, 0.5, 80)


@pytest.mark.parametrize("floor", [0.0, 1e-6])
@pytest.mark.parametrize("components", MIXTURES)
def test_kl_and_pulls_are_those_of_brute_force(components, floor):
    prior = ScaleMixturePrior({"w": components}, floor=floor)
    loc, scale = posteriors()
    exact = np.array([brute_force(*q, components, floor) for q in zip(loc, scale, strict=True)])
    kl = -exact[:, 0] - np.log(scale) - 0.5 * (1 + math.log(2 * math.pi))
    np.testing.assert_allclose(prior.kl("w", loc, scale), kl, rtol=1e-8, atol=1e-8)
    by_log_scale, by_mean = prior.pulls("w", loc, scale)
    np.testing.assert_allclose(by_log_scale, -1.0 - exact[:, 2], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(by_mean, -exact[:, 1], rtol=1e-7, atol=1e-7)


def test_gauss_hermite_would_miss_a_spike():
    """Why nodes go where the bump is: even 100 nodes of Gauss–Hermite lose .058 nats per weight here."""
    components = ((0.25, 1.0), (0.75, 1e-3))
    nodes, weights = np.polynomial.hermite_e.hermegauss(100)
    w = 0.3 * nodes
    theirs = (weights * log_density(w, components, 0.0)).sum() / math.sqrt(2 * math.pi)
    exact = brute_force(0.0, 0.3, components, 0.0)[0]
    assert theirs - exact == pytest.approx(-0.058, abs=0.001)
    prior = ScaleMixturePrior({"w": components})
    ours = -prior.kl("w", np.zeros(1), np.full(1, 0.3))[0]
    entropy = math.log(0.3) + 0.5 * (1 + math.log(2 * math.pi))
    assert ours - entropy == pytest.approx(exact, abs=1e-9)


def test_equal_components_are_a_gaussian():
    loc, scale = posteriors()
    gaussian = GaussianPrior({"w": np.zeros(1)}, {"w": np.full(1, 0.7)})
    mixture = ScaleMixturePrior({"w": ((0.3, 0.7), (0.7, 0.7))})
    np.testing.assert_allclose(
        mixture.kl("w", loc, scale), gaussian.kl("w", loc, scale), rtol=1e-12, atol=1e-12
    )
    for ours, theirs in zip(
        mixture.pulls("w", loc, scale), gaussian.pulls("w", loc, scale), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)


def example():
    """Mixtures of two and three, a Gaussian tensor with means, and a deterministic weight."""
    rng = np.random.default_rng(1)
    shapes = {"a": (3, 4), "b": (5,), "c": (2,)}
    loc = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    scale = {name: np.exp(rng.normal(-2, 1, shape)) for name, shape in shapes.items()}
    scale["c"][1] = 0.0
    others = GaussianPrior({"b": np.arange(5.0)}, {"b": np.linspace(0.5, 2, 5)})
    prior = ScaleMixturePrior({"a": HALF, "c": ((0.2, 0.01), (0.3, 1.0), (0.5, 0.1))}, others)
    return Posterior(loc, scale), prior


@pytest.mark.parametrize("floor", [0.0, 1e-6])
def test_torch_has_the_same_kl_and_gradients(floor):
    posterior, prior = example()
    prior = with_floor(prior, floor)
    q = Variational.of(posterior)
    kl = total_kl(q, flat_prior(prior, q.layout))
    kl.backward()
    assert kl.item() == pytest.approx(posterior.kl_to(prior), rel=1e-12)
    for name, by_log_scale in q.layout.split(q.log_scale.grad).items():
        random = posterior.scale[name] > 0
        scale = np.where(random, posterior.scale[name], 1.0)
        pulls = prior.pulls(name, posterior.loc[name], scale)
        by_mean = q.layout.split(q.loc.grad)[name].numpy() * scale
        np.testing.assert_allclose(by_log_scale, np.where(random, pulls[0], 0.0), atol=1e-12)
        np.testing.assert_allclose(by_mean, np.where(random, pulls[1], 0.0), atol=1e-12)


def test_the_kl_is_the_mean_of_log_density_ratios():
    posterior, prior = example()
    random = posterior.replace(scale={**posterior.scale, "c": np.array([0.1, 0.2])})
    layout = Layout.of(random)
    draws = random.sample(np.random.default_rng(2), 20_000)
    flat = np.concatenate([draws[n].reshape(20_000, -1) for n, _ in layout.shapes], axis=1)
    loc, scale = layout.join(random.loc), layout.join(random.scale)
    log_q = -0.5 * ((flat - loc) / scale) ** 2 - np.log(scale) - 0.5 * math.log(2 * math.pi)
    log_p = flat_prior(prior, layout).log_density(torch.tensor(flat)).numpy()
    theirs = torch.distributions.MixtureSameFamily(
        torch.distributions.Categorical(torch.tensor([0.5, 0.5])),
        torch.distributions.Normal(torch.zeros(2), torch.tensor([1.0, 0.1])),
    ).log_prob(torch.tensor(draws["a"]))
    np.testing.assert_allclose(log_p[:, :12], theirs.reshape(-1, 12), rtol=1e-5, atol=1e-5)
    ratios = (log_q - log_p).sum(1)
    error = ratios.std() / math.sqrt(len(ratios))
    assert ratios.mean() == pytest.approx(random.kl_to(prior), abs=4 * error)
    assert error < 0.1


def test_a_mixture_is_invariant_and_what_differs_beside_it_is_refused():
    members = (Member("a", 0), Member("b", 0))
    pairs = PermutationSpec((Group("units", 3, members[:1], signed=True),))
    prior = example()[1]
    # one mixture for the whole tensor, centred: neither permutations nor flips move it
    check_prior_invariance(prior, pairs)
    check_prior_invariance(with_floor(prior, 1e-6), pairs)
    with pytest.raises(SymmetryError) as caught:
        check_prior_invariance(prior, PermutationSpec((Group("units", 5, members[1:]),)))
    assert caught.value.code == "prior-not-invariant"
    assert "of b " in caught.value.message
    posterior = example()[0].replace(prior=prior)
    assert prior_violations(pairs, posterior) == ()
    others = PermutationSpec((Group("units", 5, members[1:]),))
    assert prior_violations(others, posterior) == (("b", "units"),)


def test_options_outrank_a_mixture_of_the_file():
    posterior, prior = example()
    stored = posterior.replace(prior=prior)
    assert resolve_prior(stored, ModelConfig()).components == prior.components
    given = ModelConfig(prior_std={"a": 2.0}, prior_mixture={"b": (0.1, 1.0, 0.5)})
    found = resolve_prior(stored, given)
    assert found.components == {"b": ((0.1, 1.0), (0.9, 0.5)), "c": prior.components["c"]}
    assert found.others.scale["a"][0, 0] == 2.0
    # all weight on one component: a Gaussian, in closed form
    assert isinstance(
        resolve_prior(posterior, ModelConfig(prior_mixture=(1, 0.1, 1))), GaussianPrior
    )


def test_the_command_line_spells_a_mixture():
    assert parse_prior_mixture(["0.5,1,0.1"]) == (0.5, 1.0, 0.1)
    assert parse_prior_mixture(["0.5,1,0.1", "fc1=.2,2,.5"]) == {
        "": (0.5, 1.0, 0.1),
        "fc1": (0.2, 2.0, 0.5),
    }
    for text, said in (("0.5,1", "three numbers"), ("0.5,1,x", "not a number")):
        with pytest.raises(UsageError, match=said) as caught:
            parse_prior_mixture([text])
        assert caught.value.code == "bad-option"
    for mixture in ((1.5, 1.0, 0.1), (0.5, 0.0, 0.1), (0.5, 1.0, math.inf), (0.5, 1.0)):
        with pytest.raises(UsageError, match="two positive stds") as caught:
            ModelConfig(prior_mixture=mixture)
        assert "blitz: prior_pi" in caught.value.hint
    with pytest.raises(UsageError, match="both give the prior of fc1"):
        ModelConfig(prior_std={"fc1": 1.0}, prior_mixture={"fc1": (0.5, 1.0, 0.1)})
    with pytest.raises(UsageError, match="--prior-mixture names 'fc9'"):
        resolve_prior(
            example()[0], ModelConfig(prior_std=1.0, prior_mixture={"fc9": (0.5, 1, 0.1)})
        )
