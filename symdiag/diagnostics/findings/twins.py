"""SYM004: active units too close to be told apart."""

from __future__ import annotations

from collections.abc import Iterator

from symdiag.diagnostics.context import Context
from symdiag.diagnostics.explanation import Explanation
from symdiag.diagnostics.model import Finding, GroupReport, NeuronInfo

MIN_SEPARATION = 4.83 / 2**0.5
"""Unit distance, in stds, whose two label orders lie 4.83 stds apart: below it a single Gaussian on the
midpoint is the only optimum of the reverse KL (two unit Gaussians; DESIGN.md 1.8)."""
MAX_RETENTION = 0.9

EXPLANATIONS = (
    Explanation(
        code="SYM004",
        title="Active units exchange labels",
        meaning=(
            "Two or more units that do carry signal lie so close, in posterior stds, that weight samples of one pass "
            "for the other. Swapping two units at distance s moves the weights by √2·s; below 4.83 stds a unimodal "
            "posterior prefers the midpoint between the two orders to either of them."
        ),
        action="Look at the pair: either the units are redundant, or their difference is being averaged away. Retrain.",
        reference="DESIGN 1.8: thresholds 4.83σ (midpoint only) and 5.60σ (mode globally better)",
    ),
)


def find(context: Context) -> Iterator[Finding]:
    """One finding per group with active units below the threshold that do lose their labels."""
    for group in context.groups:
        units = [n for n in group.neurons if _is_twin(n)]
        if units:
            yield _finding(group, units)


def _is_twin(neuron: NeuronInfo) -> bool:
    close = neuron.separation is not None and neuron.separation < MIN_SEPARATION
    return close and not neuron.collapsed and neuron.retention < MAX_RETENTION


def _finding(group: GroupReport, units: list[NeuronInfo]) -> Finding:
    worst = min(units, key=lambda n: n.retention)
    return Finding(
        code="SYM004",
        severity="warning",
        group=group.name,
        neurons=tuple(n.index for n in units),
        message=(
            f"{len(units)} active units of {group.name} exchange labels; worst: unit {worst.index}, "
            f"{worst.separation:.2f} stds from unit {worst.nearest}, keeps its label with probability "
            f"{worst.retention:.2f}"
        ),
        measured=worst.separation,
        threshold=MIN_SEPARATION,
        hint="compare these units' weights; symdiag retrain separates them where the data support it",
    )
