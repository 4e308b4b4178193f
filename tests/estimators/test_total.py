"""From draws to estimates: closed forms of the intervals, and contradictions that raise."""

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from symdiag.errors import ContradictionError
from symdiag.estimators import values as module
from symdiag.estimators.total import total_estimate, upper_from_part
from symdiag.estimators.values import (
    DrawEnds,
    DrawValues,
    add,
    combined,
    complement,
    concatenate,
    in_order,
    mean_and_error,
    slack,
    summarise,
)

RNG = np.random.default_rng(0)
VALUES = RNG.gamma(4.0, 1.0, size=40)


def exact(values):
    return DrawValues.of_exact(np.asarray(values, dtype=float), "exact-dp")


def above(values, gap, method="chain"):
    """Values with an upper end in expectation ``gap`` above."""
    ends = DrawEnds.of(values, values + gap)
    return DrawValues.of_brackets(values, ends, method)


def test_an_exact_mean_has_two_standard_errors_either_way():
    found = summarise(exact(VALUES), 50.0)
    error = stats.sem(VALUES)
    assert found.value == pytest.approx(VALUES.mean())
    assert found.std_error == pytest.approx(error)
    half = stats.t.ppf(0.975, 39) * error
    assert found.upper - found.value == pytest.approx(half)
    assert found.value - found.lower == pytest.approx(half)
    assert (found.interval, found.samples, found.method) == ("exact", 40, "exact-dp")


@pytest.mark.parametrize("count", [2, 3, 10, 60, 1000])
def test_slack_is_students_t_and_never_below_two(count):
    assert slack(count) == pytest.approx(max(2.0, stats.t.ppf(0.975, count - 1)))


def test_one_draw_says_nothing_of_its_spread():
    assert slack(1) == math.inf
    assert mean_and_error(np.array([3.0])) == (3.0, None)
    assert combined(None, 1, 0.1, 5) == math.inf
    assert combined(0.3, 1000, 0.4, 1000) == pytest.approx(1.0)


def test_certified_ends_on_some_of_the_draws_move_the_mean_over_all():
    """Ends 0.3 below and 0.5 above on the first ten: the gap is constant, so only the mean has error."""
    sampled = above(VALUES, 1.0)
    ends = DrawEnds.of(VALUES - 0.3, VALUES + 0.5).where(np.arange(40) < 10)
    found = summarise(dataclasses.replace(sampled, certified=ends), 50.0)
    by_kind = {bracket.kind: bracket for bracket in found.brackets}
    half = slack(40) * stats.sem(VALUES)
    assert by_kind["certified"].lower == pytest.approx(VALUES.mean() - 0.3 - half)
    assert by_kind["certified"].upper == pytest.approx(VALUES.mean() + 0.5 + half)
    assert by_kind["expectation"].upper == pytest.approx(VALUES.mean() + 1.0 + half)
    assert found.interval == "certified"  # 0.8 wide beside 1.0


def test_ends_known_for_no_draw_leave_the_range():
    found = summarise(above(VALUES, 1.0), 50.0)
    certified = next(b for b in found.brackets if b.kind == "certified")
    assert (certified.lower, certified.upper) == (0.0, 50.0)
    assert found.interval == "expectation"
    assert "probability" not in {b.kind for b in found.brackets}


def test_sums_and_batches_keep_everything_apart():
    first, second = exact(VALUES), above(2.0 * VALUES, 0.5)
    total = add([first, second])
    np.testing.assert_allclose(total.value, 3.0 * VALUES)
    np.testing.assert_allclose(total.expectation.upper, 3.0 * VALUES + 0.5)
    assert not total.exact.any()
    assert not total.certified.known.any()
    assert total.methods == ("exact-dp", "chain")
    joined = concatenate([first.first(3), first])
    assert len(joined) == 43
    assert joined.exact.all()
    np.testing.assert_allclose(joined.value[:3], VALUES[:3])
    shifted = second.plus(np.full(40, 0.25))
    np.testing.assert_allclose(shifted.expectation.lower, 2.0 * VALUES + 0.25)
    mixed = first.replaced(np.array([1, 3]), second.first(2))
    assert mixed.exact.sum() == 38
    assert mixed.value[3] == second.value[1]
    assert len(add([])) == 0


def test_an_upper_end_on_some_draws_is_their_mean_gap_above_the_mean_over_all():
    layerwise = exact(VALUES)
    part = above(VALUES[:8], 0.7)
    half = slack(40) * stats.sem(VALUES)
    assert upper_from_part(layerwise, part, alike=False) == pytest.approx(
        VALUES.mean() + 0.7 + half
    )
    noisy = above(VALUES[:8], 0.7 + 0.1 * np.arange(8))
    gaps = 0.7 + 0.1 * np.arange(8)
    margin = math.hypot(half, slack(8) * stats.sem(gaps))
    assert upper_from_part(layerwise, noisy, alike=False) == pytest.approx(
        VALUES.mean() + gaps.mean() + margin
    )


