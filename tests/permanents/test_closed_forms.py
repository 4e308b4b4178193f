import math

import numpy as np
import pytest
from permanent_cases import REGIMES, gaussian, regime

from symdiag.permanents import Effort, block_structure, log_permanent
from symdiag.permanents.blocks import THRESHOLDS, pair_weights, small_blocks, split
from symdiag.permanents.bounds.rank_one import rank_one_interval
from symdiag.permanents.doubly_stochastic import sinkhorn
from symdiag.permanents.estimators.repeated_rows import count_log_permanent, row_types
from symdiag.permanents.exact import exact_log_permanent
from symdiag.permanents.scaling import centre, dual_scale


@pytest.mark.parametrize("counts", [[6], [3, 5], [2, 3, 4], [1, 1, 8], [5, 5]])
def test_count_recursion_matches_exact(counts):
    rng = np.random.default_rng(0)
    n = sum(counts)
    types = rng.normal(size=(len(counts), n))
    types[0, 0] = -np.inf if len(counts) > 1 else 0.0
    matrix = np.repeat(types, counts, axis=0)
    exact = exact_log_permanent(matrix[None])[0]
    assert abs(count_log_permanent(types, np.array(counts)) - exact) <= 1e-11


def test_row_types_sees_through_row_scales_and_order():
    rng = np.random.default_rng(1)
    matrix = rng.normal(size=(2, 12))[rng.permutation([0] * 7 + [1] * 5)] + rng.normal(size=(12, 1))
    types, counts, scale, _ = row_types(matrix)
    assert sorted(counts) == [5, 7]
    assert (
        abs(count_log_permanent(types, counts) + scale - exact_log_permanent(matrix[None])[0])
        <= 1e-11
    )
    assert row_types(rng.normal(size=(12, 12))) is None


def test_rows_merged_within_tolerance_widen_the_certified_interval():
    rng = np.random.default_rng(4)
    for _ in range(20):
        matrix = rng.normal(size=(2, 6))[[0, 0, 0, 0, 0, 1]]
        matrix[1:5] -= 9e-13 * rng.random((4, 6))  # equal to tolerance only
        truth = exact_log_permanent(matrix[None])[0]
        result = log_permanent(matrix, generator=rng, effort=Effort(max_exact=2))
        assert result.method == ("identical",)
        assert result.certified_lower[0] - 1e-14 <= truth <= result.certified_upper[0] + 1e-14


