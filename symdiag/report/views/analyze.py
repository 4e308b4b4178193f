"""What ``analyze`` found, verdict first."""

from __future__ import annotations

import re
import shlex

from symdiag.diagnostics.diagnosis import Finding, GroupReport
from symdiag.diagnostics.findings import CATALOGUE
from symdiag.estimate import modes
from symdiag.report.document import (
    Block,
    Bullets,
    Check,
    Column,
    Command,
    Document,
    Facts,
    Notice,
    Outcome,
    Section,
    Table,
    Tone,
    step,
)
from symdiag.report.kinds.align import AlignedTo
from symdiag.report.kinds.analyze import LaplaceEvidence, ModelInfo, Report
from symdiag.report.text import amount, interval, listing, number, percent, plural
from symdiag.report.views._kl_weight import collapse_cause, kl_weight_blocks
from symdiag.report.views._tables import (
    WORST,
    all_neurons,
    coverage_row,
    group_table,
    importance_rows,
    interval_table,
    worst_neurons,
)

_TONES: dict[str, Tone] = {
    "ok": "good",
    "straddling": "bad",
    "inconclusive": "warn",
    "not-applicable": "muted",
}


def document(report: Report) -> Document:
    """The report as sections: hidden groups, worst neurons, findings, coverage, what next."""
    sections = (
        Section("Hidden groups", group_table(report)),
        Section("Intervals by what they promise", interval_table(report)),
        Section("Worst neurons", worst_neurons(report)),
        Section("Findings", _findings(report)),
        Section("Evidence on the data given", _evidence(report)),
        Section("Evidence by Laplace's method", _laplace(report.laplace)),
        Section("Weight of the KL", kl_weight_blocks(report)),
        Section("The paper's estimator", _baseline(report)),
        Section("Alignment to the reference", _alignment(report.alignment)),
        Section("Coverage and assumptions", _coverage(report)),
        Section("All neurons", all_neurons(report), detail=True),
        Section("Layers", _layers(report.model), detail=True),
        Section("Settings", _settings(report), detail=True),
        Section("What to do next", _next(report)),
    )
    return Document(
        subject=report.model.path,
        verdict=report.verdict,
        tone=_TONES[report.verdict],
        headline=" ".join(filter(None, (headline(report), collapse_cause(report)))),
        sections=tuple(s for s in sections if s.blocks),
        checks=_checks(report),
        conditions=(*report.network_lines, _covered(report.model), *_remarks(report.model)),
    )


def headline(report: Report) -> str:
    """The verdict in one sentence."""
    entropy, allowed = report.total.straddling_entropy, number(report.settings.max_straddling, 2)
    measured = (
        f"H(g|ω) = {number(entropy.value)} nats, interval {interval(entropy)}, allowed {allowed}"
    )
    # on an assumed network the verdict itself is inconclusive; the words give the conditional one
    # with its condition beside it
    verdict, given = report.verdict_if_chain or report.verdict, report.condition
    if verdict == "straddling":
        many = modes(entropy.value)
        return (
            f"STRADDLING{given}: this posterior is spread over about {many} equivalent modes "
            f"({measured})."
        )
    if verdict == "ok":
        return f"OK{given}: this posterior stays within the limit on mode straddling ({measured})."
    if verdict == "inconclusive":
        return f"INCONCLUSIVE{given}: the limit lies inside the interval ({measured})."
    return "NOT APPLICABLE: no hidden group has a symmetry to straddle, so nothing was tested."


def _findings(report: Report) -> tuple[Block, ...]:
    return tuple(_notice(finding, report.model.path) for finding in report.findings)


def _notice(finding: Finding, path: str) -> Notice:
    neurons = ("neuron " if len(finding.neurons) == 1 else "neurons ") + listing(finding.neurons)
    where = ", ".join(
        part for part in (finding.group or "", neurons if finding.neurons else "") if part
    )
    allowed = f", allowed {amount(finding.threshold)}" if finding.threshold is not None else ""
    measured = (
        f"Measured {amount(finding.measured)}{allowed}." if finding.measured is not None else ""
    )
    action = _command(finding.hint, path)
    return Notice(
        finding.code,
        finding.severity,
        finding.message,
        where,
        measured,
        _meaning(finding.code),
        action,
    )


def _meaning(code: str) -> str:
    """The catalogue's first sentence on ``code``; empty for codes of another version."""
    known = CATALOGUE.get(code)
    return re.split(r"(?<=[.!?]) ", known.meaning, maxsplit=1)[0] if known is not None else ""


def _command(hint: str, path: str) -> str:
    """A hint with its placeholder filled in, so that it can be pasted."""
    # A function as replacement: a path may hold backslashes, which a string would interpret.
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
        rows += [] if elbo.importance is None else importance_rows(elbo.importance)
    rows += [(f"test {name}", number(value, 4)) for name, value in (report.test or {}).items()]
    rows += [coverage_row(found) for found in report.coverage]
    return (Facts(tuple(rows)),) if rows else ()


def _laplace(found: LaplaceEvidence | None) -> tuple[Block, ...]:
    if found is None:
        return ()
    rows = [
        (name, "n/a" if value is None else f"{number(value, 2)} nats")
        for name, value in (
            ("log-lik. of the means", found.log_likelihood),
            ("log det ratio", found.log_det_ratio),
            ("scatter", found.scatter),
            ("log p(Y|X), one mode", found.uncorrected),
        )
    ]
    if found.corrected is not None:
        value = f"{number(found.corrected.value, 2)} nats {interval(found.corrected)}"
        rows.append(("all modes, + I(g; ω)", value))
    return (Facts(tuple(rows)), *((Bullets((found.left_out,)),) if found.left_out else ()))


