"""SYM003: collapsed (pruned) units."""

from __future__ import annotations

import math
from collections.abc import Iterator

from symdiag.diagnostics.diagnosis import Context, Finding, GroupReport
from symdiag.errors import Explanation

EXPLANATIONS = (
    Explanation(
        code="SYM003",
        title="Collapsed units",
        meaning=(
            "These units do nothing: all weights into them, or all weights out of them, are lost "
            "in their own stds. k such units are interchangeable and hold about log k! nats of "
            "straddling entropy: the plain ELBO pays VI about log k nats for each further unit it "
            "switches off. They are not harmless bookkeeping; they are where the symmetry bonus "
            "went."
        ),
        action=(
            "Retrain with the symmetrised objective (`symdiag retrain`) and see in the control "
            "comparison whether units come back. If the data do not support more units, none "
            "will, and a narrower layer serves as well."
        ),
        reference="docs/theory/straddling.md, 'Collapsed units'",
    ),
)


def find(context: Context) -> Iterator[Finding]:
    """One finding per group with two or more collapsed units."""
    for group in context.groups:
        units = tuple(n.index for n in group.neurons if n.collapsed)
        if len(units) >= 2:
            yield _finding(group, units)


def _finding(group: GroupReport, units: tuple[int, ...]) -> Finding:
    held = math.lgamma(len(units) + 1)
    return Finding(
        code="SYM003",
        severity="warning",
        group=group.name,
        neurons=units,
        message=(
            f"{len(units)} of {group.width} units of {group.name} are collapsed; interchangeable, "
            f"they can hold up to log {len(units)}! = {held:.2f} nats of straddling"
        ),
        measured=float(len(units)),
        threshold=1.0,
        hint=(
            "the symmetrised objective removes the reward for pruning: symdiag retrain MODEL "
            "--data train.npz"
        ),
    )
