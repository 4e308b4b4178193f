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
            "These units can go: with all of them switched off together, the mean function changes "
            "by at most a tenth of the predictive std (measured through the forward pass where it "
            "is known, on data where they are given; else bounded from the weights). What they add "
            "is noise. Those of them that exchange labels hold up to log k! nats of straddling "
            "entropy: the plain ELBO pays VI about log k nats for each further unit it switches "
            "off. They are not harmless bookkeeping; they are where the symmetry bonus went."
        ),
        action=(
            "Retrain with the symmetrised objective (`symdiag retrain`) and see in the control "
            "comparison whether units come back. If the data do not support more units, none "
            "will, and a narrower layer serves as well: `symdiag prune` writes one."
        ),
        reference="docs/theory/straddling.md, 'Collapsed units'",
    ),
)


def find(context: Context) -> Iterator[Finding]:
    """One finding per group with two or more collapsed units."""
    for group in context.groups:
        units = tuple(n.index for n in group.neurons if n.collapsed)
        if len(units) >= 2:
            yield _finding(context, group, units)


def exchanging(group: GroupReport) -> tuple[int, ...]:
    """Sizes of the sets of collapsed units that exchange labels among each other."""
    off = {n.index for n in group.neurons if n.collapsed}
    sizes = (len(off & set(cluster.neurons)) for cluster in group.clusters)
    return tuple(size for size in sizes if size > 1)


def _finding(context: Context, group: GroupReport, units: tuple[int, ...]) -> Finding:
    return Finding(
        code="SYM003",
        severity="warning",
        group=group.name,
        neurons=units,
        message=(
            f"{len(units)} of {group.width} units of {group.name} are collapsed: {_change(group)}; "
            f"{_held(group)}"
        ),
        measured=float(len(units)),
        threshold=1.0,
        hint=_next(context),
    )


def _next(context: Context) -> str:
    """The narrower net where it can be written; SYM001 names retraining beside it."""
    if context.prune:
        return f"a narrower net does without them: {context.prune}"
    purpose = "the symmetrised objective removes the reward for pruning"
    return f"{purpose}: {context.retrain}" if context.retrain else purpose


def _change(group: GroupReport) -> str:
    change = group.change_without_collapsed
    if change is None:  # a report of an older version
        return "they carry no signal"
    how = "" if group.change_measured else " (bounded from the weights)"
    return f"without them the mean function changes by at most {change:.2g} predictive stds{how}"


def _held(group: GroupReport) -> str:
    sizes = exchanging(group)
    if not sizes:
        off = {n.index for n in group.neurons if n.collapsed}
        loose = sum(len(off & set(cluster.neurons)) for cluster in group.clusters)
        if loose:
            return (
                f"{loose} of them exchange labels with units that stay, none with another of them"
            )
        return "they keep their labels, so next to no straddling is theirs"
    held = sum(math.lgamma(size + 1) for size in sizes)
    flips = sum(sizes) * math.log(2.0) if group.signed else 0.0
    terms = " + ".join(f"log {size}!" for size in sizes)
    terms += f" + {sum(sizes)} log 2" if group.signed else ""
    return (
        f"{sum(sizes)} of them exchange labels and can hold up to {terms} = {held + flips:.2f} nats "
        "of straddling"
    )
