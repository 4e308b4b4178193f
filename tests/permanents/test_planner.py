import math
import subprocess
import sys

import numpy as np
import pytest
from permanent_cases import gaussian

from symdiag.errors import UsageError
from symdiag.permanents import Effort, log_permanent
from symdiag.permanents.exact import exact_log_permanent


def test_interval_kinds_cover_at_their_stated_rates():
    rng = np.random.default_rng(0)
    effort = Effort(max_exact=4, particles=16, runs=4, delta=0.1)
    matrices = np.array([gaussian(10, 10, rng.uniform(0.1, 0.9), rng) for _ in range(200)])
    exact = exact_log_permanent(matrices)
    result = log_permanent(matrices, generator=rng, effort=effort)
    assert (result.certified_lower <= exact + 1e-9).all()
    assert (result.certified_upper >= exact - 1e-9).all()
    assert (result.probable_lower <= exact + 1e-9).mean() >= 0.9
    below, above = result.expected_lower - exact, result.expected_upper - exact
    assert below.mean() <= 3 * below.std() / math.sqrt(200)
    assert above.mean() >= -3 * above.std() / math.sqrt(200)
    assert (result.expected_upper - result.expected_lower).mean() <= 0.2
    assert np.abs(result.value - exact).max() <= 1.0


def test_the_conditional_run_lifts_the_upper_end_above_the_truth_on_average():
    """Two particles leave the plain runs visibly low and the conditional one visibly high, by about as much."""
    rng = np.random.default_rng(20)
    effort = Effort(max_exact=2, particles=2, runs=1, certify=False)
    matrices = np.array([gaussian(16, 10, 0.6, rng) for _ in range(400)])
    exact = exact_log_permanent(matrices)
    found = log_permanent(matrices, generator=rng, effort=effort)
    below, above = exact - found.expected_lower, found.expected_upper - exact
    for gap in (below, above):
        assert gap.mean() > 3 * gap.std() / math.sqrt(400)
        assert gap.mean() < 2.0


def test_the_failure_probability_is_shared_by_the_sampled_blocks():
    """Two blocks of 6, at most 4 exact, one particle each: both together fail no more often than delta."""
    rng = np.random.default_rng(21)
    effort = Effort(max_exact=4, particles=2, runs=1, delta=0.3, certify=False)
    matrices, truth = [], []
    for _ in range(300):
        matrix = np.full((12, 12), -80.0)
        for k in (0, 6):
            matrix[k : k + 6, k : k + 6] = gaussian(6, 10, 0.5, rng)
        matrices.append(matrix)
        truth.append(sum(exact_log_permanent(np.array([matrix[:6, :6], matrix[6:, 6:]]))))
    seeds = {"generator": np.random.default_rng(22), "effort": effort}
    two = log_permanent(np.array(matrices), **seeds, bounds=False)
    assert (two.probable_lower > np.array(truth) + 1e-9).mean() <= 0.3
    # what delta costs: log(2 / delta) for each block of one run
    whole = np.array([reason.startswith("2 blocks") for reason in two.reason])
    assert whole.sum() > 200
    loss = (two.expected_lower - two.probable_lower)[whole]
    paid = 2 * math.log(2 / 0.3)
    assert loss.max() <= paid + 1e-9  # less where the product of small blocks does better
    assert np.isclose(loss, paid, rtol=0.0, atol=1e-9).mean() > 0.8


def test_blocks_of_just_the_exact_size_do_not_share_the_failure_probability():
    """One block of 4, which is exact, beside one of 6: delta is the second's alone."""
    rng = np.random.default_rng(23)
    matrix = np.full((10, 10), -80.0)
    matrix[:4, :4], matrix[4:, 4:] = rng.normal(size=(4, 4)), gaussian(6, 3, 0.3, rng)
    effort = Effort(max_exact=4, particles=2, runs=1, delta=0.3, certify=False)
    found = log_permanent(matrix, generator=rng, effort=effort, bounds=False)
    assert found.expected_lower[0] - found.probable_lower[0] == pytest.approx(math.log(1 / 0.3))


def test_small_matrices_are_exact_whatever_the_options():
    rng = np.random.default_rng(1)
    matrices = np.array([gaussian(15, 20, s, rng) for s in (0.1, 0.5, 1.0, 2.0)])
    exact = exact_log_permanent(matrices)
    for bounds in (True, False):
        result = log_permanent(matrices, generator=rng, bounds=bounds)
        assert result.exact.all()
        np.testing.assert_allclose(result.value, exact, atol=1e-10)
        np.testing.assert_array_equal(result.expected_upper, result.value)
    assert all(result.reason)


def test_degenerate_shapes_and_zero_permanents():
    rng = np.random.default_rng(2)
    assert log_permanent(np.zeros((0, 5, 5)), generator=rng).value.shape == (0,)
    assert log_permanent(np.array([[3.5]]), generator=rng).value[0] == 3.5
    zero = np.full((30, 30), -np.inf)
    zero[:, :10] = 0.0
    result = log_permanent(zero, generator=rng)
    assert result.value[0] == result.certified_upper[0] == -np.inf
    assert result.exact[0]


@pytest.mark.parametrize(
    "bad", [np.zeros((3, 4)), np.zeros(3), np.full((1, 2, 2), np.nan), np.full((1, 2, 2), np.inf)]
)
def test_bad_input_is_refused(bad):
    with pytest.raises(UsageError):
        log_permanent(bad, generator=np.random.default_rng(0))


def test_effort_above_the_exact_limit_is_refused():
    with pytest.raises(UsageError, match="24"):
        log_permanent(
            np.zeros((2, 2)), generator=np.random.default_rng(0), effort=Effort(max_exact=25)
        )


def test_same_seed_same_answer():
    matrix = gaussian(60, 20, 0.4, np.random.default_rng(3))
    one, other = (log_permanent(matrix, generator=np.random.default_rng(4)) for _ in range(2))
    assert one.value[0] == other.value[0]
    assert one.expected_upper[0] == other.expected_upper[0]


def test_identity_that_leaves_its_block_still_gets_an_upper_end():
    # two tight pairs; the identity takes a cross edge that the split drops
    matrix = np.full((40, 40), -60.0)
    np.fill_diagonal(matrix, 0.0)
    swapped = matrix[:, np.r_[1, 0, 2:40]]
    result = log_permanent(swapped, generator=np.random.default_rng(5))
    assert result.expected_upper[0] >= result.value[0] >= result.expected_lower[0]
    assert abs(result.value[0] - exact_log_permanent(matrix[None, :5, :5])[0]) <= 1e-9


def test_without_bounds_only_estimates():
    matrix = gaussian(64, 20, 0.4, np.random.default_rng(6))
    quick = log_permanent(matrix, generator=np.random.default_rng(7), bounds=False)
    full = log_permanent(matrix, generator=np.random.default_rng(7))
    assert quick.certified_upper[0] == np.inf
    assert abs(quick.value[0] - full.value[0]) <= 0.5


def test_import_compiles_nothing_and_stays_clear_of_torch():
    code = (
        "import sys, symdiag.permanents.swap_loops as l\n"
        "assert not l.swap_loop.signatures\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
