"""Everything ``analyze`` says about a posterior, from its estimates: groups, totals, verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from symdiag.arrays import Array
from symdiag.diagnostics.collapse import Removable, Setting, collapsed, signals
from symdiag.diagnostics.diagnosis import Cluster, Diagnosis, GroupReport, StraddlingVerdict, Total
from symdiag.diagnostics.units import describe_units, find_clusters, reported_confusion
from symdiag.estimate import Estimate
from symdiag.estimators import GroupStraddling, Straddling, separations
from symdiag.estimators.proposals import one_axis_per_tensor
from symdiag.estimators.sensitivity import Sensitivity, sensitivity
from symdiag.network import Network
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import PermutationSpec
from symdiag.workers import Workers

_SENSITIVITY_ENTRIES = 40_000_000  # weights x draws over all groups
_SENSITIVITY_CUBES = 8_000_000_000  # width³ x draws of one group: a few seconds
_CLUSTER_DRAWS = 16
_OVERFLOW = 700.0


DEFAULT_MAX_STRADDLING = 1.0
"""Nats of straddling entropy above which a posterior counts as straddling."""


def straddling_verdict(
    entropy: Estimate, log_order: float, max_straddling: float = DEFAULT_MAX_STRADDLING
) -> StraddlingVerdict:
    """``ok`` when the whole interval lies below the threshold, ``straddling`` when above."""
    if log_order <= 0.0:
        return "not-applicable"
    if entropy.upper < max_straddling:
        return "ok"
    if entropy.lower > max_straddling:
        return "straddling"
    return "inconclusive"


def sensitivity_draws(parameters: int, width: int) -> int:
    """Draws for marginals and gradients: 64, fewer for large networks, even and at least 2."""
    # Gradients cost weights × draws, marginals width³ × draws; even, because the shift's size is
    # made of two independent halves.
    affordable = min(
        _SENSITIVITY_ENTRIES // max(1, 8 * parameters), _SENSITIVITY_CUBES // max(1, width**3)
    )
    return max(2, min(64, affordable)) // 2 * 2


def diagnose(
    posterior: Posterior,
    spec: PermutationSpec,
    straddling: Straddling,
    *,
    seed: int,
    device: str = "cpu",
    setting: Setting | None = None,
    progress: Callable[[str, float], None] | None = None,
    workers: Workers | None = None,
) -> Diagnosis:
    """Units, clusters and totals for every group of ``spec``.

    ``setting``: forward pass and inputs, by which collapsed units are told; from the weights
        without. ``workers``: processes that share the groups.
    """
    network = None if setting is None else setting.network

    def part_of(k: int) -> _Part:
        generator = np.random.default_rng([seed, 1_000_003, k])
        part = _Part.of(posterior, straddling.groups[k], generator, device, network)
        if progress is not None:
            progress("diagnosing", (k + 1) / len(straddling.groups))
        return part

    parts = (workers or Workers()).map(part_of, range(len(straddling.groups)))
    retention = {part.result.group.name: part.sensitivity.retention for part in parts}
    off = collapsed(posterior, spec, setting or Setting(seed=seed), retention)
    total = Total(
        log_order=spec.log_order,
        straddling_entropy=straddling.total,
        mutual_information=straddling.total_information,
        effective_modes=effective_modes(straddling.total.value),
    )
    return Diagnosis(tuple(part.report(off) for part in parts), total)


def effective_modes(entropy: float) -> float | None:
    """exp H, the number of equivalent modes effectively covered; None where it overflows."""
    return math.exp(entropy) if entropy < _OVERFLOW else None


@dataclass(frozen=True)
class _Part:
    """What is known of one group before it is known which units of the network are collapsed."""

    result: GroupStraddling
    sensitivity: Sensitivity  # without its matrices: (S, n, n) of every group would not fit
    separations: Array  # (n, n)
    clusters: tuple[Cluster, ...]
    signals: Array  # (n, 2)

    @classmethod
    def of(
        cls,
        posterior: Posterior,
        result: GroupStraddling,
        generator: np.random.Generator,
        device: str,
        network: Network | None,
    ) -> _Part:
        group = one_axis_per_tensor(result.group)
        draws = sensitivity_draws(posterior.num_parameters, group.width)
        found = sensitivity(posterior, group, draws=draws, generator=generator, device=device)
        clusters = find_clusters(
            found.confusion,
            found.matrices[:_CLUSTER_DRAWS],
            found.signs[:_CLUSTER_DRAWS],
            generator=generator,
        )
        small = replace(found, matrices=found.matrices[:0], signs=found.signs[:0])
        apart = separations(posterior, group, device)
        return cls(result, small, apart, clusters, signals(posterior, result.group, network))

    def report(self, collapsed: Removable) -> GroupReport:
        group = self.result.group
        off = collapsed.units[group.name]
        return GroupReport(
            name=group.name,
            width=group.width,
            signed=group.signed,
            log_order=group.log_order,
            straddling_entropy=self.result.entropy,
            mutual_information=self.result.information,
            effective_modes=effective_modes(self.result.entropy.value),
            neurons=describe_units(self.sensitivity, self.separations, off, self.signals),
            clusters=tuple(
                replace(c, collapsed=bool(off[list(c.neurons)].all())) for c in self.clusters
            ),
            change_without_collapsed=collapsed.change if off.any() else None,
            change_measured=bool(off.any()) and collapsed.measured,
            confusion=reported_confusion(self.sensitivity.confusion),
        )
