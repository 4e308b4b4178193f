"""What ``prune`` removed, and the wide and the narrower posterior side by side."""

from __future__ import annotations

from collections.abc import Callable

from symdiag.estimate import Estimate
from symdiag.report.document import Check, Column, Document, Facts, Paragraph, Section, Table
from symdiag.report.kinds.prune import PruneReport, Stage
from symdiag.report.kinds.retrain import Change
from symdiag.report.text import amount, number


def document(report: PruneReport) -> Document:
    """One table of figures, then what they compare and where the result is."""
    return Document(
        subject=report.model.path,
        verdict=report.verdict,
        tone="good" if report.verdict == "pruned" else "muted",
        headline=headline(report),
        sections=(
            Section("Wide and narrower", (_table(report),)),
            *(
                (Section("What this compares", (Paragraph(report.statement),)),)
                if report.verdict == "pruned"
                else ()
            ),
            Section("Written", (Paragraph(_written(report)),)),
            Section("Settings", (_settings(report),), detail=True),
        ),
        conditions=(
            *report.network_lines,
            *(f"assumed: {text}" for text in report.model.assumptions),
        ),
        checks=(Check("mean function kept", "passed", headline(report)),),
    )


def headline(report: PruneReport) -> str:
    """The verdict in one sentence."""
    if report.verdict == "nothing to prune":
        return (
            "NOTHING TO PRUNE: no unit was found without which the mean function changes by at most "
            f"{report.settings.tolerance:g} predictive stds."
        )
    widths = ", ".join(f"{r.group} {r.width} -> {r.left}" for r in report.removed if r.units)
    return (
        f"PRUNED: {widths}; the mean function changes by at most {report.mean_change:.2g} "
        "predictive stds."
    )


_ROWS: tuple[tuple[str, str, Callable[[Stage], Estimate | float | None]], ...] = (
    ("", "parameters", lambda s: float(s.parameters)),
    ("", "log|G|", lambda s: s.log_order),
    ("straddling_entropy", "straddling entropy H(g|ω)", lambda s: s.straddling_entropy),
    ("", "predictive std", lambda s: s.predictive_std),
    ("elbo", "ELBO L", lambda s: s.elbo),
    ("symmetrized", "symmetrised ELBO L^G", lambda s: s.symmetrized),
    ("log_likelihood", "expected log-likelihood", lambda s: s.log_likelihood),
    ("kl", "KL(q || prior)", lambda s: s.kl),
    ("test_nll", "test NLL per point", lambda s: None if s.test is None else s.test.nll),
    ("metric", "test", lambda s: None if s.test is None else s.test.metric),
)


def _table(report: PruneReport) -> Table:
    # the last stage against the first: what a user of the narrower file gets
    last = report.changes_polished or report.changes
    changes = {c.name: c for c in last}
    columns = (
        Column("", numeric=False),
        *(Column(stage.name) for stage in report.stages),
        *((Column(f"{report.stages[-1].name} - before"), Column("interval")) if last else ()),
    )
    rows = [("widths", *(_widths(s) for s in report.stages), *(("", "") if last else ()))]
    for name, label, value in _ROWS:
        figures = [value(stage) for stage in report.stages]
        # without data there is no evidence and no score: those rows are left out
        if all(figure is None for figure in figures):
            continue
        test = report.stages[0].test
        # the likelihood decides between rmse and accuracy, as the changes are keyed
        if name == "metric" and test is not None:
            name, label = test.metric_name, f"test {test.metric_name}"
        found = changes.get(name)
        rows.append((label, *(_figure(f) for f in figures), *(_change(found) if last else ())))
    caption = "Nats over the training set unless said otherwise; intervals of about 95 %, paired."
    return Table(columns, tuple(rows), caption if last else "Nats.")


def _widths(stage: Stage) -> str:
    return "-".join(str(width) for width in stage.widths)


def _figure(value: Estimate | float | None) -> str:
    if value is None:
        return "n/a"
    if isinstance(value, Estimate):
        return number(value.value)
    return amount(value) if value == round(value) else number(value)


def _change(change: Change | None) -> tuple[str, str]:
    if change is None:
        return "", ""
    sign = "+" if change.value > 0 else ""
    # a point is no interval: printed as one it would claim certainty
    if change.lower is None or change.upper is None or change.lower == change.upper:
        return sign + number(change.value), ""
    return sign + number(change.value), f"[{number(change.lower)}, {number(change.upper)}]"


def _written(report: PruneReport) -> str:
    if report.output is not None:
        return f"The narrower posterior is in {report.output}, in the format of the wide one."
    if report.verdict == "nothing to prune":
        return "Nothing was written."
    return "Nothing was written: no output file was named."


def _settings(report: PruneReport) -> Facts:
    s = report.settings
    rows = [
        ("tolerance", f"{s.tolerance:g} predictive stds, compared on {s.inputs}"),
        ("seed", str(s.seed)),
    ]
    if s.likelihood is not None:
        rows += [
            ("likelihood", f"{s.likelihood}, noise {s.noise}"),
            ("evaluation", f"{s.samples} weight draws"),
            ("polish", f"{s.polish_steps} steps"),
        ]
    return Facts(tuple(rows))
