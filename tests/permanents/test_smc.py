import math

import numpy as np
import pytest
from permanent_cases import gaussian

from symdiag.permanents import (
    assignment_log_prob,
    sample_assignments,
    smc,
    threads,
    typical_log_permanents,
)
from symdiag.permanents.exact import exact_log_permanent, exact_marginals


def _tolerance(samples):
    return 4.5 * samples.std() / math.sqrt(len(samples))


@pytest.mark.parametrize(("d", "spread"), [(5, 0.3), (5, 1.0), (50, 0.3), (5, 2.0)])
def test_estimate_of_the_permanent_is_unbiased(d, spread):
    rng = np.random.default_rng(0)
    matrix = gaussian(10, d, spread, rng)
    exact = exact_log_permanent(matrix[None])[0]
    proposal = smc.prepare(matrix)
    ratio = np.exp([smc.run(proposal, 8, rng).log_estimate - exact for _ in range(1500)])
    assert abs(ratio.mean() - 1) <= _tolerance(ratio)
    assert ratio.std() <= 1.0


def test_quick_values_of_a_typical_identity_are_unbiased_permanents():
    rng = np.random.default_rng(3)
    matrix = gaussian(10, 5, 1.0, rng)
    exact = exact_log_permanent(matrix[None])[0]
    ratio = np.exp(typical_log_permanents(np.repeat(matrix[None], 800, axis=0), rng, 8) - exact)
    assert abs(ratio.mean() - 1) <= _tolerance(ratio)


def test_quick_values_where_the_identity_is_far_from_typical():
    """Its weight underflows beside the others': scaled by the best assignment instead."""
    matrix = np.full((4, 4), -1e4)
    matrix[range(4), range(4)] = -1500.0
    matrix[range(4), [1, 0, 3, 2]] = -700.0
    found = typical_log_permanents(matrix[None], np.random.default_rng(0))
    assert found == pytest.approx(exact_log_permanent(matrix[None]), abs=1e-9)


def test_sandwich_holds_in_expectation_and_closes():
    rng = np.random.default_rng(1)
    below, above, closer = [], [], []
    for _ in range(400):
        matrix = gaussian(16, 10, 0.6, rng)
        exact = exact_log_permanent(matrix[None])[0]
        proposal = smc.prepare(matrix)
        below.append(smc.run(proposal, 2, rng).log_estimate - exact)
        above.append(smc.conditional_run(proposal, 2, rng, np.arange(16)).log_estimate - exact)
        closer.append(smc.conditional_run(proposal, 64, rng, np.arange(16)).log_estimate - exact)
    below, above, closer = map(np.array, (below, above, closer))
    assert below.mean() <= 0 <= above.mean()
    assert below.mean() < -3 * below.std() / math.sqrt(400)  # two particles leave a visible gap ...
    assert above.mean() > 3 * above.std() / math.sqrt(400)
    assert abs(closer.mean()) <= 0.02 + _tolerance(closer)  # ... that more particles close


def test_conditional_run_is_unbiased_for_the_inverse():
    # under conditional SMC with a posterior draw retained, E[1 / Z-hat] = 1 / Z exactly
    rng = np.random.default_rng(2)
    matrix = gaussian(6, 5, 0.5, rng)
    exact = exact_log_permanent(matrix[None])[0]
    from itertools import permutations

    orders = np.array(list(permutations(range(6))))
    weights = np.exp([matrix[np.arange(6), order].sum() - exact for order in orders])
    assert abs(weights.sum() - 1) < 1e-9
    proposal = smc.prepare(matrix)
    draws = orders[rng.choice(len(orders), size=4000, p=weights / weights.sum())]
    inverse = np.exp(
        [exact - smc.conditional_run(proposal, 4, rng, draw).log_estimate for draw in draws]
    )
    assert abs(inverse.mean() - 1) <= _tolerance(inverse)


def test_particles_after_resampling_follow_the_permanents_law():
    rng = np.random.default_rng(3)
    matrix = gaussian(6, 5, 0.5, rng)
    _, expected = exact_marginals(matrix[None])
    proposal = smc.prepare(matrix)
    mass, total = np.zeros((6, 6)), 0.0
    for _ in range(400):
        result = smc.run(proposal, 32, rng)
        weight = np.exp(result.log_weight - result.log_weight.max())
        weight *= np.exp(result.log_estimate) / weight.sum()
        for permutation, w in zip(proposal.to_permutations(lineages(result)), weight, strict=True):
            assert sorted(permutation) == list(range(6))
            mass[np.arange(6), permutation] += w
        total += weight.sum()
    np.testing.assert_allclose(mass / total, expected[0], atol=0.03)


