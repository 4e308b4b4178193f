"""Tables of an ``analyze`` report: hidden groups, intervals, neurons."""

from __future__ import annotations

from collections.abc import Sequence

from symdiag.diagnostics.diagnosis import (
    Coverage,
    GroupReport,
    Importance,
    ImportanceFit,
    NeuronInfo,
)
from symdiag.estimate import modes
from symdiag.report.document import Bar, Bars, Block, Bullets, Column, Table, Tone
from symdiag.report.kinds.analyze import Report
from symdiag.report.text import interval, listing, number, percent

RETAINED = 0.5
"""A neuron counts as retained when it keeps its own label in more than half of the weight draws."""

WORST = 5
"""Rows of a table of the worst."""

_CAPTION = (
    "log|G|, H and I in nats. H: straddling entropy, from 0 (one mode) to log|G| (symmetric). I = "
    "log|G| - H. modes = exp H. kept: active neurons that keep their label in most draws. off: "
    "collapsed neurons."
)
_KINDS = {
    "exact": "Monte Carlo error over weight draws only",
    "certified": "also bounds that hold for every weight draw",
    "probability": "also bounds that hold with probability 1 - δ",
    "expectation": "also bounds that hold in expectation over weight draws",
    "deterministic": "bounds that need no weight draws: no Monte Carlo error",
}


def group_table(report: Report) -> tuple[Block, ...]:
    """One row per hidden group, and the total if there are several."""
    if not report.groups:
        return ()
    columns = (
        Column("group", numeric=False),
        Column("units"),
        Column("log|G|"),
        Column("H(g|ω)"),
        Column("interval"),
        Column("kind", numeric=False),
        Column("I"),
        Column("modes"),
        Column("kept"),
        Column("off"),
    )
    rows = [_group_row(group) for group in report.groups]
    # the total of one group is that group's row again
    if len(report.groups) > 1:
        rows.append(_total_row(report))
    return (Table(columns, tuple(rows), _group_caption(report)),)


def _group_caption(report: Report) -> str:
    estimates = [g.straddling_entropy for g in report.groups] + [report.total.straddling_entropy]
    kinds = sorted({e.interval for e in estimates}, key=list(_KINDS).index)
    signs = " *: sign flips counted too." if any(group.signed for group in report.groups) else ""
    # Explain only the kinds of interval that occur: the caption is read once per report.
    return f"{_CAPTION} Interval, {_promises(kinds)}{signs}"


def _kept(neuron: NeuronInfo) -> bool:
    """A unit that can go is counted as off, whatever becomes of its label: none is both."""
    return neuron.retention > RETAINED and not neuron.collapsed


def _group_row(group: GroupReport) -> tuple[str, ...]:
    entropy = group.straddling_entropy
    kept = sum(_kept(n) for n in group.neurons)
    return (
        group.name,
        f"{group.width}*" if group.signed else str(group.width),
        number(group.log_order, 1),
        number(entropy.value),
        interval(entropy),
        entropy.interval,
        number(group.mutual_information.value, 2),
        modes(entropy.value),
        str(kept) if group.neurons else "n/a",
        str(sum(n.collapsed for n in group.neurons)) if group.neurons else "n/a",
    )


def _total_row(report: Report) -> tuple[str, ...]:
    total, neurons = report.total, [n for g in report.groups for n in g.neurons]
    entropy = total.straddling_entropy
    return (
        "total",
        str(sum(g.width for g in report.groups)),
        number(total.log_order, 1),
        number(entropy.value),
        interval(entropy),
        entropy.interval,
        number(total.mutual_information.value, 2),
        modes(entropy.value),
        str(sum(_kept(n) for n in neurons)) if neurons else "n/a",
        str(sum(n.collapsed for n in neurons)) if neurons else "n/a",
    )


def interval_table(report: Report) -> tuple[Block, ...]:
    """Every kind of interval apart, where more than one was computed."""
    named = [(g.name, g.straddling_entropy) for g in report.groups] + [
        ("total", report.total.straddling_entropy)
    ]
    # one bracket is the interval that the table of groups shows already
    if not any(len(e.brackets) > 1 for _, e in named):
        return ()
    columns = (
        Column("group", numeric=False),
        Column("promise", numeric=False),
        Column("lower"),
        Column("upper"),
    )
    rows = tuple(
        (name, b.kind, number(b.lower), number(b.upper)) for name, e in named for b in e.brackets
    )
    # in the catalogue's order, so that the captions of two reports read alike
    kinds = [kind for kind in _KINDS if any(row[1] == kind for row in rows)]
    return (Table(columns, rows, "H(g|ω) in nats. " + _promises(kinds)),)


