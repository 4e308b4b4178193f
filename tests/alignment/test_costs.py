"""Each cost against its definition by quadrature or by hand, and its matrix forms against the elementwise one."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm

from symdiag.alignment.costs import Weights, available_costs, get_cost, run_means, sorted_distances
from symdiag.alignment.draws import LogDensity
from symdiag.errors import UsageError

COSTS = {
    **available_costs(),
    "density": LogDensity(),
}  # the density assigns draws: not offered by name


def weights(generator, shape):
    return Weights(generator.standard_normal(shape), np.exp(0.5 * generator.standard_normal(shape)))


def scalar(name, m, s, m_r, s_r):
    one = [Weights(np.array([a]), np.array([b])) for a, b in ((m, s), (m_r, s_r))]
    return float(COSTS[name].elementwise(*one)[0])


def test_costs_are_found_by_listing_their_folder():
    assert {"w2", "kl", "hellinger", "mean"} <= set(available_costs())
    assert all(name == cost.name for name, cost in available_costs().items())


def test_unknown_cost_is_a_usage_error_that_lists_them():
    with pytest.raises(UsageError, match="nonesuch") as caught:
        get_cost("nonesuch")
    assert "hellinger" in caught.value.hint


@pytest.mark.parametrize(
    ("m", "s", "m_r", "s_r"), [(0.3, 0.5, -1.0, 1.2), (2.0, 0.1, 2.1, 0.2), (0.0, 1.0, 0.0, 1.0)]
)
def test_kl_and_hellinger_match_quadrature(m, s, m_r, s_r):
    p, q = norm(m, s), norm(m_r, s_r)

    def integral(f):
        return quad(f, -15, 15, points=[m, m_r], limit=400, epsabs=1e-12)[0]

    jeffreys = integral(lambda x: (p.pdf(x) - q.pdf(x)) * (p.logpdf(x) - q.logpdf(x)))
    overlap = integral(lambda x: np.exp(0.5 * (p.logpdf(x) + q.logpdf(x))))
    assert scalar("kl", m, s, m_r, s_r) == pytest.approx(jeffreys, abs=1e-7)
    assert scalar("hellinger", m, s, m_r, s_r) == pytest.approx(-np.log(overlap), abs=1e-7)


def test_w2_matches_the_quantile_coupling():
    # W2² on the line is the integral of squared quantile differences
    p, q = norm(0.3, 0.5), norm(-1.0, 1.2)
    coupling = quad(lambda u: (p.ppf(u) - q.ppf(u)) ** 2, 1e-12, 1 - 1e-12, limit=400)[0]
    assert scalar("w2", 0.3, 0.5, -1.0, 1.2) == pytest.approx(coupling, rel=1e-5)


@pytest.mark.parametrize("name", COSTS)
def test_pairwise_is_the_sum_of_elementwise(name):
    generator = np.random.default_rng(0)
    model, reference = weights(generator, (5, 7)), weights(generator, (4, 7))
    matrix = COSTS[name].pairwise(model, reference)
    assert matrix.shape == (4, 5)
    for i, j in itertools.product(range(4), range(5)):
        row = [Weights(w.loc[k], w.scale[k]) for w, k in ((model, j), (reference, i))]
        assert matrix[i, j] == pytest.approx(COSTS[name].elementwise(*row).sum(), rel=1e-10)


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.parametrize("seed", range(5))
def test_unordered_never_exceeds_the_best_order(name, seed):
    generator = np.random.default_rng(seed)
    model, reference = weights(generator, (3, 5, 2)), weights(generator, (3, 5, 2))
    bound = COSTS[name].unordered(model, reference)
    best = np.full((3, 3), np.inf)
    for order in itertools.permutations(range(5)):
        moved = Weights(*(a[:, list(order)].reshape(3, -1) for a in model))
        best = np.minimum(
            best, COSTS[name].pairwise(moved, Weights(*(a.reshape(3, -1) for a in reference)))
        )
    assert (bound <= best + 1e-9).all()
    assert bound.max() > 0.05 * best.max()  # and says something


@pytest.mark.parametrize("name", COSTS)
def test_a_cost_is_symmetric_exactly_if_it_says_so(name):
    generator = np.random.default_rng(3)
    model, reference = weights(generator, (6, 9)), weights(generator, (6, 9))
    there, back = (COSTS[name].elementwise(*p) for p in ((model, reference), (reference, model)))
    assert (there >= 0).all()
    assert np.allclose(there, back, rtol=1e-12) == COSTS[name].is_symmetric


@pytest.mark.parametrize("name", COSTS)
def test_a_common_permutation_of_the_weights_changes_nothing(name):
    generator = np.random.default_rng(4)
    model, reference = weights(generator, (4, 9)), weights(generator, (4, 9))
    order = generator.permutation(9)
    both = [Weights(w.loc[:, order], w.scale[:, order]) for w in (model, reference)]
    np.testing.assert_allclose(
        COSTS[name].pairwise(*both), COSTS[name].pairwise(model, reference), rtol=1e-10, atol=1e-10
    )


@pytest.mark.parametrize("name", [name for name, cost in COSTS.items() if cost.is_metric])
def test_the_root_of_a_metric_cost_obeys_the_triangle_inequality(name):
    generator = np.random.default_rng(5)
    points = weights(generator, (12, 3))
    distance = np.sqrt(COSTS[name].pairwise(points, points))  # (12, 12)
    detour = (distance[:, :, None] + distance[None, :, :]).min(axis=1)
    assert (distance <= detour + 1e-7).all()


@pytest.mark.parametrize("name", COSTS)
def test_identical_blocks_cost_nothing(name):
    model = weights(np.random.default_rng(1), (6, 9))
    assert (COSTS[name].elementwise(model, model) == 0).all()
    assert np.diag(COSTS[name].pairwise(model, model)) == pytest.approx(np.zeros(6), abs=1e-9)


def test_bounds_on_long_axes_are_averaged_over_runs_and_still_hold():
    generator = np.random.default_rng(2)
    first, second = generator.standard_normal((2, 4, 300, 1))
    exact = ((np.sort(first, axis=1)[None] - np.sort(second, axis=1)[:, None]) ** 2).sum(
        axis=(2, 3)
    )
    bound = sorted_distances(first, second)
    assert run_means(first)[0].shape == (4, 64)
    assert run_means(first)[1].sum() == 300
    assert (bound <= exact).all()
    assert (bound >= 0.3 * exact).all()


def test_deterministic_weights_take_no_part_in_w2_widths():
    model = Weights(np.array([[1.0], [2.0]]), None)
    assert COSTS["w2"].pairwise(model, model).tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert (
        COSTS["w2"].unordered(Weights(model.loc[:, None], None), Weights(model.loc[:, None], None))[
            0, 1
        ]
        == 1.0
    )
    assert COSTS["w2"].elementwise(model, Weights(model.loc + 2, None)).tolist() == [[4.0], [4.0]]
