"""What ``align --universe`` found: do the runs agree once their units are matched?"""

from __future__ import annotations

from symdiag.report.document import Bullets, Column, Document, Facts, Section, Table
from symdiag.report.kinds.universe import RunAlignment, SpreadReport, UniverseReport
from symdiag.report.text import by_chance, number, percent

_CAPTION = (
    "distance: to the barycentre of all runs, before and after. swaps: transpositions over all "
    "groups."
)


def document(report: UniverseReport) -> Document:
    """The report as sections."""
    tensors = tuple((name, _change(report, name)) for name in report.after.per_tensor)
    sections = (
        Section("Runs", (_runs(report.runs),)),
        Section("Between runs and within", (Facts(_facts(report)),)),
        Section("R-hat by tensor", (Facts(tensors),) if tensors else (), detail=True),
        Section("Assumptions", (Bullets(report.assumptions),) if report.assumptions else ()),
    )
    return Document(
        subject=f"{len(report.runs)} runs",
        verdict=report.verdict,
        tone="good" if report.verdict == "same mode up to symmetry" else "warn",
        headline=headline(report),
        sections=tuple(s for s in sections if s.blocks),
        conditions=(*report.network_lines, *report.assumptions),
    )


def headline(report: UniverseReport) -> str:
    """Verdict, R̂ modulo symmetry, and what relabelling removed beside what it would by chance."""
    share = report.relabelling_share
    chance = by_chance(share, report.chance)
    removed = f" Relabelling removed {percent(share, 1.0)} of the between-run variance ({chance})."
    return (
        f"{report.verdict.upper()}{report.condition}: R-hat modulo symmetry {number(report.after.rhat)} "
        f"(as labelled: {number(report.before.rhat)}) over {len(report.runs)} runs."
        f"{removed if chance else ''}"
    )


def _runs(runs: tuple[RunAlignment, ...]) -> Table:
    columns = (Column("run", numeric=False), *(Column(c) for c in ("before", "distance", "swaps")))
    rows = tuple(
        (
            r.model.path,
            number(r.distance_before),
            number(r.distance),
            str(sum(r.transpositions.values())),
            r.status,
        )
        for r in runs
    )
    return Table((*columns, Column("certificate", numeric=False)), rows, _CAPTION)


def _facts(report: UniverseReport) -> tuple[tuple[str, str], ...]:
    def pair(pick: str) -> str:
        values = (getattr(s, pick) for s in (report.before, report.after))
        return " -> ".join(number(v) for v in values)

    return (
        *(("network", line.partition(" ")[2]) for line in report.network_lines),
        ("between-run variance", pair("between")),
        ("by chance", by_chance(report.relabelling_share, report.chance) or "not computed"),
        ("within-run variance", pair("within")),
        ("R-hat, all weights", pair("rhat")),
        ("R-hat, worst weight", pair("worst")),
        ("largest difference of two runs, in posterior stds", number(report.worst_pair)),
    )


def _change(report: UniverseReport, name: str) -> str:
    def one(spread: SpreadReport) -> str:
        return number(spread.per_tensor.get(name))

    return f"{one(report.before)} -> {one(report.after)}"
