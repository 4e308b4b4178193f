"""What ``analyze`` found, verdict first."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from symdiag.report.align_model import Distance, Proof, Side
from symdiag.report.decode import decode
from symdiag.report.document import (
    Bar,
    Bars,
    Block,
    Bullets,
    Check,
    Column,
    Document,
    Facts,
    Notice,
    Outcome,
    Section,
    Table,
    Tone,
)
from symdiag.report.meaning import meaning
from symdiag.report.model import Finding, GroupReport, ModelInfo, NeuronInfo, Report
from symdiag.report.text import amount, interval, listing, modes, number, percent, plural

KIND = "analyze"
MODEL = Report

RETAINED = 0.5
"""A neuron counts as retained when it keeps its own label in more than half of the weight draws."""

WORST = 5

_TONES: dict[str, Tone] = {"ok": "good", "straddling": "bad", "inconclusive": "warn", "not-applicable": "muted"}

_CAPTION = (
    "log|G|, H and I in nats. H: straddling entropy, from 0 (one mode) to log|G| (symmetric). I = log|G| - H. "
    "modes = exp H. kept: neurons that keep their label in most draws. off: collapsed neurons."
)
_KINDS = {
    "exact": "Monte Carlo error over weight draws only",
    "certified": "also bounds that hold for every weight draw",
    "probability": "also bounds that hold with probability 1 - δ",
    "expectation": "also bounds that hold in expectation over weight draws",
}


def document(report: Report) -> Document:
    """The report as sections: hidden groups, worst neurons, findings, coverage, what next."""
    sections = (
        Section("Hidden groups", _groups(report)),
        Section("Intervals by what they promise", _brackets(report)),
        Section("Worst neurons", _worst(report)),
        Section("Findings", _findings(report)),
        Section("Evidence on the data given", _evidence(report)),
        Section("Alignment to the reference", _alignment(report.alignment)),
        Section("Coverage and assumptions", _coverage(report.model)),
        Section("All neurons", _neurons(report), detail=True),
        Section("Layers", _layers(report.model), detail=True),
        Section("Settings", _settings(report), detail=True),
        Section("What to do next", _next(report)),
    )
    return Document(
        subject=report.model.path,
        verdict=report.verdict,
        tone=_TONES[report.verdict],
        headline=headline(report),
        sections=tuple(s for s in sections if s.blocks),
        checks=_checks(report),
    )


def headline(report: Report) -> str:
    """The verdict in one sentence."""
    entropy, allowed = report.total.straddling_entropy, number(report.settings.max_straddling, 2)
    measured = f"H(g|ω) = {number(entropy.value)} nats, interval {interval(entropy)}, allowed {allowed}"
    if report.verdict == "straddling":
        many = modes(entropy, report.total.effective_modes)
        return f"STRADDLING: this posterior is spread over about {many} equivalent modes ({measured})."
    if report.verdict == "ok":
        return f"OK: this posterior stays within the limit on mode straddling ({measured})."
    if report.verdict == "inconclusive":
        return f"INCONCLUSIVE: the limit lies inside the interval ({measured})."
    return "NOT APPLICABLE: no hidden group has a symmetry to straddle, so nothing was tested."


def _groups(report: Report) -> tuple[Block, ...]:
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
    if len(report.groups) > 1:
        rows.append(_total_row(report))
    return (Table(columns, tuple(rows), _group_caption(report)),)


def _group_caption(report: Report) -> str:
    estimates = [g.straddling_entropy for g in report.groups] + [report.total.straddling_entropy]
    kinds = sorted({e.interval for e in estimates}, key=list(_KINDS).index)
    signs = " *: sign flips counted too." if any(group.signed for group in report.groups) else ""
    return f"{_CAPTION} Interval, {_promises(kinds)}{signs}"


def _group_row(group: GroupReport) -> tuple[str, ...]:
    entropy = group.straddling_entropy
    kept = sum(n.retention > RETAINED for n in group.neurons)
    return (
        group.name,
        f"{group.width}*" if group.signed else str(group.width),
        number(group.log_order, 1),
        number(entropy.value),
        interval(entropy),
        entropy.interval,
        number(group.mutual_information.value, 2),
        modes(entropy, group.effective_modes),
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
        modes(entropy, total.effective_modes),
        str(sum(n.retention > RETAINED for n in neurons)) if neurons else "n/a",
        str(sum(n.collapsed for n in neurons)) if neurons else "n/a",
    )


def _brackets(report: Report) -> tuple[Block, ...]:
    """Every kind of interval apart, where more than one was computed."""
    named = [(g.name, g.straddling_entropy) for g in report.groups] + [("total", report.total.straddling_entropy)]
    if not any(len(e.brackets) > 1 for _, e in named):
        return ()
    columns = (Column("group", numeric=False), Column("promise", numeric=False), Column("lower"), Column("upper"))
    rows = tuple((name, b.kind, number(b.lower), number(b.upper)) for name, e in named for b in e.brackets)
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
    "retention: probability that a weight draw leaves the neuron its own label. separation: distance to the nearest "
    "twin in posterior stds. shifts: where symmetrised training pushes its means (in stds) and its log stds."
)


def _neuron_row(group: GroupReport, neuron: NeuronInfo) -> tuple[str, ...]:
    return (
        group.name,
        str(neuron.index),
        number(neuron.retention),
        "none" if neuron.nearest is None else str(neuron.nearest),
        number(neuron.separation, 2),
        number(neuron.mean_shift),
        number(neuron.log_std_shift),
        "collapsed" if neuron.collapsed else "active",
    )


def _worst(report: Report) -> tuple[Block, ...]:
    straddlers = [(g, n) for g in report.groups for n in g.neurons if n.retention <= RETAINED]
    ranked = sorted(straddlers, key=lambda pair: (pair[1].collapsed, pair[1].retention))[:WORST]
    if not ranked:
        return ()
    blocks: list[Block] = [Table(_NEURON_COLUMNS, tuple(_neuron_row(g, n) for g, n in ranked), _NEURON_CAPTION)]
    clusters = tuple(
        f"{g.name}: neurons {listing(c.neurons)} exchange labels ({number(c.straddling_entropy)} nats"
        f"{', collapsed' if c.collapsed else ''})"
        for g in report.groups
        for c in g.clusters
    )
    if clusters:
        blocks.append(Bullets(clusters[:WORST]))
    return tuple(blocks)


def _neurons(report: Report) -> tuple[Block, ...]:
    blocks: list[Block] = []
    for group in report.groups:
        if not group.neurons:
            continue
        blocks.append(Bars(f"{group.name}: retention of each neuron", tuple(_bar(n) for n in group.neurons)))
        blocks.append(Table(_NEURON_COLUMNS, tuple(_neuron_row(group, n) for n in group.neurons)))
    return tuple(blocks)


def _bar(neuron: NeuronInfo) -> Bar:
    tone: Tone = "muted" if neuron.collapsed else "good" if neuron.retention > RETAINED else "bad"
    state = "collapsed" if neuron.collapsed else "active"
    return Bar(str(neuron.index), neuron.retention, f"retention {number(neuron.retention)}, {state}", tone)


def _findings(report: Report) -> tuple[Block, ...]:
    return tuple(_notice(finding, report.model.path) for finding in report.findings)


def _notice(finding: Finding, path: str) -> Notice:
    neurons = ("neuron " if len(finding.neurons) == 1 else "neurons ") + listing(finding.neurons)
    where = ", ".join(part for part in (finding.group or "", neurons if finding.neurons else "") if part)
    allowed = f", allowed {amount(finding.threshold)}" if finding.threshold is not None else ""
    measured = f"Measured {amount(finding.measured)}{allowed}." if finding.measured is not None else ""
    action = _command(finding.hint, path)
    return Notice(finding.code, finding.severity, finding.message, where, measured, meaning(finding.code), action)


def _command(hint: str, path: str) -> str:
    """A hint with its placeholder filled in, so that it can be pasted."""
    return re.sub(r"\bMODEL\b", lambda _: shlex.quote(path), hint)


def _evidence(report: Report) -> tuple[Block, ...]:
    rows: list[tuple[str, str]] = []
    if report.elbo is not None:
        elbo = report.elbo
        rows += [
            (label, f"{number(e.value, 2)} nats {interval(e)}")
            for label, e in (
                ("ELBO", elbo.standard),
                ("symmetrised ELBO", elbo.symmetrized),
                ("expected log-lik.", elbo.expected_log_likelihood),
            )
        ]
        rows.append(("KL to the prior", f"{number(elbo.kl, 2)} nats"))
        noise = "" if elbo.noise_std is None else f", noise std {number(elbo.noise_std)}"
        rows.append(("likelihood", elbo.likelihood + noise))
    rows += [(f"test {name}", number(value, 4)) for name, value in (report.test or {}).items()]
    return (Facts(tuple(rows)),) if rows else ()


@dataclass(frozen=True)
class _Aligned:
    """The part of ``Report.alignment`` that is shown."""

    reference: Side
    distance: Distance
    certificate: Proof
    verdict: str


def _alignment(section: dict[str, Any] | None) -> tuple[Block, ...]:
    if section is None:
        return ()
    found = decode(_Aligned, section, "report.alignment")
    share = percent(found.distance.relabelling_share, 1.0)
    before, after = number(found.distance.before), number(found.distance.after)
    rows = (
        ("reference", found.reference.path),
        ("verdict", found.verdict),
        ("distance", f"{before} before, {after} after; {share} was labels"),
        ("certificate", found.certificate.statement),
    )
    return (Facts(rows),)


def _coverage(model: ModelInfo) -> tuple[Block, ...]:
    share = percent(model.covered_parameters, model.parameters)
    rows = [
        ("covered", f"{model.covered_parameters:,} of {model.parameters:,} parameters ({share}) lie in a group"),
        ("read as", model.format + (f", scales stored as {model.scale_transform}" if model.scale_transform else "")),
        ("activation", model.activation or "unknown: only permutations considered, not sign flips"),
    ]
    if model.scale_range is not None:
        low, high = model.scale_range
        rows.append(("posterior stds", f"{low:.3g} to {high:.3g}"))
    if model.deterministic_parameters:
        rows.append(("deterministic", plural(model.deterministic_parameters, "weight") + " of zero width"))
    blocks: list[Block] = [Facts(tuple(rows))]
    items = [f"not covered: {u.name} ({plural(u.parameters, 'parameter')}): {u.reason}" for u in model.uncovered]
    items += [f"assumed: {text}" for text in model.assumptions]
    items += [f"ignored: {key} ({reason})" for key, reason in model.ignored[:WORST]]
    if len(model.ignored) > WORST:
        items.append(f"ignored: {len(model.ignored) - WORST} more keys, all listed in the JSON report")
    if items:
        blocks.append(Bullets(tuple(items)))
    return tuple(blocks)


def _layers(model: ModelInfo) -> tuple[Block, ...]:
    columns = (Column("layer", numeric=False), Column("kind", numeric=False), Column("shape", numeric=False))
    rows = tuple((layer.name, layer.kind, " x ".join(map(str, layer.shape))) for layer in model.layers)
    return (Table(columns, rows),) if rows else ()


def _settings(report: Report) -> tuple[Block, ...]:
    settings = report.settings
    rows = [
        ("seed", str(settings.seed)),
        ("weight draws", str(settings.samples)),
        ("estimator", settings.estimator),
        ("method", report.total.straddling_entropy.method),
        ("sha256", report.model.sha256),
        ("symdiag", report.tool.get("version", "")),
    ]
    return (Facts(tuple(rows)),)


def _next(report: Report) -> tuple[Block, ...]:
    """The step that the worst finding asks for; the others stand beside their findings."""
    first = next((f for f in report.findings if f.hint and f.severity != "info"), None)
    if first is None:
        return (Bullets((_default_next(report),)),)
    explain = f"symdiag explain {first.code}"
    return (Bullets((_command(first.hint, report.model.path), explain)),)


def _default_next(report: Report) -> str:
    path = shlex.quote(report.model.path)
    if report.verdict == "straddling":
        return f"symdiag retrain {path} --data train.npz -o fixed.pt"
    if report.verdict == "inconclusive":
        return f"symdiag analyze {path} --samples {4 * report.settings.samples}"
    if report.verdict == "not-applicable":
        return "nothing: a model without interchangeable hidden units has one mode by construction"
    return "nothing: store the JSON report and run `symdiag compare` against it after the next training"


def _checks(report: Report) -> tuple[Check, ...]:
    outcomes: dict[str, Outcome] = {"ok": "passed", "straddling": "failed"}
    total = Check("total straddling entropy", outcomes.get(report.verdict, "skipped"), headline(report))
    return (total, *(_group_check(report, group) for group in report.groups))


def _group_check(report: Report, group: GroupReport) -> Check:
    """A group fails with the verdict if its own entropy exceeds the limit, or on an error of its own."""
    over = group.straddling_entropy.lower > report.settings.max_straddling and report.verdict == "straddling"
    own = [f for f in report.findings if f.group == group.name]
    failed = over or any(f.severity == "error" for f in own)
    message = f"H(g|ω) = {number(group.straddling_entropy.value)} nats {interval(group.straddling_entropy)}"
    details = tuple(f"{f.code} {f.severity}: {f.message}" for f in own)
    return Check(f"group {group.name}", "failed" if failed else "passed", message, details)
