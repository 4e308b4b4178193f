"""Aligned weight draws as a report: from the library's objects to the JSON contract."""

from __future__ import annotations

from collections.abc import Mapping

from symdiag.alignment import Chance, SampleAlignment, relabelled_share
from symdiag.alignment.switching import (
    Rhat,
    Switching,
    split_rhat,
    switching,
    two_mode_share,
    variance_sum,
)
from symdiag.arrays import Array
from symdiag.estimators import Straddling
from symdiag.formats import (
    WeightSamples,
)
from symdiag.report.kinds.samples import (
    DrawsInfo,
    GroupSwitchingReport,
    RhatReport,
    SamplesReport,
    SamplesSettings,
    SamplesVerdict,
    TensorMoments,
    UnitSwitching,
)
from symdiag.report.parts import ChanceShare, Uncovered
from symdiag.symmetry.discovery import Symmetry
from symdiag.tasks._inputs import (
    TOOL,
    dropped_groups,
    network_info,
    run_info,
)
from symdiag.tasks.options import DrawsOptions

_MAX_SIZE = 1e100


TWO_MODES = 0.85
"""Share of the variance explained by a split from which the aligned draws count as two clusters."""
_FEW_DRAWS = 20
MOSTLY_LABELS = 0.5
"""Share beyond chance below which draws that all have labels of their own are independent members."""


def samples_report(
    drawn: WeightSamples,
    found: Symmetry,
    aligned: SampleAlignment,
    entropies: tuple[Straddling, ...],
    chance: Chance | None,
    drawing: DrawsOptions,
    started: float,
) -> SamplesReport:
    counts = switching(aligned.actions, found.spec)
    tensors = tuple(
        _moments(name, values, aligned.draws[name]) for name, values in drawn.draws.items()
    )
    # traces of the covariance: what relabelling cannot change is the spread within one labelling
    before, after = (
        sum(getattr(t, f"variance_{when}") for t in tensors) for when in ("before", "after")
    )
    # along the main direction of the aligned draws, a Gaussian gives 2/pi = 0.64
    two_modes = two_mode_share(aligned.draws)
    share = relabelled_share(drawn.draws, aligned.draws)
    distinct = drawn.num_distinct
    independent = counts.labellings == distinct > 1 and _beyond(share, chance) < MOSTLY_LABELS
    return SamplesReport(
        network=network_info(found),
        input=_draws_info(drawn, found),
        off=counts.off,
        labellings=counts.labellings,
        log_order=found.spec.log_order,
        groups=_groups(counts, *entropies),
        tensors=tensors,
        variance_before=before,
        variance_after=after,
        relabelling_share=share,
        rhat_before=_rhat(drawn.draws, drawn.chains),
        rhat_after=_rhat(aligned.draws, drawn.chains),
        two_modes=two_modes,
        straddling_before=entropies[0].total,
        straddling_after=entropies[1].total,
        converged=aligned.converged,
        agreement=aligned.agreement,
        notes=(*_duplicates(drawn, distinct), *_notes(drawn, aligned, two_modes)),
        verdict=_verdict(
            counts.off > drawing.max_switching, found, share, chance, independent=independent
        ),
        settings=SamplesSettings(
            drawing.seed, drawing.starts, drawing.samples, drawing.max_switching
        ),
        chance=None if chance is None else ChanceShare(**vars(chance)),
        distinct=distinct,
        tool=TOOL,
        run=run_info(started),
    )


def _verdict(
    switches: bool, found: Symmetry, share: float, chance: Chance | None, *, independent: bool
) -> SamplesVerdict:
    """Labels that differ mean switching only where undoing it does more than chance would."""
    # A group of order one has a single labelling, whatever the draws are.
    if found.spec.log_order == 0.0:
        return "not-applicable"
    if not switches:
        return "one labelling"
    if chance is not None and share <= chance.upper:
        return "no more than chance"
    return "independent members" if independent else "label switching"


