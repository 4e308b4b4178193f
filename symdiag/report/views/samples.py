"""What ``samples`` found: how many draws have other labels, and what that does to their moments."""

from __future__ import annotations

from symdiag.report.document import (
    Bar,
    Bars,
    Block,
    Bullets,
    Check,
    Column,
    Document,
    Facts,
    Paragraph,
    Section,
    Table,
    Tone,
)
from symdiag.report.kinds.samples import DrawsInfo, GroupSwitchingReport, RhatReport, SamplesReport
from symdiag.report.text import by_chance, interval, number, percent, plural

_WORST = 5
_GROUP_CAPTION = (
    "off: draws off the group's majority labelling. labellings: different ones seen. H: "
    "straddling entropy in nats of the Gaussian with the draws' moments, as they came and "
    "aligned; at most log|G|."
)
_UNIT_CAPTION = (
    "moved: draws in which another unit has its place in the majority labelling. flipped: those "
    "in which it is there with its sign changed."
)
_TENSOR_CAPTION = (
    "Sums over weights. variance: over draws. mean²: of the mean over draws. share: mere "
    "relabelling."
)
_TONES: dict[str, Tone] = {"label switching": "bad", "one labelling": "good"}


def document(report: SamplesReport) -> Document:
    """The report as sections."""
    info = report.input
    sections = (
        Section("Label switching", (Facts(_facts(report)),)),
        Section("Hidden groups", _groups(report.groups)),
        Section("Units that move most", _units(report.groups, _WORST)),
        Section("Moments by tensor", _tensors(report)),
        Section("Chains", _chains(report)),
        Section("Notes", (Bullets(report.notes),) if report.notes else ()),
        Section("Coverage and assumptions", _coverage(info)),
        Section("All units", _all_units(report.groups), detail=True),
        Section("What to do next", (Paragraph(_next(report)),)),
    )
    # on an assumed network the units may not be interchangeable at all: no build fails on that
    failed = report.verdict == "label switching" and not report.condition
    return Document(
        subject=info.paths[0] if len(info.paths) == 1 else f"{len(info.paths)} files",
        verdict=report.verdict,
        tone=_TONES.get(report.verdict, "muted"),
        headline=headline(report),
        sections=tuple(s for s in sections if s.blocks),
        checks=(Check("label switching", "failed" if failed else "passed", headline(report)),),
        conditions=(
            *report.network_lines,
            f"{_covered(info)} parameters lie in some group",
            *_remarks(info),
        ),
    )


def headline(report: SamplesReport) -> str:
    """The verdict in one sentence."""
    if report.verdict == "not-applicable":
        return (
            "NOT APPLICABLE: the network has no interchangeable units, so there are no labels to "
            "switch."
        )
    # copies of one network have no variance, and a share of nothing is no finding
    if report.distinct == 1:
        return f"ONE LABELLING: the {report.input.draws} draws are {report.input.draws} times the same network."
    share, drawn = report.relabelling_share, plural(report.input.draws, "draw")
    chance = by_chance(share, report.chance)
    return (
        f"{report.verdict.upper()}{report.condition}: {percent(report.off, 1.0)} of {drawn} are off the majority "
        f"labelling ({plural(report.labellings, 'labelling')} seen); relabelling makes up "
        f"{percent(share, 1.0)} of their variance{f' ({chance})' if chance else ''}."
    )


def _facts(report: SamplesReport) -> tuple[tuple[str, str], ...]:
    before, after = report.straddling_before, report.straddling_after
    return (
        *(("network", line.partition(" ")[2]) for line in report.network_lines),
        ("off the majority", percent(report.off, 1.0)),
        ("limit", percent(report.settings.max_switching, 1.0)),
        ("labellings seen", f"{report.labellings} of exp({number(report.log_order, 1)})"),
        (
            "variance over draws",
            f"{number(report.variance_before)} -> {number(report.variance_after)}",
        ),
        ("mere relabelling", percent(report.relabelling_share, 1.0)),
        ("by chance", by_chance(report.relabelling_share, report.chance) or "not computed"),
        (
            "H(g|ω), raw moments",
            f"{number(before.value)} {interval(before)} nats ({before.interval})",
        ),
        (
            "H(g|ω), once aligned",
            f"{number(after.value)} {interval(after)} nats ({after.interval})",
        ),
        ("starts that agree", percent(report.agreement, 1.0)),
    )


def _groups(groups: tuple[GroupSwitchingReport, ...]) -> tuple[Block, ...]:
    headers = ("units", "log|G|", "off", "labellings", "H raw", "H aligned")
    rows = tuple(
        (
            g.name,
            f"{g.width}*" if g.signed else str(g.width),
            number(g.log_order, 1),
            percent(g.off, 1.0),
            str(g.labellings),
            number(g.straddling_before.value),
            number(g.straddling_after.value),
        )
        for g in groups
    )
    signs = " *: sign flips counted too." if any(g.signed for g in groups) else ""
    columns = (Column("group", numeric=False), *(Column(h) for h in headers))
    return (Table(columns, rows, _GROUP_CAPTION + signs),) if rows else ()


