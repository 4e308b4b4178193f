"""Collapsed units are units that can go: judged by the function, all of them together."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import symdiag
from symdiag.diagnostics.collapse import Setting, collapsed, removable, signal_bound
from symdiag.diagnostics.diagnosis import Cluster
from symdiag.diagnostics.findings.collapse import _held, exchanging
from symdiag.diagnostics.function_change import MomentChange, SampledChange, keep_masks
from symdiag.estimate import Estimate
from symdiag.network import forward, infer_network
from symdiag.posterior import Posterior
from symdiag.report.views._tables import group_table
from symdiag.symmetry.inference import infer_spec
from symdiag.symmetry.spec import Group, Member, PermutationSpec

ZOO = Path(__file__).parents[1] / "data" / "zoo"


def chain(widths, *, seed=0, mean=1.0, std=0.3):
    """A random posterior over a chain of linear layers."""
    rng = np.random.default_rng(seed)
    loc, scale = {}, {}
    for k, (inputs, outputs) in enumerate(pairwise(widths)):
        for part, shape in (("weight", (outputs, inputs)), ("bias", (outputs,))):
            name = f"{k}.{part}"
            loc[name] = mean * rng.standard_normal(shape) / math.sqrt(inputs)
            scale[name] = np.full(shape, std)
    return Posterior(loc, scale)


def known(posterior, activation="relu"):
    """Spec and setting of a chain whose activation is known."""
    network = infer_network(posterior, activation=activation)
    run = lambda weights, inputs: forward(network, weights, None, inputs)  # noqa: E731
    return infer_spec(posterior, network), Setting(run, network)


def mask(width, *units):
    found = np.zeros(width, dtype=bool)
    found[list(units)] = True
    return found


def switched_off(posterior, tensor, axis, units):
    loc, scale = (
        {n: v.copy() for n, v in part.items()} for part in (posterior.loc, posterior.scale)
    )
    index = (slice(None),) * axis + (units,)
    loc[tensor][index] = 0.0
    scale[tensor][index] = 0.02
    return posterior.replace(loc=loc, scale=scale)


def test_units_without_outgoing_weights_can_go_and_no_others():
    posterior = switched_off(chain([3, 8, 2], std=0.05), "1.weight", 1, [1, 4, 6])
    spec, setting = known(posterior)
    found = removable(posterior, spec, setting)
    assert np.flatnonzero(found.units[spec.groups[0].name]).tolist() == [1, 4, 6]
    assert found.measured
    assert found.change <= 0.1


def test_many_weak_units_that_carry_the_function_together_cannot_go():
    """Every unit is lost in its own std, μ/σ = 1/4; 400 of them make the whole function."""
    width = 400
    loc = {"0.weight": np.ones((width, 1)), "0.bias": np.zeros(width)}
    loc |= {"1.weight": np.full((1, width), 0.25), "1.bias": np.zeros(1)}
    scale = {n: np.full(v.shape, 0.01) for n, v in loc.items()}
    scale["1.weight"] = np.ones((1, width))
    posterior = Posterior(loc, scale)
    spec, setting = known(posterior)
    found = removable(posterior, spec, setting).units[spec.groups[0].name]
    # k of them change the mean by k/4 h, and the std of all is 20 h: at most 8 can go
    assert found.sum() <= 8
    # the bound from the weights alone: √(k/16), and no more than its limit
    unknown = removable(posterior, spec, Setting()).units[spec.groups[0].name]
    assert unknown.sum() == 0


@pytest.mark.parametrize("activation", ["relu", "tanh", "identity"])
def test_moments_are_the_draws_mean_for_one_hidden_layer(activation):
    posterior = chain([3, 30, 2], seed=1)
    spec, setting = known(posterior, activation)
    units = {spec.groups[0].name: mask(30, 2, 3, 5, 7, 11)}
    inputs = np.random.default_rng(0).standard_normal((40, 3))
    exact = MomentChange(posterior, spec, setting.network, inputs)(units)
    sampled = SampledChange(posterior, spec, setting.forward, inputs)(units)
    assert sampled == pytest.approx(exact, rel=0.15)
    assert sampled >= exact * 0.95  # two standard errors are added


def test_moments_of_a_linear_network_are_exact():
    """Without a nonlinearity mean and variance of the outputs are polynomials of the moments."""
    posterior = chain([2, 4, 1], seed=3)
    spec, setting = known(posterior, "identity")
    (w, b, v, c), (sw, sb, sv, sc) = (
        (p["0.weight"], p["0.bias"], p["1.weight"][0], p["1.bias"])
        for p in (posterior.loc, posterior.scale)
    )
    x = np.random.default_rng(1).standard_normal((50, 2))
    mean, variance = x @ w.T + b, x**2 @ (sw**2).T + sb**2
    spread = ((mean**2 + variance) @ sv**2 + variance @ v**2 + sc**2).mean()
    change = ((mean[:, 1] * v[1]) ** 2).mean()
    found = MomentChange(posterior, spec, setting.network, x)({spec.groups[0].name: mask(4, 1)})
    assert found == pytest.approx(math.sqrt(change / spread), rel=1e-10)
    assert c.shape == sc.shape


def test_noise_alone_is_no_change_of_the_mean():
    """A unit whose outgoing weights are wide about zero adds most of the predictive std, and can go."""
    posterior = chain([2, 6, 1], std=0.05)
    loc, scale = ({n: v.copy() for n, v in p.items()} for p in (posterior.loc, posterior.scale))
    loc["1.weight"][:, 0], scale["1.weight"][:, 0] = 0.0, 3.0
    posterior = posterior.replace(loc=loc, scale=scale)
    spec, setting = known(posterior)
    inputs = np.random.default_rng(0).standard_normal((60, 2))
    units = {spec.groups[0].name: mask(6, 0)}
    assert MomentChange(posterior, spec, setting.network, inputs)(units) == pytest.approx(0.0)
    assert SampledChange(posterior, spec, setting.forward, inputs)(units) < 0.1


def test_the_bound_from_the_weights_holds():
    """Σ(μ/σ)² of what leaves the set bounds the change squared, for functions of certain units."""
    for seed in range(20):
        posterior = chain([2, 7, 1], seed=seed, mean=0.2, std=0.4)
        certain = posterior.replace(
            scale={n: v * (1e-9 if n.startswith("0") else 1.0) for n, v in posterior.scale.items()}
        )
        spec, setting = known(certain)
        units = {spec.groups[0].name: mask(7, 0, 2, 5)}
        inputs = np.random.default_rng(seed).standard_normal((30, 2))
        change = MomentChange(certain, spec, setting.network, inputs)(units)
        ratio = posterior.loc["1.weight"][0, [0, 2, 5]] / 0.4
        assert change <= math.sqrt((ratio**2).sum())
        assert signal_bound(certain, spec, units) >= change


def test_collapsed_units_exchange_where_there_are_more_than_two():
    posterior = switched_off(chain([3, 8, 2], std=0.05), "1.weight", 1, [1, 4, 6])
    spec, setting = known(posterior)
    name = spec.groups[0].name
    kept = {name: np.full(8, 0.9)}
    assert not collapsed(posterior, spec, setting, kept).units[name].any()
    exchanged = {name: np.where(mask(8, 1, 4, 6), 0.2, 1.0)}
    assert collapsed(posterior, spec, setting, exchanged).units[name].sum() == 3
    two = switched_off(chain([3, 8, 2], std=0.05), "1.weight", 1, [1, 4])
    assert collapsed(two, spec, known(two)[1], kept).units[name].sum() == 2


def test_masks_reach_flattened_channels_and_ranges():
    group = Group(
        "g", 2, (Member("w", 0), Member("fc", 1, inner=3), Member("cat", 1, start=1, outer=2))
    )
    loc = {"w": np.ones((2, 1)), "fc": np.ones((1, 6)), "cat": np.ones((1, 6))}
    posterior = Posterior(loc, {n: np.ones_like(v) for n, v in loc.items()})
    keep = keep_masks(posterior, PermutationSpec((group,)), {"g": mask(2, 1)})
    assert keep["w"].tolist() == [[1], [0]]
    assert keep["fc"].tolist() == [[1, 1, 1, 0, 0, 0]]
    assert keep["cat"].tolist() == [[1, 1, 0, 1, 0, 1]]


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize(
    "path",
    sorted(p for p in ZOO.glob("*-mlp*.pt") if "plain" not in p.name and "mu-rho" not in p.name),
    ids=lambda p: p.stem,
)
def test_switching_off_what_is_flagged_hardly_changes_the_function(path, activation):
    """On real checkpoints, by plain Monte Carlo that shares no code with the criterion."""
    posterior = symdiag.load(path)
    report = symdiag.analyze(posterior, activation=activation, samples=16, budget=0.1)
    flagged = {g.name: np.array([n.collapsed for n in g.neurons]) for g in report.groups}
    for group in report.groups:
        off = [n.retention for n in group.neurons if n.collapsed]
        assert len(off) <= 2 or max(off) < 0.5
    if not any(units.any() for units in flagged.values()):
        return
    network = infer_network(posterior, activation=activation)
    keep = keep_masks(posterior, infer_spec(posterior, network), flagged)
    rng = np.random.default_rng(5)
    draws = posterior.sample(rng, 4000)
    x = torch.from_numpy(rng.standard_normal((25, network.layers[0].in_features)))

    def outputs(weights):
        tensors = {n: torch.from_numpy(v) for n, v in weights.items()}
        return forward(network, tensors, None, x).numpy()

    whole, rest = outputs(draws), outputs({n: v * keep[n] for n, v in draws.items()})
    change, spread = (rest - whole).mean(0), whole.std(0)
    # what 4000 draws leave of the noise that goes with the units
    noise = np.sqrt(((rest - whole).var(0) / 4000).mean())
    assert np.sqrt((change**2).mean()) <= 0.1 * np.sqrt((spread**2).mean()) + 2.0 * noise


def test_log_k_factorial_counts_units_that_exchange():
    from symdiag.diagnostics.diagnosis import GroupReport
    from tests.report.report_examples import neuron

    estimate = Estimate(1.0, 0.1, 0.8, 1.2, "x", 10)
    neurons = tuple(neuron(i, 0.2, collapsed=i < 4) for i in range(6))
    clusters = (Cluster((0, 1, 5), False, 1.0), Cluster((2, 4), False, 0.1))
    report = GroupReport("g", 6, False, 6.0, estimate, estimate, 1.0, neurons, clusters)
    assert exchanging(report) == (2,)
    assert "2 of them exchange labels and can hold up to log 2! = 0.69 nats" in _held(report)
    alone = dataclasses.replace(
        report, clusters=(Cluster((0, 4), False, 0.1), Cluster((1, 5), False, 0.1))
    )
    assert _held(alone).startswith("2 of them exchange labels with units that stay")
    assert "keep their labels" in _held(dataclasses.replace(report, clusters=()))


def test_a_wide_layer_of_units_like_the_prior_is_said_to_exchange_them():
    """No two of 37 such units exchange often; all of the straddling is theirs, log 37! nats."""
    width, off = 40, 37
    loc = {"fc1.weight": np.zeros((width, 1)), "fc1.bias": np.zeros(width)}
    loc |= {"fc2.weight": np.zeros((1, width)), "fc2.bias": np.zeros(1)}
    scale = {n: np.ones(v.shape) for n, v in loc.items()}
    scale["fc2.weight"] *= 0.03
    for unit in range(width - off):
        loc["fc1.weight"][unit], loc["fc1.bias"][unit] = 2.0 * unit - 1.5, unit
        loc["fc2.weight"][:, unit] = 1.5 - unit
        scale["fc1.weight"][unit] = scale["fc1.bias"][unit] = 0.05
    report = symdiag.analyze(Posterior(loc, scale), activation="relu", samples=16)
    held = next(f.message for f in report.findings if f.code == "SYM003")
    assert f"{off} of {width} units" in held
    assert f"{off} of them exchange labels and can hold up to log {off}!" in held
    entropy = report.total.straddling_entropy.value
    assert entropy == pytest.approx(math.lgamma(off + 1), abs=0.01)


def test_no_unit_is_both_kept_and_off():
    """Two units that learned nothing keep their labels half of the time, and can go."""
    small = chain([2, 2, 1], mean=0.01, std=0.05)
    report = symdiag.analyze(small, activation="relu", samples=64)
    assert all(n.collapsed for n in report.groups[0].neurons)
    assert any(n.retention > 0.5 for n in report.groups[0].neurons)
    (table,) = group_table(report)
    assert table.rows[0][-2:] == ("0", "2")