@pytest.mark.parametrize("transpose", [False, True])
def test_large_matrices_of_identical_rows_or_columns_are_exact(transpose):
    rng = np.random.default_rng(2)
    n = 300
    offsets = rng.normal(size=(n, 1)) + rng.normal(size=(1, n))
    result = log_permanent(offsets, generator=rng)
    assert result.exact[0]
    assert result.method == ("identical",)
    assert (
        abs(
            result.value[0]
            - math.lgamma(n + 1)
            - offsets[0].sum()
            - (offsets[:, 0] - offsets[0, 0]).sum()
        )
        <= 1e-8
    )
    # two types: a binomial convolution in closed form for rows that differ in one column only
    matrix = np.zeros((n, n))
    matrix[: n // 2, 0] = 1.0
    expected = math.lgamma(n) + math.log(n / 2 * math.e + n / 2)
    result = log_permanent(matrix.T if transpose else matrix, generator=rng)
    assert result.exact[0]
    assert abs(result.value[0] - expected) <= 1e-8


def test_near_rank_one_interval_closes_as_the_misfit_vanishes():
    rng = np.random.default_rng(3)
    noise = rng.normal(size=(10, 10))
    for size in (1e-8, 1e-3):
        low, high = rank_one_interval(size * noise)
        exact = exact_log_permanent(size * noise[None])[0]
        assert low <= exact <= high
        assert high - low <= 60 * size + 1e-11


def test_blocks_multiply_and_interleave():
    rng = np.random.default_rng(4)
    order = rng.permutation(12)
    matrix = np.full((12, 12), -200.0)
    expected = 0.0
    for part in (order[:3], order[3:7], order[7:]):
        matrix[np.ix_(part, part)] = rng.normal(size=(len(part), len(part)))
        expected += exact_log_permanent(matrix[np.ix_(part, part)][None])[0]
    result = log_permanent(matrix, generator=rng, effort=Effort(max_exact=5))
    assert result.method == ("blocks",)
    assert result.exact[0]
    assert abs(result.value[0] - expected) <= 1e-10
    assert sorted(len(b) for b in block_structure(dual_scale(matrix).log_scaled).blocks) == [
        3,
        4,
        5,
    ]


def test_half_pruned_layer_splits_off_its_identical_half():
    rng = np.random.default_rng(5)
    n = 128
    matrix = gaussian(n, 400, 1.0, rng, pruned=n // 2)
    result = log_permanent(matrix, generator=rng)
    assert result.exact[0]
    assert abs(result.value[0] - math.lgamma(n // 2 + 1)) <= 1e-8


def test_small_blocks_are_small_and_missing_when_impossible():
    rng = np.random.default_rng(6)
    apart = dual_scale(gaussian(60, 50, 1.0, rng)).log_scaled
    assert small_blocks(apart, 5).largest <= 5
    assert small_blocks(np.zeros((30, 30)), 5) is None


@pytest.mark.parametrize("name", REGIMES)
def test_dual_scaling_is_feasible_and_loses_nothing(name):
    rng = np.random.default_rng(7)
    for n in (3, 20, 80):
        matrix = regime(name, n, rng)
        scaled = dual_scale(matrix)
        if not math.isfinite(scaled.offset):
            continue
        assert (np.diagonal(scaled.log_scaled) == 0).all()
        assert scaled.log_scaled.max() <= 1e-9
        for _ in range(5):  # the log weight of any permutation is unchanged
            order = rng.permutation(n)
            before = matrix[np.arange(n), scaled.columns[order]].sum()
            after = scaled.log_scaled[np.arange(n), order].sum() + scaled.offset
            assert before == after or abs(before - after) <= 1e-12 * (1 + abs(before))


def test_centre_keeps_permutation_weights_and_declines_wide_ranges():
    rng = np.random.default_rng(8)
    matrix = rng.normal(size=(40, 40)) + 100 * rng.normal(size=(40, 1))
    scaled = centre(matrix)
    order = rng.permutation(40)
    before = matrix[np.arange(40), order].sum()
    assert abs(scaled.log_scaled[np.arange(40), order].sum() + scaled.offset - before) <= 1e-9
    assert centre(10 * matrix) is None
    matrix[0, 0] = -np.inf
    assert centre(matrix) is None


def test_sinkhorn_balances_and_accounts_for_the_factor():
    rng = np.random.default_rng(9)
    matrix = rng.random((7, 7)) + 0.05
    balanced = sinkhorn(matrix, tolerance=1e-12, sweeps=500)
    np.testing.assert_allclose(balanced.weights.sum(axis=1), 1, atol=1e-11)
    np.testing.assert_allclose(balanced.weights.sum(axis=0), 1, atol=1e-11)
    both = exact_log_permanent(np.log(np.array([matrix, balanced.weights])))
    assert abs(both[0] - both[1] - balanced.log_factor) <= 1e-11


def test_the_middle_of_closed_bounds_is_within_them_and_near_the_truth():
    """Forty rows in loose pairs: the bounds of the whole matrix leave 1e-6 to 2e-3 nats, and no more to estimate."""
    seen = 0
    for strength in (-6.0, -5.5, -5.0, -4.5):
        matrix = np.full((40, 40), strength)
        np.fill_diagonal(matrix, 0.0)
        matrix -= 1.5 * np.abs(
            np.arange(40)[:, None] - np.arange(40)
        )  # neighbours exchange, others hardly
        np.fill_diagonal(matrix, 0.0)
        found = log_permanent(matrix, generator=np.random.default_rng(0))
        width = found.certified_upper[0] - found.certified_lower[0]
        seen += found.method == ("blocks",) and 1e-10 < width <= 2e-3
        middle = (found.certified_lower[0] + found.certified_upper[0]) / 2
        assert found.value[0] == pytest.approx(middle, abs=1e-13)
        # entries reach one neighbour: the permanent is a continuant, up to longer jumps
        x = math.exp(2 * (strength - 1.5))
        before, now = 1.0, 1.0
        for _ in range(39):
            before, now = now, now + x * before
        assert found.certified_upper[0] >= math.log(now)
        assert found.certified_lower[0] <= 1.01 * math.log(now)
    assert seen >= 2


def test_the_finest_cut_within_tolerance_is_found():
    """Rows as far apart as the weakest link between them: the cut takes every link that may go."""
    links = np.array([-1.0, -4.0, -7.0, -11.0, -16.0, -22.0, -30.0])
    matrix = np.zeros((8, 8))
    for i in range(8):
        for j in range(i):
            matrix[i, j] = matrix[j, i] = links[j:i].min()
    tolerances = 10.0 ** -np.array([0.0, 2.0, 4.0, 6.0, 9.0, 14.0, 40.0])
    cuts = [block_structure(matrix, tolerance=t) for t in tolerances]
    counts = [len(cut.blocks) for cut in cuts]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1
    assert len(set(counts)) >= 5
    whole = exact_log_permanent(matrix[None])[0]
    for cut, tolerance in zip(cuts, tolerances, strict=True):
        parts = sum(exact_log_permanent(matrix[np.ix_(b, b)][None])[0] for b in cut.blocks)
        assert -1e-12 <= whole - parts <= cut.loss + 1e-12
        assert cut.loss <= tolerance
        # no coarser than need be: one link more would lose more than the tolerance
        finer = [split(matrix, pair_weights(matrix), t) for t in THRESHOLDS]
        assert max(len(s.blocks) for s in finer if s.loss <= tolerance) == len(cut.blocks)