def _units(groups: tuple[GroupSwitchingReport, ...], most: int) -> tuple[Block, ...]:
    # units that never move would fill the table with zeros
    every = [(g, u) for g in groups for u in g.units if u.moved + u.flipped > 0]
    # Most moved first; sorting is stable, so ties stay in the file's order.
    ranked = sorted(every, key=lambda pair: -(pair[1].moved + pair[1].flipped))[:most]
    rows = tuple(
        (g.name, str(u.index), percent(u.moved, 1.0), percent(u.flipped, 1.0)) for g, u in ranked
    )
    columns = (Column("group", numeric=False), Column("unit"), Column("moved"), Column("flipped"))
    return (Table(columns, rows, _UNIT_CAPTION),) if rows else ()


def _all_units(groups: tuple[GroupSwitchingReport, ...]) -> tuple[Block, ...]:
    return tuple(
        Bars(
            f"{g.name}: draws in which each unit keeps its place and sign",
            tuple(
                Bar(
                    str(u.index),
                    # Shares of draws: rounding may carry the sum of both past 1.
                    max(0.0, 1.0 - u.moved - u.flipped),
                    f"moved {percent(u.moved, 1.0)}",
                )
                for u in g.units
            ),
        )
        for g in groups
    )


def _tensors(report: SamplesReport) -> tuple[Block, ...]:
    headers = ("weights", "variance", "aligned", "share", "mean²", "aligned")
    rows = tuple(
        (
            t.name,
            str(t.weights),
            number(t.variance_before),
            number(t.variance_after),
            # aligning leaves the sum of mean² and variance alone, so what one loses the other gains
            percent(t.variance_before - t.variance_after, t.variance_before),
            number(t.mean_square_before),
            number(t.mean_square_after),
        )
        for t in report.tensors
    )
    return (
        Table(
            (Column("tensor", numeric=False), *(Column(h) for h in headers)), rows, _TENSOR_CAPTION
        ),
    )


def _chains(report: SamplesReport) -> tuple[Block, ...]:
    # R-hat compares chains; draws that nobody assigned to chains have none
    if report.input.chains is None or report.rhat_before is None or report.rhat_after is None:
        return ()
    pairs = (("as they came", report.rhat_before), ("aligned", report.rhat_after))
    columns = (
        Column("split R-hat", numeric=False),
        *(Column(h) for h in ("worst", "median", "above 1.01")),
    )
    caption = f"Over weights that vary; {plural(report.input.chains, 'chain')}."
    return (Table(columns, tuple(_rhat_row(name, rhat) for name, rhat in pairs), caption),)


def _rhat_row(name: str, rhat: RhatReport) -> tuple[str, ...]:
    return (name, number(rhat.worst), number(rhat.median), percent(rhat.above, 1.0))


def _coverage(info: DrawsInfo) -> tuple[Block, ...]:
    remarks = _remarks(info)
    facts = Facts((("parameters in some group", _covered(info)),))
    return (facts, *((Bullets(remarks),) if remarks else ()))


def _covered(info: DrawsInfo) -> str:
    share = percent(info.covered_parameters, info.parameters)
    return f"{info.covered_parameters:,} of {info.parameters:,} ({share})"


def _remarks(info: DrawsInfo) -> tuple[str, ...]:
    # relabelling never touches these: they count in no figure above
    left_out = tuple(f"{u.name} ({u.parameters:,}): {u.reason}" for u in info.uncovered)
    ignored = tuple(f"{key} not used: {reason}" for key, reason in info.ignored)
    return (*left_out, *ignored, *info.assumptions)


def _next(report: SamplesReport) -> str:
    if report.verdict == "label switching":
        return (
            "Means, stds and R-hat of the weights of units that move mean nothing for these draws as "
            "they are; -o aligned.npz writes them in one labelling. Predictions are unaffected."
        )
    if report.verdict == "independent members":
        return (
            "These draws are an ensemble of different networks: no labelling gives means, stds or "
            "R-hat of single weights a meaning. Compare and average their predictions."
        )
    if report.verdict == "no more than chance":
        # unrelated networks give this, and so does one whose units overlap or are free
        return (
            "Nothing shows that labels were switched: these are different networks, or one whose "
            "units are spread so widely that they take each other's places. Compare and average their "
            "predictions; means, stds and R-hat of the weights of units that move say nothing."
        )
    if report.distinct == 1:
        return (
            "These draws show nothing of a posterior: find out why one network was saved again and "
            "again."
        )
    but = (
        "" if report.off == 0 else f", but for the {percent(report.off, 1.0)} of draws that are off"
    )
    return (
        "Moments and R-hat of single weights can be taken at face value as far as labels are "
        f"concerned{but}."
    )
