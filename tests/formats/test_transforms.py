import math

import numpy as np
import pytest

from symdiag.errors import UsageError
from symdiag.formats.transforms import (
    BY_NAME,
    EXP,
    SOFTPLUS,
    interval,
    precision,
    shifted_exp,
    shifted_softplus,
    transform_named,
)

STDS = np.geomspace(1e-4, 30.0, 41)


@pytest.mark.parametrize(
    "transform",
    [
        *BY_NAME.values(),
        shifted_exp(1e-5),
        interval(0.0, 50.0),
        precision(600.0, 0.6, "ivon"),
        precision(2.0, 0.0, "h"),
    ],
    ids=lambda transform: transform.name,
)
def test_inverse_undoes_forward(transform):
    np.testing.assert_allclose(transform.forward(transform.inverse(STDS)), STDS, rtol=1e-11)


@pytest.mark.parametrize(
    ("rho", "std"),
    [
        (-200.0, math.exp(-200.0)),
        (-40.0, math.exp(-40.0)),
        (0.0, math.log(2.0)),
        (1.0, 1.3132616875182228),
        (50.0, 50.0),
        (1e5, 1e5),
    ],
)
def test_softplus_is_right_at_the_ends(rho, std):
    """log(1 + e^rho) = e^rho to 1e-17 for rho < -40, rho for rho > 40."""
    assert SOFTPLUS.forward(np.array(rho)) == pytest.approx(std, rel=1e-15)
    assert SOFTPLUS.inverse(np.array(std)) == pytest.approx(rho, rel=1e-14, abs=1e-15)


@pytest.mark.parametrize(
    ("name", "stored", "std"),
    [
        ("exp", -3.0, math.exp(-3.0)),
        ("exp-half", -3.0, math.exp(-1.5)),
        ("identity", 0.3, 0.3),
        ("sqrt", 0.09, 0.3),
        ("softplus", -3.0, math.log1p(math.exp(-3.0))),
        ("1e-06+softplus", -3.0, 1e-6 + math.log1p(math.exp(-3.0))),
    ],
)
def test_each_name_means_its_formula(name, stored, std):
    assert transform_named(name).forward(np.array(stored)) == pytest.approx(std, rel=1e-14)


def test_a_pruned_weight_has_the_floor_as_its_std():
    assert shifted_softplus(1e-6).forward(np.array(-1000.0)) == 1e-6
    assert shifted_softplus(1e-6).inverse(np.array(1e-6)) == -np.inf


def test_extremes_give_no_warnings():
    """The suite turns warnings into errors; overflow is for the caller to see in the values."""
    assert EXP.forward(np.array(1e4)) == np.inf
    assert EXP.inverse(np.array(0.0)) == -np.inf
    assert np.isnan(transform_named("sqrt").forward(np.array(-1.0)))


def test_interval_is_a_sigmoid():
    values = interval(0.0, 0.4).forward(np.array([-800.0, 0.0, 800.0]))
    np.testing.assert_allclose(values, [0.0, 0.2, 0.4], atol=1e-15)


def test_an_unknown_name_is_a_usage_error_that_lists_the_known_ones():
    with pytest.raises(UsageError) as error:
        transform_named("relu")
    assert error.value.code == "unknown-scale-transform"
    assert all(name in error.value.hint for name in BY_NAME)
