"""The shared scores on hand-made cases, and the room of likelihoods as a whole."""

import math
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from symdiag.errors import UsageError
from symdiag.objectives.likelihoods import find_likelihood, likelihood_names
from symdiag.objectives.likelihoods.interface import (
    expected_calibration_error,
    mixture_nll,
    quantile_calibration_error,
)
from symdiag.objectives.terms import TermOptions, check_options, objective_names

ROOT = Path(__file__).parents[2]

STUDENT_T = '''
"""Student t likelihood with four degrees of freedom: y = f(x) + σ t."""

import math

import torch

from symdiag.objectives.likelihoods.interface import (
    Refusal, Scores, columns, mixture_nll, quantile_calibration_error,
)


class StudentT:
    """Heavier tails than a Gaussian's."""

    name = "student_t"
    has_noise = True
    refusals = (Refusal([[1.0, 2.0]], 1),)

    def targets(self, raw, outputs):
        return columns(raw, outputs, "For class labels use --likelihood categorical.")

    def log_prob(self, outputs, targets, log_noise):
        z = (targets - outputs) * torch.exp(-log_noise)
        return (math.log(3.0 / 8.0) - 2.5 * torch.log1p(z * z / 4.0) - log_noise).sum(-1)

    def scores(self, outputs, targets, log_noise):
        z = (targets - outputs) * torch.exp(-log_noise)
        s = z / torch.sqrt(4.0 + z * z)
        cdf = 0.5 + 0.75 * (s - s**3 / 3.0)
        return Scores(
            mixture_nll(self.log_prob(outputs, targets, log_noise)), "rmse",
            float((outputs.mean(0) - targets).square().mean().sqrt()),
            quantile_calibration_error(cdf.mean(0).reshape(-1)),
        )

    def reference(self, outputs, noise):
        from scipy import stats

        return [stats.t(4, f, noise) for f in outputs]


LIKELIHOOD = StudentT()
'''


def test_a_new_file_is_a_new_likelihood(tmp_path):
    """In a copy of the project, one file and nothing else: listed, offered and fully tested."""
    skip = shutil.ignore_patterns("__pycache__", "*.nbi", "*.nbc")
    shutil.copytree(ROOT / "symdiag", tmp_path / "symdiag", ignore=skip)
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests/objectives/test_likelihoods.py", tmp_path / "tests")
    (tmp_path / "symdiag/objectives/likelihoods/student_t.py").write_text(STUDENT_T)

    def run(*command):
        return subprocess.run(
            [sys.executable, "-m", *command], cwd=tmp_path, capture_output=True, text=True
        ).stdout

    tested = run("pytest", "-q", "-k", "student_t", "-p", "no:cacheprovider", "tests")
    assert "passed" in tested, tested
    assert "failed" not in tested, tested
    assert "student_t" in run("symdiag", "retrain", "--help")


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UsageError, match="unknown likelihood") as caught:
        find_likelihood("interface")
    assert set(likelihood_names()) == set(
        caught.value.hint[len("Choose one of: ") : -1].split(", ")
    )


def test_objectives_refuse_what_they_would_ignore():
    assert objective_names()[0] == "symmetrized"
    for name, option in (("elbo", "marginals"), ("symmetrized", "num_elements")):
        with pytest.raises(UsageError, match="does not apply") as caught:
            check_options(name, TermOptions(**{option: {"marginals": "exact"}.get(option, 5)}))
        assert caught.value.code == "bad-option"
    check_options("infonce", TermOptions(num_elements=5))
    check_options("symmetrized", TermOptions(marginals="exact"))


def test_one_hot_rows_are_labels():
    labels = find_likelihood("categorical").targets(torch.eye(3).double()[[2, 0, 1]], 3)
    assert labels.tolist() == [2, 0, 1]


def test_mixture_nll_averages_probabilities_not_logs():
    log_prob = torch.log(torch.tensor([[0.2, 0.9], [0.6, 0.1]], dtype=torch.float64))
    assert mixture_nll(log_prob) == pytest.approx(-(math.log(0.4) + math.log(0.5)) / 2, abs=1e-14)


@pytest.mark.parametrize("name", ["gaussian", "poisson"])
def test_a_true_model_is_calibrated(name):
    generator = np.random.default_rng(1)
    f = torch.from_numpy(generator.uniform(2.0, 3.0, (1, 4000, 1)))
    draw = (
        generator.normal(f[0].numpy(), 1.0)
        if name == "gaussian"
        else generator.poisson(np.exp(f[0].numpy()))
    )
    y = torch.from_numpy(np.asarray(draw, dtype=float))
    scores = find_likelihood(name).scores(f, y, torch.zeros((), dtype=torch.float64))
    assert scores.calibration_error < 0.03


def test_calibration_errors_of_known_cases():
    assert quantile_calibration_error(torch.full((5,), 0.5, dtype=torch.float64)) == pytest.approx(
        np.mean([abs((x >= 0.5 - 1e-12) - x) for x in np.linspace(0.05, 0.95, 19)]), abs=1e-12
    )
    gap = expected_calibration_error(torch.tensor([0.9, 0.9]).double(), torch.tensor([True, False]))
    assert gap == pytest.approx(0.4)
