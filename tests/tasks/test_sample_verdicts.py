"""What ``samples`` concludes from draws whose origin is known: one network, several, or the same one again."""

from __future__ import annotations

import numpy as np
import pytest

from symdiag.report import render
from symdiag.tasks.samples import analyze_samples

SHAPES = {"fc1.weight": (12, 6), "fc1.bias": (12,), "fc2.weight": (1, 12), "fc2.bias": (1,)}


def untrained(count, generator):
    return {n: generator.uniform(-1, 1, (count, *s)) / s[-1] ** 0.5 for n, s in SHAPES.items()}


def concluded(tmp_path, draws):
    np.savez(tmp_path / "draws.npz", **draws)
    return analyze_samples(tmp_path / "draws.npz", activation="relu", samples=8).report


def swapped(draws, generator):
    """Every draw with its hidden units in an order of its own."""
    result = {name: values.copy() for name, values in draws.items()}
    for s in range(len(draws["fc1.bias"])):
        order = generator.permutation(12)
        result["fc1.weight"][s] = draws["fc1.weight"][s, order]
        result["fc1.bias"][s] = draws["fc1.bias"][s, order]
        result["fc2.weight"][s] = draws["fc2.weight"][s][:, order]
    return result


def test_independent_networks_are_no_label_switching(tmp_path):
    report = concluded(tmp_path, untrained(6, np.random.default_rng(0)))
    assert report.verdict == "no more than chance"
    assert report.relabelling_share > 0.2
    assert report.relabelling_share <= report.chance.upper
    text = " ".join(render(report, "text").split())
    assert "independent networks give" in text
    assert "Compare and average their predictions" in text


def test_networks_with_something_in_common_are_still_independent_members(tmp_path):
    """Two thirds of each network's variance are a common network, under labels of its own."""
    generator = np.random.default_rng(1)
    common, own = untrained(1, generator), untrained(6, generator)
    mixed = {n: np.sqrt(0.66) * common[n] + np.sqrt(0.34) * own[n] for n in own}
    report = concluded(tmp_path, swapped(mixed, generator))
    assert report.relabelling_share > report.chance.upper
    assert report.labellings == report.distinct == 6
    assert report.verdict == "independent members"


@pytest.mark.parametrize("noise", [0.05, 0.2])
def test_one_network_under_many_labels_is_label_switching(tmp_path, noise):
    generator = np.random.default_rng(2)
    common, own = untrained(1, generator), untrained(6, generator)
    report = concluded(tmp_path, swapped({n: common[n] + noise * own[n] for n in own}, generator))
    assert report.verdict == "label switching"
    assert report.relabelling_share > report.chance.upper


@pytest.mark.parametrize(("different", "said"), [(1, "5 times the same network"), (3, "only 3 of")])
def test_repeated_draws_are_noticed(tmp_path, different, said):
    once = untrained(different, np.random.default_rng(3))
    draws = {n: v[np.arange(5) % different] for n, v in once.items()}
    report = concluded(tmp_path, draws)
    assert report.distinct == different
    assert said in " ".join(render(report, "text").split())


def test_one_network_with_free_units_is_not_called_an_ensemble(tmp_path):
    """Seven units never move, five are like the prior: alignment removes no more than from unrelated networks."""
    generator = np.random.default_rng(5)
    common, free = untrained(1, generator), untrained(30, generator)
    draws = {n: common[n] + 0.01 * v for n, v in free.items()}
    draws["fc1.weight"][:, :5], draws["fc1.bias"][:, :5] = (
        free["fc1.weight"][:, :5],
        free["fc1.bias"][:, :5],
    )
    draws["fc2.weight"][:, :, :5] = 0.1 * free["fc2.weight"][:, :, :5]
    report = concluded(tmp_path, draws)
    moved = [unit.moved for unit in report.groups[0].units]
    assert max(moved[5:]) < 0.2 < min(moved[:5])
    assert report.verdict == "no more than chance"
    assert "ensemble" not in render(report, "text")
