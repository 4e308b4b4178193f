"""Everything ``analyze`` says about a posterior, from its estimates: groups, totals, verdict."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from symdiag.diagnostics.collapse import collapsed
from symdiag.diagnostics.diagnosis import Diagnosis, GroupReport, StraddlingVerdict, Total
from symdiag.diagnostics.units import describe_units, find_clusters
from symdiag.estimate import Estimate
from symdiag.estimators import GroupStraddling, Straddling, separations
from symdiag.estimators.proposals import one_axis_per_tensor
from symdiag.estimators.sensitivity import sensitivity
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import PermutationSpec

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
    progress: Callable[[str, float], None] | None = None,
) -> Diagnosis:
    """Units, clusters and totals for every group of ``spec``."""
    reports = []
    for k, result in enumerate(straddling.groups):
        # A stream of its own per group: one group's work never shifts another's draws.
        generator = np.random.default_rng([seed, 1_000_003, k])
        reports.append(_group_report(posterior, result, generator, device))
        if progress is not None:
            progress("diagnosing", (k + 1) / len(straddling.groups))
    total = Total(
        log_order=spec.log_order,
        straddling_entropy=straddling.total,
        mutual_information=straddling.total_information,
        effective_modes=effective_modes(straddling.total.value),
    )
    return Diagnosis(tuple(reports), total)


def effective_modes(entropy: float) -> float | None:
    """exp H, the number of equivalent modes effectively covered; None where it overflows."""
    return math.exp(entropy) if entropy < _OVERFLOW else None


def _group_report(
    posterior: Posterior, result: GroupStraddling, generator: np.random.Generator, device: str
) -> GroupReport:
    # A permanent needs each tensor on one axis; recurrent weights are reduced to theirs.
    group = one_axis_per_tensor(result.group)
    draws = sensitivity_draws(posterior.num_parameters, group.width)
    found = sensitivity(posterior, group, draws=draws, generator=generator, device=device)
    # Collapse looks at all axes, also those that the permanent had to leave out.
    off = collapsed(posterior, result.group)
    clusters = find_clusters(
        found.confusion, found.matrices[:_CLUSTER_DRAWS], off, generator=generator
    )
    return GroupReport(
        name=result.group.name,
        width=result.group.width,
        signed=result.group.signed,
        log_order=result.group.log_order,
        straddling_entropy=result.entropy,
        mutual_information=result.information,
        effective_modes=effective_modes(result.entropy.value),
        neurons=describe_units(found, separations(posterior, group, device), off),
        clusters=clusters,
    )