def _promises(kinds: Sequence[str]) -> str:
    return "; ".join(f"{kind}: {_KINDS[kind]}" for kind in kinds) + "."


_NEURON_COLUMNS = (
    Column("group", numeric=False),
    Column("neuron"),
    Column("retention"),
    Column("twin"),
    Column("separation"),
    Column("mean shift"),
    Column("std shift"),
    Column("state", numeric=False),
)
_NEURON_CAPTION = (
    "retention: probability that a weight draw leaves the neuron its own label. separation: "
    "distance to the nearest twin in posterior stds. shifts: the first step of symmetrised "
    "training on its means (in stds) and log stds."
)


def _neuron_row(group: GroupReport, neuron: NeuronInfo) -> tuple[str, ...]:
    return (
        group.name,
        str(neuron.index),
        number(neuron.retention),
        "none" if neuron.nearest is None else str(neuron.nearest),
        number(neuron.separation, 2),
        number(neuron.mean_shift, 1),
        number(neuron.log_std_shift, 2),
        "collapsed" if neuron.collapsed else "active",
    )


def worst_neurons(report: Report) -> tuple[Block, ...]:
    """The neurons that lose their label most often, active ones first, and who swaps with whom."""
    straddlers = [(g, n) for g in report.groups for n in g.neurons if n.retention <= RETAINED]
    # Collapsed units straddle by construction; an active one that does is news.
    ranked = sorted(straddlers, key=lambda pair: (pair[1].collapsed, pair[1].retention))[:WORST]
    if not ranked:
        return ()
    blocks: list[Block] = [
        Table(_NEURON_COLUMNS, tuple(_neuron_row(g, n) for g, n in ranked), _NEURON_CAPTION)
    ]
    clusters = tuple(
        f"{g.name}: neurons {listing(c.neurons)} exchange labels ({number(c.straddling_entropy)} "
        f"nats{', collapsed' if c.collapsed else ''})"
        for g in report.groups
        for c in g.clusters
    )
    if clusters:
        blocks.append(Bullets(clusters[:WORST]))
    return tuple(blocks)


def all_neurons(report: Report) -> tuple[Block, ...]:
    """A chart and a table per group."""
    blocks: list[Block] = []
    for group in report.groups:
        if not group.neurons:
            continue
        blocks.append(
            Bars(f"{group.name}: retention of each neuron", tuple(_bar(n) for n in group.neurons))
        )
        blocks.append(Table(_NEURON_COLUMNS, tuple(_neuron_row(group, n) for n in group.neurons)))
    return tuple(blocks)


def _bar(neuron: NeuronInfo) -> Bar:
    tone: Tone = "muted" if neuron.collapsed else "good" if neuron.retention > RETAINED else "bad"
    state = "collapsed" if neuron.collapsed else "active"
    return Bar(
        str(neuron.index), neuron.retention, f"retention {number(neuron.retention)}, {state}", tone
    )


def importance_rows(found: Importance) -> list[tuple[str, str]]:
    """Pareto k̂ of both kinds of weights, and the bound that the better ones give."""
    best = found.symmetrized or found.plain
    rows = [("Pareto k of p/q", _tail(found.plain))]
    last = f"not computed: {found.left_out}" if found.symmetrized is None else _tail(best)
    rows.append(("Pareto k of p/q^G", last))
    bound = f"{number(best.bound.value, 2)} nats, above {number(best.bound.lower, 2)} with 95 %"
    rows.append(("log p(Y|X) at least", f"{bound} ({best.bound.samples} weights)"))
    return rows


def _tail(fit: ImportanceFit) -> str:
    """k̂ with its error and what it is measured against."""
    if fit.pareto_k is None:
        return "n/a: the weights do not differ"
    judged = "far from the posterior" if fit.far else "near"
    if not fit.far and fit.pareto_k > fit.reliable_below:
        judged = "not decided"
    error = f" ± {number(fit.std_error, 2)}"
    limit = number(fit.reliable_below, 2)
    return f"{number(fit.pareto_k, 2)}{error}, near up to {limit}: {judged}"


def coverage_row(found: Coverage) -> tuple[str, str]:
    """Test targets inside a predictive interval, against what it promises."""
    ends = f"[{percent(found.lower, 1.0)}, {percent(found.upper, 1.0)}]"
    return f"inside {found.level:.0%}", f"{percent(found.share, 1.0)} of test points, {ends}"
