"""Units, clusters and collapse on posteriors whose structure is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from symdiag.diagnostics.collapse import weak_units
from symdiag.diagnostics.diagnose import diagnose, effective_modes, sensitivity_draws
from symdiag.diagnostics.units import components, find_clusters
from symdiag.estimators import estimate_straddling
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec

GROUP = Group("h", 6, (Member("a.weight", 0), Member("a.bias", 0), Member("b.weight", 1)))
SPEC = PermutationSpec((GROUP,))


def planted() -> Posterior:
    """Units 0-2 pruned (prior in, zero out), 3 and 4 twins with signal, 5 alone."""
    weight = np.array([[0.0], [0.0], [0.0], [5.0], [5.0], [-9.0]])
    out = np.array([[0.0, 0.0, 0.0, 2.0, 2.0, 4.0]])
    std = np.array([[1.0], [1.0], [1.0], [0.1], [0.1], [0.1]])
    loc = {"a.weight": weight, "a.bias": np.zeros(6), "b.weight": out}
    return Posterior(loc, {"a.weight": std, "a.bias": std[:, 0], "b.weight": np.full((1, 6), 0.05)})


def test_planted_structure_is_found():
    posterior = planted()
    straddling = estimate_straddling(posterior, SPEC, samples=64, seed=0)
    group = diagnose(posterior, SPEC, straddling, seed=0).groups[0]
    assert [n.collapsed for n in group.neurons] == [True, True, True, False, False, False]
    assert [c.neurons for c in group.clusters] == [(0, 1, 2), (3, 4)]
    assert [c.collapsed for c in group.clusters] == [True, False]
    assert group.clusters[0].straddling_entropy == pytest.approx(math.log(6), abs=0.35)
    assert group.clusters[1].straddling_entropy == pytest.approx(math.log(2), abs=0.15)
    assert group.neurons[3].nearest == 4
    assert group.neurons[3].separation == pytest.approx(0.0, abs=1e-9)
    assert group.neurons[5].retention == pytest.approx(1.0, abs=1e-9)
    assert sum(c.straddling_entropy for c in group.clusters) == pytest.approx(
        group.straddling_entropy.value, abs=4 * group.straddling_entropy.std_error + 0.1
    )


def test_dead_relu_units_are_weak():
    """A bias far below zero keeps the unit off while its outgoing weight wanders: signal in the bias alone."""
    posterior = planted()
    bias = posterior.loc["a.bias"].copy()
    bias[:3] = -20.0
    moved = posterior.replace(loc={**posterior.loc, "a.bias": bias})
    assert weak_units(moved, GROUP)[:3].all()


@pytest.mark.parametrize("tensor", ["a.weight", "b.weight"])
def test_one_silent_side_is_enough(tensor):
    posterior = planted()
    loc = {n: v.copy() for n, v in posterior.loc.items()}
    loc["a.weight"][:3], loc["b.weight"][:, :3] = 50.0, 50.0
    assert not weak_units(posterior.replace(loc=loc), GROUP)[:3].any()
    np.moveaxis(loc[tensor], 0 if tensor == "a.weight" else 1, 0)[:3] = 0.0
    assert weak_units(posterior.replace(loc=loc), GROUP)[:3].all()


def test_a_deterministic_weight_other_than_zero_is_signal():
    posterior = planted()
    scale = {n: v.copy() for n, v in posterior.scale.items()}
    scale["a.weight"][:], scale["b.weight"][:] = 0.0, 0.0
    assert weak_units(posterior.replace(scale=scale), GROUP).tolist() == [True] * 3 + [False] * 3


def test_components_link_through_common_neighbours_and_leave_out_loners():
    confusion = np.eye(5)
    for i, j in ((0, 1), (1, 2)):
        confusion[i, j] = confusion[j, i] = 0.2
    confusion[3, 4] = 0.001
    assert components(confusion) == [(0, 1, 2)]


@pytest.mark.parametrize("many", [3, 37, 400])
def test_many_units_that_exchange_are_one_cluster_however_rarely_any_two_do(many):
    """Each takes each other's place with probability 1/k, as prior-like units do; two more keep theirs."""
    confusion = np.eye(many + 2)
    confusion[:many, :many] = 1.0 / many
    assert components(confusion) == [tuple(range(many))]
    # draws of permanents' marginals are noisy, and units that keep their labels stay alone
    noisy = confusion * np.random.default_rng(0).uniform(0.5, 1.5, confusion.shape)
    assert components(noisy) == [tuple(range(many))]


def test_no_clusters_when_nothing_exchanges():
    generator = np.random.default_rng(0)
    assert (
        find_clusters(np.eye(6), np.zeros((1, 6, 6)), np.zeros((1, 6, 6)), generator=generator)
        == ()
    )


def test_effective_modes_is_exp_h_and_never_overflows():
    assert effective_modes(math.log(24.0)) == pytest.approx(24.0)
    assert effective_modes(6078.0) is None


@pytest.mark.parametrize(
    ("parameters", "width", "expected"),
    [(10, 5, 64), (10_000_000, 5, 2), (3000, 1000, 8), (20_000, 4096, 2)],
)
def test_draws_for_sensitivities_shrink_with_the_network(parameters, width, expected):
    assert sensitivity_draws(parameters, width) == expected


def test_units_report_their_own_shifts_with_their_sign():
    """A narrow unit inside a wide one: symmetrising narrows the first and widens the second."""
    group = Group("h", 2, (Member("w", 0),))
    loc, scale = {"w": np.array([[0.0], [0.3]])}, {"w": np.array([[0.4], [3.0]])}
    posterior, spec = Posterior(loc, scale), PermutationSpec((group,))
    straddling = estimate_straddling(posterior, spec, samples=64, seed=0)
    narrow, wide = diagnose(posterior, spec, straddling, seed=0).groups[0].neurons
    assert narrow.log_std_shift < 0.0 < wide.log_std_shift


@pytest.mark.parametrize("signed", [False, True])
def test_a_cluster_never_holds_more_than_its_labels_and_signs(signed):
    """Identical units in draws that scatter: every labelling is equally likely, log |G| to rounding."""
    weight = np.zeros((4, 1)) if signed else np.full((4, 1), 2.0)
    group = Group("h", 4, (Member("w", 0), Member("v", 1)), signed)
    loc = {"w": weight, "v": weight.T.copy()}
    # stds a per cent apart: log permanents of single draws lie on both sides of log |G|
    scale = {"w": 1.0 + 1e-2 * np.arange(4.0)[:, None], "v": np.ones((1, 4))}
    posterior, spec = Posterior(loc, scale), PermutationSpec((group,))
    straddling = estimate_straddling(posterior, spec, samples=64, seed=0)
    (cluster,) = diagnose(posterior, spec, straddling, seed=0).groups[0].clusters
    most = math.log(24.0) + 4.0 * math.log(2.0) * signed
    assert most - 0.01 < cluster.straddling_entropy <= most + 1e-9
