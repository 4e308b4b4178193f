import math
from fractions import Fraction

import numpy as np
import pytest
from permanent_cases import REGIMES, brute_force, brute_marginals, regime, ryser

from symdiag.errors import UsageError
from symdiag.permanents import exact
from symdiag.permanents.exact import exact_log_permanent, exact_marginals, small_log_permanents
from symdiag.permanents.scaling import _two_sum


@pytest.mark.parametrize("name", REGIMES)
def test_value_and_marginals_match_every_permutation_in_40_digits(name):
    rng = np.random.default_rng(REGIMES.index(name))
    for n in (1, 2, 5, 6):
        matrix = regime(name, n, rng)
        value, marginals = exact_marginals(matrix[None])
        expected = brute_force(matrix)
        if math.isinf(expected):
            assert value[0] == -np.inf
            assert (marginals == 0).all()
            continue
        assert abs(value[0] - expected) <= 1e-10
        assert abs(exact_log_permanent(matrix[None])[0] - expected) <= 1e-10
        np.testing.assert_allclose(marginals[0], brute_marginals(matrix), atol=1e-10)


@pytest.mark.parametrize("n", [12, 14])
def test_value_matches_rational_arithmetic(n):
    matrix = np.random.default_rng(n).integers(0, 50, size=(n, n))
    exact = ryser(matrix)
    with np.errstate(divide="ignore"):
        value = exact_log_permanent(np.log(matrix.astype(float))[None])[0]
    assert abs(value - (math.log(exact.numerator) - math.log(exact.denominator))) <= 1e-10


def test_twenty_rows_with_entries_to_minus_1e5_agree_with_block_structure():
    # two 10-blocks that hardly see each other: the answer is the sum of two small, separately
    # checked permanents
    rng = np.random.default_rng(3)
    blocks = [rng.uniform(-3, 0, size=(10, 10)) for _ in range(2)]
    matrix = np.full((20, 20), -1e5) + rng.normal(size=(20, 20))
    matrix[:10, :10], matrix[10:, 10:] = blocks
    shift = rng.uniform(-5e3, 5e3, size=20)
    columns = rng.permutation(20)
    scrambled = (matrix + shift[:, None])[:, columns]
    value, marginals = exact_marginals(scrambled[None])
    parts, p = exact_marginals(np.array(blocks))
    assert abs(value[0] - (parts.sum() + math.fsum(shift))) <= 1e-10
    expected = np.zeros((20, 20))
    expected[:10, :10], expected[10:, 10:] = p
    np.testing.assert_allclose(marginals[0], expected[:, columns], atol=1e-10)


def test_all_ones_and_derangements():
    ones = np.zeros((18, 18))
    assert abs(exact_log_permanent(ones[None])[0] - math.lgamma(19)) <= 1e-12
    np.fill_diagonal(ones, -np.inf)
    derangements = round(math.factorial(18) / math.e)
    assert abs(exact_log_permanent(ones[None])[0] - math.log(derangements)) <= 1e-12


def test_too_large_is_refused():
    with pytest.raises(UsageError, match="24"):
        exact_log_permanent(np.zeros((1, 25, 25)))


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_many_tiny_permanents_at_once_match_every_permutation(n):
    rng = np.random.default_rng(30 + n)
    matrices = rng.normal(size=(6, n, n)) * 10.0 ** rng.uniform(-1, 3, size=(6, 1, 1))
    matrices[rng.random(matrices.shape) < 0.15] = -np.inf
    expected = [brute_force(matrix) for matrix in matrices]
    np.testing.assert_allclose(small_log_permanents(matrices), expected, rtol=1e-12, atol=1e-11)


def test_the_largest_size_is_still_done(monkeypatch):
    monkeypatch.setattr(exact, "LARGEST", 3)
    assert exact.scaled_permanent(np.ones((3, 3)))[0] == 6.0
    with pytest.raises(UsageError, match="up to 3 x 3, not 4 x 4"):
        exact.scaled_permanent(np.ones((4, 4)))


def test_a_sum_and_its_rounding_error_are_exact_together():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 50)) * 10.0 ** rng.integers(-12, 12, (2, 50))
    total, error = _two_sum(a, b)
    for left, right, s, e in zip(a, b, total, error, strict=True):
        assert Fraction(left) + Fraction(right) == Fraction(s) + Fraction(e)
        assert s == left + right
