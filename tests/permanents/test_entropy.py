"""The entropy of the law over permutations, against enumeration and closed forms."""

import itertools
import math

import numpy as np
import pytest
from permanent_cases import REGIMES, gaussian, regime
from scipy.special import logsumexp, xlogy

from symdiag.permanents import Effort, log_permanent


def enumerated(matrix, inner):
    """Entropy of P(pi) proportional to prod A, plus the mean inner entropy of the entries used."""
    orders = np.array(list(itertools.permutations(range(len(matrix)))))
    rows = np.arange(len(matrix))
    logs = matrix[rows, orders].sum(1)
    if np.isneginf(logs).all():
        return math.nan
    chance = np.exp(logs - logsumexp(logs))
    return float(-xlogy(chance, chance).sum() + chance @ inner[rows, orders].sum(1))


@pytest.mark.parametrize("name", REGIMES)
def test_entropy_is_that_of_the_enumerated_law(name):
    rng = np.random.default_rng(0)
    for n in (2, 5, 6):
        matrix, inner = regime(name, n, rng), rng.uniform(0.0, 0.7, size=(n, n))
        found = log_permanent(matrix, generator=rng, inner_entropy=inner)
        np.testing.assert_allclose(found.rao_blackwellised[0], enumerated(matrix, inner), atol=1e-9)


@pytest.mark.parametrize("spread", [0.7, 1.5, 4.0])
def test_blocks_add_up(spread):
    """Three blocks far apart: wider than what is evaluated whole, each enumerable."""
    rng = np.random.default_rng(1)
    blocks = [gaussian(5, 8, spread, rng) for _ in range(3)]
    matrix = np.full((15, 15), -300.0)
    inner = rng.uniform(0.0, 0.7, size=(15, 15))
    expected = 0.0
    for k, block in enumerate(blocks):
        part = slice(5 * k, 5 * k + 5)
        matrix[part, part] = block
        expected += enumerated(block, inner[part, part])
    order = np.ix_(*[rng.permutation(15)] * 2)
    found = log_permanent(
        matrix[order], generator=rng, effort=Effort(max_exact=6), inner_entropy=inner[order]
    )
    assert found.rao_blackwellised[0] == pytest.approx(expected, abs=1e-9)


def test_identical_rows_have_the_entropy_of_all_permutations():
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(1, 40)) + rng.normal(size=(40, 1))
    inner = np.full((40, 40), math.log(2))
    plain = log_permanent(matrix, generator=rng, inner_entropy=np.zeros((1, 1)))
    assert plain.rao_blackwellised[0] == pytest.approx(math.lgamma(41), abs=1e-9)
    signed = log_permanent(matrix, generator=rng, inner_entropy=inner)
    assert signed.rao_blackwellised[0] == pytest.approx(
        math.lgamma(41) + 40 * math.log(2), abs=1e-9
    )


@pytest.mark.parametrize("max_exact", [2, 4])
def test_sampled_and_split_matrices_average_without_bias(max_exact):
    """Swap chains and block moves started at the identity: same mean as minus its log probability,
    less spread.
    """
    rng = np.random.default_rng(3)
    matrices = np.array([gaussian(7, 10, 0.6, rng) for _ in range(250)])
    effort = Effort(max_exact=max_exact, particles=16, runs=2)
    found = log_permanent(matrices, generator=rng, effort=effort, inner_entropy=np.zeros((1, 1, 1)))
    entropies = log_permanent(
        matrices, generator=rng, inner_entropy=np.zeros((1, 1, 1))
    ).rao_blackwellised
    exact = log_permanent(matrices, generator=rng).value
    gap = found.rao_blackwellised - found.value + exact - entropies
    assert abs(gap.mean()) < 3 * gap.std() / math.sqrt(250)
    assert 3 * gap.std() / math.sqrt(250) < 0.1
    assert found.rao_blackwellised.std() < 0.75 * exact.std()


def test_averages_only_on_request():
    rng = np.random.default_rng(3)
    assert math.isnan(log_permanent(gaussian(6, 20, 0.3, rng), generator=rng).rao_blackwellised[0])


def test_nearly_equal_runs_are_kept_short():
    """Where small runs agree more particles are a waste; the answer stays within the stated sd of a
    long run.
    """
    rng = np.random.default_rng(4)
    matrix = gaussian(300, 50, 0.05, rng)
    few = [
        log_permanent(matrix, generator=np.random.default_rng(k), bounds=False).value[0]
        for k in range(6)
    ]
    many = log_permanent(
        matrix, generator=rng, effort=Effort(particles=2000, runs=3), bounds=False
    ).value[0]
    assert np.std(few) < 0.02
    assert abs(np.mean(few) - many) < 0.03
