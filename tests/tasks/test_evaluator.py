"""The network and likelihood on a data set, as the straight path needs them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax

from symdiag.errors import InputError, UsageError
from symdiag.posterior import Posterior
from symdiag.tasks._evidence import Evaluator, relative_change
from symdiag.training.data import Dataset


def linear(weights, inputs):
    return inputs @ weights["w"].transpose(-1, -2) + weights["offset"][:, None, :]


def posterior(outputs):
    generator = np.random.default_rng(0)
    loc = generator.standard_normal((outputs, 3))
    return Posterior(
        {"w": loc}, {"w": np.full(loc.shape, 0.1)}, buffers={"offset": np.arange(float(outputs))}
    )


X = np.random.default_rng(1).standard_normal((6, 3))


def draws(model, count):
    return {
        **model.sample(np.random.default_rng(2), count),
        "offset": np.tile(model.buffers["offset"], (count, 1)),
    }


def test_integer_labels_of_several_classes_are_categorical(monkeypatch):
    monkeypatch.setattr(
        "symdiag.tasks._evidence._CHUNK", 20
    )  # 9 weights and 3 buffers a draw: one at a time
    model, labels = posterior(3), np.array([0.0, 1, 2, 1, 0, 2])
    evaluator = Evaluator(linear, model, Dataset(X, labels))
    assert evaluator.likelihood == "categorical"
    sampled = draws(model, 5)
    expected = [
        log_softmax(X @ sampled["w"][s].T + model.buffers["offset"], axis=1)[
            np.arange(6), labels.astype(int)
        ]
        for s in range(5)
    ]
    assert evaluator.log_likelihood(sampled) == pytest.approx(np.array(expected))
    assert evaluator.outputs(model) == pytest.approx(X @ model.loc["w"].T + model.buffers["offset"])


def test_other_targets_are_gaussian_with_the_noise_given():
    model, targets = posterior(1), np.linspace(0, 1, 6)
    evaluator = Evaluator(linear, model, Dataset(X, targets), noise=0.5)
    assert evaluator.likelihood == "gaussian"
    sampled = draws(model, 4)
    residual = (targets - (X @ sampled["w"].transpose(0, 2, 1))[:, :, 0]) / 0.5
    expected = -0.5 * residual**2 - np.log(0.5) - 0.5 * np.log(2 * np.pi)
    assert evaluator.log_likelihood(sampled) == pytest.approx(expected)


def test_an_unknown_forward_and_unfit_targets_are_refused():
    with pytest.raises(UsageError) as caught:
        Evaluator(None, posterior(1), Dataset(X, np.zeros(6)))
    assert caught.value.code == "forward-undetermined"
    with pytest.raises(InputError):
        Evaluator(linear, posterior(3), Dataset(X, np.zeros((6, 2))), "gaussian")


def test_relative_change_is_relative_to_the_largest_output():
    assert relative_change(np.array([2.0, -4.0]), np.array([2.0, -3.0])) == 0.25
    assert relative_change(np.zeros(2), np.zeros(2)) == 0.0