def test_alike_compares_rao_blackwellised_values():
    """Parts that average over labellings as the layerwise values do: only the averages' gap counts."""
    smooth = np.full(40, VALUES.mean())
    layerwise = dataclasses.replace(exact(VALUES), rao_blackwellised=smooth)
    part = dataclasses.replace(above(VALUES + 3.0, 0.0), rao_blackwellised=smooth + 3.5)
    assert upper_from_part(layerwise, part, alike=True) == pytest.approx(VALUES.mean() + 3.5)


def test_the_tightest_upper_end_becomes_the_totals():
    layerwise = exact(VALUES)
    half = slack(40) * stats.sem(VALUES)
    parts = [above(VALUES, 2.0), above(VALUES, 0.4), above(VALUES, 1.0)]
    total = total_estimate(layerwise, parts, None, 50.0, coupled=True)
    assert total.upper == pytest.approx(VALUES.mean() + 0.4 + half)
    assert total.lower == pytest.approx(VALUES.mean() - half)
    assert (total.interval, total.value) == ("expectation", pytest.approx(VALUES.mean()))
    joint = total_estimate(layerwise, parts, above(VALUES, 0.1, "sandwich-K8"), 50.0, coupled=True)
    assert joint.upper == pytest.approx(VALUES.mean() + 0.1 + half)
    assert joint.method == "sum over groups: exact-dp; joint sandwich-K8"
    alone = total_estimate(layerwise, parts, None, 50.0, coupled=False)
    assert alone == summarise(layerwise, 50.0)
    bare = total_estimate(layerwise, [], None, 50.0, coupled=True)
    assert bare.upper == 50.0


def test_an_exact_joint_sum_replaces_the_sum_over_groups():
    layerwise, joint = exact(VALUES), exact(VALUES[:10] + 0.6)
    total = total_estimate(layerwise, [], joint, 50.0, coupled=True)
    assert total.value == pytest.approx(VALUES.mean() + 0.6)
    assert total.std_error == pytest.approx(stats.sem(VALUES))
    half = slack(40) * stats.sem(VALUES)
    assert total.upper == pytest.approx(total.value + half)
    assert total.lower == pytest.approx(total.value - half)
    every = total_estimate(layerwise, [], exact(VALUES + 0.6), 50.0, coupled=True)
    assert (every.value, every.lower) == (pytest.approx(total.value), pytest.approx(total.lower))


@pytest.mark.parametrize("gap", [-0.01, -3.0])
def test_an_upper_end_below_the_sum_is_an_internal_error(gap, monkeypatch):
    layerwise, wrong = exact(VALUES), above(VALUES, 0.0)
    wrong = dataclasses.replace(wrong, expectation=DrawEnds.of(VALUES + gap, VALUES + gap))
    with pytest.raises(ContradictionError, match="gap of chain"):
        total_estimate(layerwise, [wrong], None, 50.0, coupled=True)
    # outside the tests chance may do it, too: then the report says so
    monkeypatch.setattr(module, "strict", False)
    total = total_estimate(layerwise, [wrong], None, 50.0, coupled=True)
    crosses = VALUES.mean() + gap + slack(40) * stats.sem(VALUES) < VALUES.mean()
    assert ("sampled ends cross" in total.method) == crosses


def test_certified_ends_that_cross_always_raise(monkeypatch):
    monkeypatch.setattr(module, "strict", False)
    ends = DrawEnds.of(VALUES + 1e-6, VALUES)
    with pytest.raises(ContradictionError, match="certified ends"):
        summarise(dataclasses.replace(exact(VALUES), certified=ends), 50.0)


@pytest.mark.parametrize(("shift", "ceiling"), [(-20.0, 50.0), (0.0, 1.0)])
def test_values_outside_their_range_by_more_than_their_error_raise(shift, ceiling):
    with pytest.raises(ContradictionError, match="entropy"):
        summarise(exact(VALUES + shift), ceiling)


def test_an_error_excuses_what_lies_within_twice_of_it():
    in_order(1.0, 0.9, 0.06, "x")
    with pytest.raises(ContradictionError):
        in_order(1.0, 0.9, 0.04, "x")
    in_order(1.0, 1.0 - 1e-10, 0.0, "x")


def test_information_is_the_mirror_image_of_entropy():
    entropy = summarise(above(VALUES, 1.0), 50.0)
    information = complement(entropy, 50.0)
    assert information.value == pytest.approx(50.0 - entropy.value)
    assert information.lower == pytest.approx(50.0 - entropy.upper)
    assert information.upper == pytest.approx(50.0 - entropy.lower)
    assert [b.kind for b in information.brackets] == [b.kind for b in entropy.brackets]
    for mirrored, bracket in zip(information.brackets, entropy.brackets, strict=True):
        assert mirrored.lower == pytest.approx(50.0 - bracket.upper)
        assert mirrored.upper == pytest.approx(50.0 - bracket.lower)
