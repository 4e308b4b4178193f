"""SYM004: active units too close to be told apart."""

from __future__ import annotations

from collections.abc import Iterator

from symdiag.diagnostics.diagnosis import Context, Finding, GroupReport, NeuronInfo
from symdiag.errors import Explanation

MIN_SEPARATION = 4.8245 / 2**0.5
"""Unit distance, in stds, whose two label orders lie 4.8245 stds apart.

Below it a single Gaussian on the midpoint is the only optimum of the reverse KL when the units
differ in one weight (docs/reproduction.md, 1)."""
MAX_RETENTION = 0.9

EXPLANATIONS = (
    Explanation(
        code="SYM004",
        title="Active units exchange labels",
        meaning=(
            "Two or more units that do carry signal lie so close, in posterior stds, that weight "
            "samples of one pass for the other. Swapping two units at distance s moves the "
            "weights by √2·s. If the units differ in one weight, a unimodal posterior has no "
            "other optimum than the midpoint between the two orders below 4.82 stds, and the mode "
            "wins only above 5.60; spread over many weights the first threshold falls to about 3."
        ),
        action=(
            "Look at the pair: either the units are redundant, or their difference is being "
            "averaged away. Retrain."
        ),
        reference=(
            "docs/reproduction.md, '1. When does a Gaussian straddle two modes? (Figures 2, 3, "
            "5)'; Gelberg et al. 2024, figures 3 and 5"
        ),
    ),
)


def find(context: Context) -> Iterator[Finding]:
    """One finding per group with active units below the threshold that do lose their labels."""
    for group in context.groups:
        units = [n for n in group.neurons if _is_twin(n)]
        if units:
            yield _finding(context, group, units)


def _is_twin(neuron: NeuronInfo) -> bool:
    # Near is not enough: in many dimensions two near units may still keep their labels.
    close = neuron.separation is not None and neuron.separation < MIN_SEPARATION
    return close and not neuron.collapsed and neuron.retention < MAX_RETENTION


def _finding(context: Context, group: GroupReport, units: list[NeuronInfo]) -> Finding:
    worst = min(units, key=lambda n: n.retention)
    return Finding(
        code="SYM004",
        severity="warning",
        group=group.name,
        neurons=tuple(n.index for n in units),
        message=(
            f"{len(units)} active units of {group.name} exchange labels; worst: unit "
            f"{worst.index}, {worst.separation:.2f} stds from unit {worst.nearest}, keeps its "
            f"label with probability {worst.retention:.2f}"
        ),
        measured=worst.separation,
        threshold=MIN_SEPARATION,
        hint="compare these units' weights, then separate them as far as the data support it"
        + (f": {context.retrain}" if context.retrain else ""),
    )
