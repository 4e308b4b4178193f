"""The paper's term beside densities that are worked out one element at a time."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from symdiag.errors import UnsupportedError
from symdiag.objectives.terms.infonce import InfoNCE
from symdiag.objectives.variational import Variational
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import act, random_action
from symdiag.symmetry.spec import Group, Member, PermutationSpec
from symdiag.workers import Share

SHAPES = {"w": (4, 2), "b": (4,), "v": (1, 4), "c": (1,)}
MEMBERS = (Member("w", 0), Member("b", 0), Member("v", 1))


def net(*, signed):
    """A hidden layer of 4 units, of which two nearly agree."""
    rng = np.random.default_rng(3)
    posterior = Posterior(
        {name: rng.standard_normal(shape) for name, shape in SHAPES.items()},
        {name: rng.uniform(0.3, 1.5, shape) for name, shape in SHAPES.items()},
    )
    return posterior, PermutationSpec((Group("h", 4, MEMBERS, signed),))


def log_density(posterior, weights):
    return sum(
        stats.norm.logpdf(weights[name], posterior.loc[name], posterior.scale[name]).sum()
        for name in SHAPES
    )


@pytest.mark.parametrize("signed", [False, True])
def test_the_term_is_the_mean_log_of_the_average_density_ratio(signed):
    posterior, spec = net(signed=signed)
    q = Variational.of(posterior)
    draws = posterior.sample(np.random.default_rng(0), 3)
    flat = torch.from_numpy(np.stack([q.layout.join({n: v[s] for n, v in draws.items()}) for s in range(3)]))  # fmt: skip
    term = InfoNCE(spec, 5)
    value = term.term(q, flat, np.random.default_rng(7)).item()
    generator = np.random.default_rng(7)
    actions = [random_action(spec, generator) for _ in range(4)]
    expected = []
    for s in range(3):
        weights = {name: v[s] for name, v in draws.items()}
        moved = [log_density(posterior, act(spec, action, weights)) for action in actions]
        own = log_density(posterior, weights)
        expected.append(np.logaddexp.reduce([own, *moved]) - own - math.log(5))
    assert value == pytest.approx(np.mean(expected), abs=1e-12)
    assert value >= -math.log(5)
    share = Share(3, 0, 1)
    assert term.term(q, flat, np.random.default_rng(7), share).item() == pytest.approx(value)


def test_the_elements_are_all_alike_where_the_posterior_is_symmetric():
    """q(gω) = q(ω) for every g: the term is log 1."""
    posterior = Posterior(
        {name: np.zeros(shape) for name, shape in SHAPES.items()},
        {name: np.ones(shape) for name, shape in SHAPES.items()},
    )
    q = Variational.of(posterior)
    draws = torch.randn(2, 17, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    term = InfoNCE(net(signed=True)[1])
    assert term.num_elements == 20
    assert term.term(q, draws, np.random.default_rng(0)).item() == pytest.approx(0.0, abs=1e-12)


def test_deterministic_weights_are_refused():
    posterior, spec = net(signed=False)
    posterior.scale["c"][:] = 0.0
    q = Variational.of(posterior)
    with pytest.raises(UnsupportedError, match="every weight to be random") as caught:
        InfoNCE(spec).term(q, torch.zeros(1, 17, dtype=torch.float64), np.random.default_rng(0))
    assert caught.value.code == "deterministic-weights"


def test_a_posterior_comes_back_from_flat_tensors_as_it_went():
    posterior, _ = net(signed=False)
    back = Variational.of(posterior).posterior(posterior)
    for name in SHAPES:
        np.testing.assert_array_equal(back.loc[name], posterior.loc[name])
        np.testing.assert_allclose(back.scale[name], posterior.scale[name], rtol=1e-15)
