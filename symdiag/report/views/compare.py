"""What ``compare`` found."""

from __future__ import annotations

from symdiag.report.document import Check, Column, Document, Facts, Outcome, Section, Table, Tone
from symdiag.report.kinds.compare import Comparison, Difference
from symdiag.report.text import number, plural

_TONES: dict[str, Tone] = {
    "regressed": "bad",
    "unchanged": "good",
    "improved": "good",
    "inconclusive": "warn",
}
_WORDS = {
    "regressed": "REGRESSED: the second posterior straddles more",
    "unchanged": "UNCHANGED: straddling differs by no more than the tolerance",
    "improved": "IMPROVED: the second posterior straddles less",
    "inconclusive": "INCONCLUSIVE: the difference is not resolved",
}
_CAPTION = (
    "nats. A difference counts when it exceeds the margin: max(tolerance, 3 standard errors), "
    "plus what the estimation methods leave open."
)


def document(report: Comparison) -> Document:
    """Two tables, straddling entropy first."""
    # `compare_reports` puts the total last; it alone decides the verdict.
    total = report.straddling_entropy[-1]
    headline = (
        f"{_WORDS[report.verdict]} (H(g|ω) {number(total.before)} -> {number(total.after)} nats, "
        f"difference {number(total.difference)}, margin {number(total.margin)})."
    )
    sides = Facts((("first", _side(report, "before")), ("second", _side(report, "after"))))
    return Document(
        subject=f"{report.before.path} -> {report.after.path}",
        verdict=report.verdict,
        tone=_TONES[report.verdict],
        headline=headline,
        sections=(
            Section("Straddling entropy H(g|ω)", (_table(report.straddling_entropy, _CAPTION),)),
            Section("Mutual information I(g; ω)", (_table(report.mutual_information),)),
            Section("Compared", (sides,)),
        ),
        checks=(Check("no regression", _outcome(report.verdict), headline),),
    )


def _side(report: Comparison, which: str) -> str:
    side = report.before if which == "before" else report.after
    return f"{side.path} ({side.verdict}; {plural(side.samples, 'draw')}, {side.estimator})"


def _outcome(verdict: str) -> Outcome:
    return (
        "failed" if verdict == "regressed" else "skipped" if verdict == "inconclusive" else "passed"
    )


def _table(differences: tuple[Difference, ...], caption: str = "") -> Table:
    columns = (
        Column("group", numeric=False),
        Column("first"),
        Column("second"),
        Column("difference"),
        Column("s.e."),
        Column("margin"),
        Column("outcome", numeric=False),
    )
    rows = tuple(
        (
            d.name,
            number(d.before),
            number(d.after),
            number(d.difference),
            number(d.std_error),
            number(d.margin),
            d.outcome,
        )
        for d in differences
    )
    return Table(columns, rows, caption)
