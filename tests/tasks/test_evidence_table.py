"""Several files on one data set: the table's figures and differences against the reports' own."""

import csv
import io
import json
import math

import numpy as np
import pytest
from scipy import stats

from symdiag.cli.main import main
from symdiag.posterior import Posterior
from symdiag.report import from_dict
from symdiag.tasks.analyze import analysis, evidence_table
from symdiag.tasks.options import (
    DataOptions,
    DiagnosisOptions,
    EstimationOptions,
    MeterOptions,
    ReadingOptions,
)
from symdiag.training.config import ModelConfig
from symdiag.training.data import Dataset


def posterior(shift, width=3, scale=0.1):
    rng = np.random.default_rng(0)
    shapes = {"fc1.weight": (width, 1), "fc1.bias": (width,), "fc2.weight": (1, width)}
    shapes["fc2.bias"] = (1,)
    loc = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    loc["fc2.bias"] = loc["fc2.bias"] + shift
    return Posterior(loc, {name: np.full(shape, scale) for name, shape in shapes.items()})


def data(seed, count=40):
    x = np.random.default_rng(seed).uniform(-2, 2, (count, 1))
    return Dataset(x, np.sin(x))


def analysed(q):
    return analysis(
        q,
        ReadingOptions(activation="relu"),
        DataOptions(data=data(1), test=data(2)),
        ModelConfig(noise=0.5, prior_std=1.0),
        MeterOptions(),
        EstimationOptions(samples=16, budget=0.5),
        DiagnosisOptions(),
    )


@pytest.fixture(scope="module")
def three():
    return [analysed(posterior(0.0)), analysed(posterior(0.03)), analysed(posterior(0.0, width=4))]


def contrast(table, quantity, first=0, second=1):
    names = [m.name for m in table.models]
    # reports of posteriors in memory all have one name: pairs come in order
    pairs = [c for c in table.contrasts if c.quantity == quantity]
    order = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    return pairs[order.index((first, second))]


def test_differences_are_those_of_the_reports(three):
    table = evidence_table(three)
    a, b = three[0].report, three[1].report
    for quantity, value in (
        ("elbo", b.elbo.standard.value - a.elbo.standard.value),
        ("symmetrized", b.elbo.symmetrized.value - a.elbo.symmetrized.value),
        ("straddling_entropy", b.total.straddling_entropy.value - a.total.straddling_entropy.value),
        ("nll", b.test["nll"] - a.test["nll"]),
    ):
        assert contrast(table, quantity).difference == pytest.approx(value, abs=1e-9)
    for model, one in zip(table.models, three, strict=True):
        assert model.symmetrized == one.report.elbo.symmetrized
        assert model.pareto_k == one.report.elbo.importance.plain.pareto_k
        assert model.kl_weight == one.report.elbo.kl_weight.value


def test_the_same_draws_cancel_their_noise(three):
    """A shift of one bias changes each draw's fit almost alike: far below either's own error."""
    table = evidence_table(three)
    found = contrast(table, "elbo")
    errors = [one.report.elbo.standard.std_error for one in three[:2]]
    assert found.paired
    assert found.std_error < 0.3 * math.hypot(*errors)
    draws = [one.evidence.evaluation.draws for one in three[:2]]
    assert found.std_error == pytest.approx(stats.sem(draws[1] - draws[0]), rel=1e-9)
    other = contrast(table, "elbo", 0, 2)  # another width: other draws
    assert not other.paired
    assert other.std_error == pytest.approx(
        math.hypot(errors[0], three[2].report.elbo.standard.std_error)
    )
    points = [one.evidence.evaluation.point_nll for one in three[:2]]
    assert contrast(table, "nll").std_error == pytest.approx(stats.sem(points[1] - points[0]))


def test_equal_posteriors_are_not_told_apart_and_far_ones_are():
    one = analysed(posterior(0.0))
    same = evidence_table([one, one])
    assert same.verdict == "not-told-apart"
    assert not any(c.significant for c in same.contrasts)
    far = evidence_table([one, analysed(posterior(2.0))])
    assert far.verdict == "told-apart"
    found = contrast(far, "symmetrized")
    assert found.significant
    assert abs(found.difference) > found.margin >= 3 * found.std_error


def test_the_command_ends_with_the_table_in_every_format(tmp_path, capsys):
    files = []
    for index in range(2):
        rng = np.random.default_rng(index)
        files.append(str(tmp_path / f"q{index}.npz"))
        shapes = {"fc1.weight": (3, 1), "fc1.bias": (3,), "fc2.weight": (1, 3), "fc2.bias": (1,)}
        arrays = {f"{n}_auto_loc": rng.normal(size=s) for n, s in shapes.items()}
        arrays |= {f"{n}_auto_scale": np.full(s, 0.1) for n, s in shapes.items()}
        np.savez(files[-1], **arrays)
    train = data(1)
    np.savez(tmp_path / "train.npz", X=train.inputs, y=train.targets)
    model = ["--activation", "relu", "--assume-chain", "--noise", "0.5", "--prior-std", "1"]
    arguments = [*files, *model, "--samples", "8", "--budget", "0.2", "--exit-zero"]
    given = [*arguments, "--data", str(tmp_path / "train.npz")]
    assert main(["analyze", *given, "--format", "json", "-o", str(tmp_path / "t.csv")]) == 0
    *_, table = json.loads(capsys.readouterr().out)["reports"]
    assert [m.name for m in from_dict(table).models] == files
    lines = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert [line["subject"] for line in lines] == files
    for line, row in zip(lines, table["models"], strict=True):
        assert float(line["evidence_symmetrized"]) == row["symmetrized"]["value"]
        assert float(line["elbo_standard"]) == row["elbo"]["value"]
    assert main(["analyze", *arguments, "--format", "json"]) == 0
    kinds = [r["kind"] for r in json.loads(capsys.readouterr().out)["reports"]]
    assert kinds == ["analyze", "analyze"]  # without data there is nothing to compare
