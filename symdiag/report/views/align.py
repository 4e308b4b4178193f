"""What ``align`` found: the verdict, the certificate, the groups, the path on the data."""

from __future__ import annotations

from symdiag.report import document as doc
from symdiag.report.kinds.align import AlignReport, GroupAlignment, OnData
from symdiag.report.text import by_chance, listing, number, percent

_TONES: dict[str, doc.Tone] = {
    "same mode up to symmetry": "good",
    "same function, different mode": "warn",
    "different": "warn",
}
_CAPTION = (
    "swaps: fewest transpositions that undo the relabelling (width minus cycles). margin: least "
    "rise of the distance if one unit had to take another match. unsure: units whose second-best "
    "match costs less than 5 % of the match."
)
_BAR = 16


def document(report: AlignReport) -> doc.Document:
    """The report as sections."""
    sections = (
        doc.Section("Alignment", (doc.Facts(_facts(report)),)),
        doc.Section("Hidden groups", _groups(report.groups)),
        doc.Section("Straight path to the reference", _path(report.data)),
        doc.Section(
            "Assumptions", (doc.Bullets(report.assumptions),) if report.assumptions else ()
        ),
        doc.Section("All units", _units(report.groups), detail=True),
        doc.Section("What to do next", (doc.Paragraph(_next(report)),)),
    )
    return doc.Document(
        subject=f"{report.model.path} -> {report.reference.path}",
        verdict=report.verdict,
        tone=_TONES.get(report.verdict, "plain"),
        headline=headline(report),
        sections=tuple(s for s in sections if s.blocks),
        conditions=(*report.network_lines, *report.assumptions),
        checks=(
            doc.Check(
                "certificate",
                # a heuristic without a bound has proved nothing, and yet has not failed
                "skipped" if report.certificate.status == "not-certified" else "passed",
                headline(report),
            ),
        ),
    )


def headline(report: AlignReport) -> str:
    """Verdict, share of relabelling, certificate."""
    distance, share = report.distance, report.distance.relabelling_share
    chance = by_chance(share, distance.chance)
    return (
        f"{report.verdict.upper()}{report.condition}: {percent(share, 1.0)} of the distance was relabelling "
        f"({distance.cost} {number(distance.before)} -> {number(distance.after)}"
        f"{f'; {chance}' if chance else ''}); the alignment is {report.certificate.statement}."
    )


def _facts(report: AlignReport) -> tuple[tuple[str, str], ...]:
    distance, proof = report.distance, report.certificate
    return (
        *(("network", line.partition(" ")[2]) for line in report.network_lines),
        ("cost", f"{distance.cost}, {distance.unit}"),
        ("distance before", number(distance.before)),
        ("distance after", number(distance.after)),
        ("best possible", f"at least {number(proof.lower_bound)} ({proof.method})"),
        (
            "by chance",
            by_chance(distance.relabelling_share, distance.chance) or "not computed",
        ),
        ("certificate", proof.statement),
        (
            "starts that agree",
            f"{percent(proof.agreement, 1.0)} of the independent ones; {proof.starts} tried in all",
        ),
        (
            "difference in posterior stds",
            _before_after(report.before.standard_difference, report.after.standard_difference),
        ),
        ("unexplained means", _before_after(report.before.unexplained, report.after.unexplained)),
    )


def _before_after(before: float | None, after: float | None) -> str:
    return f"{number(before)} -> {number(after)}"


def _groups(groups: tuple[GroupAlignment, ...]) -> tuple[doc.Block, ...]:
    columns = [
        doc.Column("group", numeric=False),
        *(doc.Column(c) for c in ("width", "swaps", "moved", "flipped", "margin")),
    ]
    rows = tuple(
        (
            g.name,
            str(g.width),
            str(g.transpositions),
            str(g.moved),
            str(g.flipped),
            number(g.least_margin),
            _unsure(g),
        )
        for g in groups
    )
    return (
        (doc.Table((*columns, doc.Column("unsure units", numeric=False)), rows, _CAPTION),)
        if rows
        else ()
    )


def _unsure(group: GroupAlignment) -> str:
    # As after collapse: listing all units would hide that the match says nothing.
    if group.ambiguous and group.least_margin == 0.0 and len(group.ambiguous) == group.width:
        return "all: every margin is zero"
    return listing(group.ambiguous) if group.ambiguous else "none"


def _path(data: OnData | None) -> tuple[doc.Block, ...]:
    if data is None:
        return ()
    # one scale for both paths, or a small barrier would look like a large one
    low = min(*data.before.nll, *data.after.nll)
    high = max(*data.before.nll, *data.after.nll)
    columns = (
        doc.Column("t"),
        doc.Column("NLL before"),
        doc.Column("", numeric=False),
        doc.Column("NLL after"),
        doc.Column("", numeric=False),
    )
    rows = tuple(
        (f"{t:.2f}", number(b), _bar(b, low, high), number(a), _bar(a, low, high))
        for t, b, a in zip(data.positions, data.before.nll, data.after.nll, strict=True)
    )
    caption = (
        f"Predictive NLL, nats per point, on {data.path} ({data.points} points, {data.likelihood})."
    )
    evidence = "ELBO" if data.has_prior else "expected log-likelihood"
    facts = doc.Facts(
        (
            (
                "marginalised barrier",
                f"{_before_after(data.before.barrier, data.after.barrier)} nats per point",
            ),
            (
                f"{evidence} barrier",
                f"{_before_after(data.before.elbo_barrier, data.after.elbo_barrier)} nats",
            ),
            ("functions differ by", _function_gap(data)),
            ("outputs changed by aligning", f"{data.function_change:.1e} relative"),
        )
    )
    return doc.Table(columns, rows, caption), facts


def _function_gap(data: OnData) -> str:
    error = f" ± {number(2 * data.function_gap_error)}" if data.function_gap_error else ""
    outputs = data.output_difference
    # reports of earlier versions lack it
    stds = "" if outputs is None else f"; outputs by {number(outputs, 2)} of their stds"
    return f"{number(data.function_gap)}{error} nats per point{stds}"


def _bar(value: float, low: float, high: float) -> str:
    # A flat path has no shape to draw; rounding must not blow it up into one.
    share = (value - low) / (high - low) if high - low > 1e-9 * abs(high) else 0.0
    return "=" * (1 + round((_BAR - 1) * share))


def _units(groups: tuple[GroupAlignment, ...]) -> tuple[doc.Block, ...]:
    columns = tuple(doc.Column(c) for c in ("unit", "was", "sign", "cost", "margin"))
    return tuple(
        doc.Table(
            columns,
            tuple(
                (
                    str(u.index),
                    str(u.source),
                    "+" if u.sign > 0 else "-",
                    number(u.cost),
                    number(u.margin),
                )
                for u in group.units
            ),
            f"{group.name}: reference unit, the model's unit matched to it, and how safely.",
        )
        for group in groups
    )


def _next(report: AlignReport) -> str:
    if report.verdict == "same mode up to symmetry":
        return "Use the aligned file (-o) wherever runs are compared or averaged weight by weight."
    if report.verdict == "different" and report.data is None:
        return "Give --data to see whether the two compute the same function in different modes."
    # at a proven optimum more restarts cannot help; advising them would cost for nothing
    if report.certificate.status != "optimal":
        return "More --restarts may find a better alignment, within the bound above."
    return (
        "The alignment cannot be improved; what distance is left is a real difference of the "
        "posteriors."
    )