def lineages(result):
    """Choices (n, K) of every final particle, traced back through the resampling steps."""
    traced, index = np.empty(result.choices.shape, dtype=np.int64), np.arange(32)
    for t in range(len(traced) - 1, -1, -1):
        if result.ancestors[t, 0] >= 0:
            index = result.ancestors[t, index]
        traced[t] = result.choices[t, index]
    return traced


def test_proposal_probabilities_sum_to_one_and_match_sampling():
    from itertools import permutations

    rng = np.random.default_rng(6)
    matrix = gaussian(5, 5, 0.5, rng)
    orders = np.array(list(permutations(range(5))))
    log_prob = assignment_log_prob(matrix, orders)
    assert abs(np.exp(log_prob).sum() - 1) <= 1e-12
    drawn, drawn_log_prob = sample_assignments(matrix, 3000, rng)
    np.testing.assert_allclose(assignment_log_prob(matrix, drawn), drawn_log_prob, atol=1e-12)
    index = {tuple(order): k for k, order in enumerate(orders)}
    counts = np.bincount([index[tuple(row)] for row in drawn], minlength=len(orders))
    expected = 3000 * np.exp(log_prob)
    assert float(((counts - expected) ** 2 / expected).sum()) <= 119 + 5 * math.sqrt(2 * 119)


def test_proposal_with_holes_never_breaks():
    rng = np.random.default_rng(7)
    matrix = np.where(rng.random((8, 8)) < 0.5, -np.inf, 0.0)
    np.fill_diagonal(matrix, 0.0)
    exact = exact_log_permanent(matrix[None])[0]
    proposal = smc.prepare(matrix)
    ratio = np.exp([smc.run(proposal, 16, rng).log_estimate - exact for _ in range(300)])
    assert abs(ratio.mean() - 1) <= _tolerance(ratio)
    permutations, log_prob = smc.draw(proposal, 50, rng)
    weight = matrix[np.arange(8), permutations].sum(axis=1)
    assert (np.isfinite(weight) == np.isfinite(log_prob)).all()
    blocked = np.roll(np.arange(8), 1)
    if np.isneginf(matrix[np.arange(8), blocked].sum()):
        assert smc.log_prob(proposal, blocked[None])[0] == -np.inf


def test_size_biased_shift_reproduces_the_chance_of_survival():
    # Bayes backwards: P(shift | chosen) P(chosen) summed over a grid is the uniform law times
    # N(shift) / K
    rng = np.random.default_rng(8)
    for expected in (0.3, 1.0, 2.7):
        shifts = np.array([smc.size_biased_shift(expected, *rng.random(2)) for _ in range(20000)])
        number = np.ceil(expected - shifts)
        assert (number >= 1).all()
        # E[1/N] under the size-biased law is P(N >= 1) / E N
        truth = min(expected, 1.0) / expected
        assert (
            abs((1 / number).mean() - truth) <= 4.5 * (1 / number).std() / math.sqrt(20000) + 1e-12
        )


def test_equivariant_under_column_permutations():
    # what lets the identity be traded for any posterior draw
    rng = np.random.default_rng(9)
    matrix = gaussian(9, 5, 0.5, rng)
    columns = rng.permutation(9)
    orders = np.array([rng.permutation(9) for _ in range(20)])
    inverse = np.argsort(columns)
    np.testing.assert_allclose(
        assignment_log_prob(matrix, orders),
        assignment_log_prob(matrix[:, columns], inverse[orders]),
        atol=1e-9,
    )


def test_a_generator_that_was_given_a_key_gives_the_same_again():
    """It cannot spawn: its children are seeded by its draws."""
    matrix = np.random.default_rng(0).standard_normal((2, 30, 30))

    def values():
        generator = np.random.Generator(np.random.Philox(key=5))
        return [part.random(3).tolist() for part in threads._children(generator, len(matrix))]

    assert values() == values()
    first, second = values()
    assert first != second