def _beyond(share: float, chance: Chance | None) -> float:
    """The share beyond chance, of what chance leaves: 0 for independent networks, 1 if only labels differ."""
    usual = 0.0 if chance is None else chance.mean
    return (share - usual) / (1.0 - usual) if usual < 1.0 else 0.0


def _duplicates(drawn: WeightSamples, distinct: int) -> tuple[str, ...]:
    if distinct == drawn.num_samples:
        return ()
    if distinct == 1:
        return (
            f"all {drawn.num_samples} draws are the same network: probably one set of weights was "
            "saved again and again",
        )
    return (
        f"only {distinct} of the {drawn.num_samples} draws differ, the others repeat them to the bit "
        "(one network saved many times, or proposals that a sampler refused)",
    )


def _notes(
    drawn: WeightSamples, aligned: SampleAlignment, two_modes: float | None
) -> tuple[str, ...]:
    notes = []
    if drawn.num_samples < _FEW_DRAWS:
        notes.append(
            f"{drawn.num_samples} draws are few: stds, the variance after alignment and both H are "
            "rough, and alignment itself makes draws look more alike than they are"
        )
    if two_modes is not None and two_modes > TWO_MODES:
        notes.append(
            f"the aligned draws still fall into two clusters (a split explains {two_modes:.2f} of "
            "the variance along their main direction; 0.64 for a Gaussian): more than one function, "
            "not mere relabelling"
        )
    if not aligned.converged:
        notes.append(
            "the alignment had not settled when it was stopped: the variance after it could be "
            "lower still"
        )
    if aligned.agreement < 1.0:
        notes.append(
            f"only {aligned.agreement:.0%} of the starts reached the best alignment: raise "
            "--starts, or take the labelling of overlapping units with care"
        )
    return tuple(notes)


def _groups(
    counts: Switching, before: Straddling, after: Straddling
) -> tuple[GroupSwitchingReport, ...]:
    # both estimates are over the same spec, hence in the same order
    entropies = zip(before.groups, after.groups, strict=True)
    return tuple(
        GroupSwitchingReport(
            name=found.group.name,
            width=found.group.width,
            signed=found.group.signed,
            log_order=found.group.log_order,
            off=found.off,
            labellings=found.labellings,
            straddling_before=raw.entropy,
            straddling_after=aligned.entropy,
            units=tuple(
                UnitSwitching(i, moved, flipped)
                for i, (moved, flipped) in enumerate(
                    zip(found.units_moved, found.units_flipped, strict=True)
                )
            ),
        )
        for found, (raw, aligned) in zip(counts.groups, entropies, strict=True)
    )


def _moments(name: str, before: Array, after: Array) -> TensorMoments:
    return TensorMoments(
        name=name,
        weights=before[0].size,
        # relabelling keeps sums of squares: |mean|^2 rises as the variance falls
        mean_square_before=float((before.mean(axis=0) ** 2).sum()),
        mean_square_after=float((after.mean(axis=0) ** 2).sum()),
        variance_before=variance_sum(before),
        variance_after=variance_sum(after),
    )


def _rhat(draws: Mapping[str, Array], chains: int | None) -> RhatReport | None:
    # R-hat compares chains: without any there is nothing to compare
    found: Rhat | None = None if chains is None else split_rhat(draws, chains)
    return None if found is None else RhatReport(found.worst, found.median, found.above)


def _draws_info(drawn: WeightSamples, found: Symmetry) -> DrawsInfo:
    # (S, *shape) each: one draw has the network's own shapes
    first = {name: values[0] for name, values in drawn.draws.items()}
    return DrawsInfo(
        paths=drawn.paths,
        sha256=drawn.sha256,
        draws=drawn.num_samples,
        chains=drawn.chains,
        parameters=sum(values.size for values in first.values()),
        covered_parameters=sum(v.size - found.spec.left_out(n, v.shape) for n, v in first.items()),
        activation=found.activation,
        uncovered=tuple(Uncovered(*u) for u in found.uncovered),
        ignored=tuple((i.key, i.reason) for i in drawn.ignored),
        assumptions=tuple(dict.fromkeys((*found.notes, *dropped_groups(found)))),
    )
