"""The committed results: complete, made with the committed settings, and within what theory allows."""

import json
import math
import re
from pathlib import Path

import pytest

from benchmarks.paper import tables
from benchmarks.paper.__main__ import NAMES, find
from benchmarks.paper.study import FIGURES, RESULTS

DOCS = Path(__file__).parents[2] / "docs" / "reproduction.md"


def _load(name):
    return json.loads((RESULTS / f"{name}.json").read_text())


def _rows(name):
    return [row for job in _load(name)["jobs"] for row in job["rows"]]


@pytest.mark.parametrize("name", NAMES)
def test_complete_and_of_these_settings(name):
    stored, study = _load(name), find(name)
    assert stored["settings"] == json.loads(json.dumps(study.settings))
    assert [j["job"] for j in stored["jobs"]] == json.loads(json.dumps(study.jobs(study.settings)))
    fresh = json.loads(json.dumps(study.summarise(_rows(name)), default=float))
    assert fresh.keys() == stored["summary"].keys()


def test_gaussian_thresholds():
    summary = _load("gaussians")["summary"]
    assert summary["mode_appears"] == pytest.approx(4.8245, abs=5e-4)
    assert summary["mode_wins"] == pytest.approx(5.6002, abs=5e-4)
    for sigma, found in summary["transition_by_descent"].items():
        assert found["last_at_midpoint"] <= found["first_at_mode"]
        assert found["last_at_midpoint"] < 1.03 * found["exact"], sigma
        assert found["first_at_mode"] > 0.97 * found["exact"], sigma


def test_two_weights_stay_below_log_2_and_the_evidence():
    for r in _rows("two_weights"):
        gap = r["symmetrized"] - r["elbo"]
        assert -1e-4 <= gap <= math.log(2.0) + 1e-4
        assert r["symmetrized"] <= r["evidence"] + 1e-4


def test_training_on_the_symmetrised_bound_attains_at_least_as_much_of_it():
    rows = [r for r in _rows("two_weights") if r["how"] == "converged"]
    found = {(r["noise"], r["alpha"], r["seed"], r["objective"]): r["symmetrized"] for r in rows}
    for key, value in found.items():
        if key[-1] == "symmetrized":
            assert value >= found[(*key[:-1], "elbo")] - 0.02


@pytest.mark.parametrize("name", ["digits", "payoff"])
def test_entropies_within_log_order(name):
    for r in _rows(name):
        entropies = (
            [r["entropy"]]
            if name == "digits"
            else [r[k]["entropy"] for k in ("base", "control", "symmetrized")]
        )
        for entropy in entropies:
            assert -1e-6 <= entropy <= r["log_order"] + 1e-6


def test_nearest_modes_obey_the_theorem():
    assert all(r["nearest"] <= r["bound"] for r in _rows("nearest") + _rows("digits"))


def test_contrastive_estimates_never_pass_log_k_nor_the_truth():
    rows = _rows("saturation")
    truth = {(r["width"], r["scale"]): r for r in rows if r["method"] == "reference"}
    for r in rows:
        reference = truth[r["width"], r["scale"]]
        assert reference["lower"] <= reference["upper"] <= reference["log_order"] + 1e-6
        if r["method"] == "infonce":
            assert r["information"] <= r["log_K"] + 1e-4
            assert r["information"] <= reference["upper"] + 4 * (r["se"] or 0.0)
        if r["method"] == "permanent":
            assert (
                abs(r["information"] - reference["information"])
                < 0.05 + 0.01 * reference["log_order"]
            )


def test_joint_entropy_is_never_below_the_sum():
    for r in _rows("layers"):
        assert r["gap"] > -4 * r["gap_se"] - 1e-6
        assert r["joint"] <= r["log_order"]


def test_docs_show_these_tables_and_figures():
    text = DOCS.read_text()
    assert tables.render(text) == text
    shown = re.findall(r"\]\(\.\./benchmarks/paper/figures/([\w-]+\.(?:svg|png))\)", text)
    assert len(shown) >= 8
    for name in shown:
        assert (FIGURES / name).exists(), name