def _baseline(report: Report) -> tuple[Block, ...]:
    found = report.baseline
    if found is None:
        return ()
    # I^K is at most log K, however large I is: at the ceiling it says no more than that
    reached = "reached: the truth may be anything above" if found.saturated else "not reached"
    ours = report.total.mutual_information
    rows = (
        (
            f"I^K, K = {found.num_elements}",
            f"{number(found.mutual_information.value, 2)} nats, a lower bound on I",
        ),
        ("its ceiling", f"log {found.num_elements} = {number(found.ceiling, 2)} nats, {reached}"),
        ("I here", f"{number(ours.value, 2)} nats, interval {interval(ours)}"),
    )
    return (Facts(rows),)


def _alignment(found: AlignedTo | None) -> tuple[Block, ...]:
    if found is None:
        return ()
    share = percent(found.distance.relabelling_share, 1.0)
    before, after = number(found.distance.before), number(found.distance.after)
    rows = (
        ("reference", found.reference.path),
        ("verdict", found.verdict),
        ("distance", f"{before} before, {after} after; {share} was labels"),
        ("certificate", found.certificate.statement),
    )
    return (Facts(rows),)


def _coverage(report: Report) -> tuple[Block, ...]:
    model = report.model
    scales = f", scales stored as {model.scale_transform}" if model.scale_transform else ""
    rows = [
        ("covered", _covered(model)),
        ("read as", model.format + scales),
        *(("network", line.partition(" ")[2]) for line in report.network_lines),
        ("activation", model.activation or "unknown: only permutations considered, not sign flips"),
    ]
    # a model without random weights has no range to show
    if model.scale_range is not None:
        low, high = model.scale_range
        rows.append(("posterior stds", f"{low:.3g} to {high:.3g}"))
    if model.deterministic_parameters:
        weights = plural(model.deterministic_parameters, "weight")
        rows.append(("deterministic", f"{weights} of zero width"))
    remarks = _remarks(model)
    return (Facts(tuple(rows)), *((Bullets(remarks),) if remarks else ()))


def _covered(model: ModelInfo) -> str:
    share = percent(model.covered_parameters, model.parameters)
    covered = f"{model.covered_parameters:,} of {model.parameters:,} parameters"
    return f"{covered} ({share}) lie in a group"


def _remarks(model: ModelInfo) -> tuple[str, ...]:
    """What no group covers, what was assumed, what of the file was not used."""
    items = [
        f"not covered: {u.name} ({plural(u.parameters, 'parameter')}): {u.reason}"
        for u in model.uncovered
    ]
    items += [f"assumed: {text}" for text in model.assumptions]
    items += [f"ignored: {key} ({reason})" for key, reason in model.ignored[:WORST]]
    if len(model.ignored) > WORST:
        more = len(model.ignored) - WORST
        items.append(f"ignored: {more} more keys, all listed in the JSON report")
    return tuple(items)


def _layers(model: ModelInfo) -> tuple[Block, ...]:
    columns = (
        Column("layer", numeric=False),
        Column("kind", numeric=False),
        Column("shape", numeric=False),
    )
    rows = tuple(
        (layer.name, layer.kind, " x ".join(map(str, layer.shape))) for layer in model.layers
    )
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
    # Findings come worst first, so the first hint is the one that matters.
    # notes carry hints, too; none of them is what the verdict turns on
    first = next((f for f in report.findings if f.hint and f.severity != "info"), None)
    if first is None:
        return (step(_default_next(report)),)
    explain = Command(f"symdiag explain {first.code}", "what it means")
    return (step(_command(first.hint, report.model.path)), explain)


def _default_next(report: Report) -> str:
    # with the options that it was read with: without them the next command may refuse the file
    path = shlex.join((report.model.path, *report.model.read_with))
    if report.verdict == "straddling":
        return f"symdiag retrain {path} --data TRAIN.npz -o fixed.pt"
    if report.verdict == "inconclusive":
        return f"more draws: symdiag analyze {path} --samples {4 * report.settings.samples}"
    if report.verdict == "not-applicable":
        return "nothing: a model without interchangeable hidden units has one mode by construction"
    return (
        "nothing now. After the next training, against this report as JSON: "
        "symdiag compare BEFORE.json AFTER.pt"
    )


def _checks(report: Report) -> tuple[Check, ...]:
    # inconclusive is skipped: a test that could not decide must not turn a build red or green
    outcomes: dict[str, Outcome] = {"ok": "passed", "straddling": "failed"}
    total = Check(
        "total straddling entropy", outcomes.get(report.verdict, "skipped"), headline(report)
    )
    return (total, *(_group_check(report, group) for group in report.groups))


def _group_check(report: Report, group: GroupReport) -> Check:
    """A group fails with the verdict if it exceeds the limit itself, or on its own error."""
    # The total may straddle though no single group does: then only the total's check fails.
    over = (
        group.straddling_entropy.lower > report.settings.max_straddling
        and report.verdict == "straddling"
    )
    own = [f for f in report.findings if f.group == group.name]
    failed = over or any(f.severity == "error" for f in own)
    entropy = group.straddling_entropy
    message = f"H(g|ω) = {number(entropy.value)} nats {interval(entropy)}"
    details = tuple(f"{f.code} {f.severity}: {f.message}" for f in own)
    return Check(f"group {group.name}", "failed" if failed else "passed", message, details)
