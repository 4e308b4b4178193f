"""The verdict's sentence on why units collapsed claims no more than was measured."""

import dataclasses

import pytest
from kind_examples.analyze import _WEIGHT
from report_examples import estimate, report

from symdiag.report.kinds.analyze import Elbo
from symdiag.report.views._kl_weight import collapse_cause


def said(value, half_width, straddling, *, status="ok", assumptions=("gaussian likelihood",)):
    """The sentence for a weight value ± half-width and an interval of H, the limit being 1."""
    weight = dataclasses.replace(
        _WEIGHT,
        value=value,
        lower=value - half_width,
        upper=value + half_width,
        status=status,
        assumptions=assumptions,
    )
    low, high = straddling
    made = report()
    entropy = dataclasses.replace(estimate(0.5 * (low + high)), lower=low, upper=high)
    return collapse_cause(
        dataclasses.replace(
            made,
            total=dataclasses.replace(made.total, straddling_entropy=entropy),
            elbo=Elbo(estimate(-3.0), estimate(-2.0), estimate(-1.0), 2.0, kl_weight=weight),
        )
    )


@pytest.mark.parametrize(
    ("value", "straddling", "words"),
    [
        (9.0, (3.0, 4.0), "both draw them off"),
        (9.0, (0.0, 0.5), "little straddling is left to reward: because of the KL"),
        (9.0, (0.5, 1.5), "is open"),
        (1.0, (3.0, 4.0), "not because of the KL's factor (1.000 ± 0.050); the ELBO's reward"),
        (1.0, (0.0, 0.5), "neither because of the KL's factor (1.000 ± 0.050) nor because of"),
        (1.0, (0.5, 1.5), "whether straddling draws them off is open"),
        (0.1, (3.0, 4.0), "not because of the KL's factor"),
    ],
)
def test_each_cause_is_said_where_it_was_measured(value, straddling, words):
    assert any(neuron.collapsed for group in report().groups for neuron in group.neurons)
    assert words in said(value, 0.05, straddling)


def test_nothing_is_said_of_a_posterior_that_is_not_stationary():
    assert said(9.0, 0.1, (3.0, 4.0), status="not-stationary") == ""


def test_an_estimated_noise_std_is_a_condition_of_the_sentence():
    """Residuals of a collapsed net are large, and T scales with 1/noise²."""
    assumed = ("gaussian likelihood", "noise std estimated from the residuals")
    assert "if training had learned the noise std: 0.3)" in said(
        0.2, 0.02, (3.0, 4.0), assumptions=assumed
    )
