"""``symdiag.analyze_samples``: label switching in draws of a network's weights."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from symdiag.alignment import SampleAlignment, align_samples, relabelled
from symdiag.alignment.switching import (
    Rhat,
    Switching,
    split_rhat,
    switching,
    two_mode_share,
    variance_sum,
)
from symdiag.arrays import Array
from symdiag.errors import InputError
from symdiag.estimators import Straddling, estimate_straddling
from symdiag.formats import (
    RawCheckpoint,
    WeightSamples,
    all_containers,
    atomic_write,
    load_samples,
)
from symdiag.posterior import Posterior
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
from symdiag.report.parts import Uncovered
from symdiag.symmetry.discovery import Symmetry
from symdiag.tasks._flat import flat
from symdiag.tasks._inputs import (
    TOOL,
    Progress,
    check_output,
    dropped_groups,
    find_symmetry,
    log,
    run_info,
)
from symdiag.tasks.options import DrawsOptions, NetworkOptions, WrittenOptions

TWO_MODES = 0.85
"""Share of the variance explained by a split from which the aligned draws count as two clusters."""

_FEW_DRAWS = 20
_MAX_SIZE = 1e100


@dataclass(frozen=True)
class SampleAnalysis:
    """The report, the draws in one labelling, and the Gaussians with the draws' moments before and after alignment."""

    report: SamplesReport
    alignment: SampleAlignment
    draws: WeightSamples
    before: Posterior
    after: Posterior

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the aligned draws as npz: the file's keys → (draw, …), or (chain, draw, …) if they came as chains.

        Raises:
            OutputError: it cannot be written, or the file exists and ``overwrite`` is False.
        """
        found = self.draws
        shape = (-1,) if found.chains is None else (found.chains, -1)
        every = {**found.draws, **found.buffers}.items()
        tree = {
            found.keys.get(name, name): values.reshape(*shape, *values.shape[1:])
            for name, values in every
        }
        npz = next(c for c in all_containers() if c.name == "npz")
        atomic_write(
            Path(path), npz.encode(RawCheckpoint(str(path), "", "npz", tree)), overwrite=overwrite
        )


@flat
def analyze_samples(
    source: WeightSamples | str | Path | Sequence[str | Path],
    *,
    drawing: DrawsOptions = DrawsOptions(),
    network: NetworkOptions = NetworkOptions(),
    written: WrittenOptions = WrittenOptions(),
    progress: Progress | None = None,
) -> SampleAnalysis:
    """Bring weight draws to one labelling and say how much of their spread was label switching.

    Args:
        source: Draws already loaded, or files: several with one draw each, or one with all (see ``load_samples``).
        drawing: Chains, starts, seed, and the limit that counts as a finding.
        network: What the files do not say about the network.
        written: Where the draws in one labelling go, as npz.
        progress: Called with (stage, fraction done).

    Raises:
        SymdiagError: Bad input or options; ``code`` says which.
    """
    started = time.time()
    check_output(written.output, _files(source), overwrite=written.overwrite)
    drawn = _drawn(source, drawing.chains)
    raw = drawn.gaussian()
    found = _symmetry(raw, drawing, network)
    aligned = _aligned(drawn, found, drawing, progress)
    buffers = relabelled(drawn.buffers, found.spec, aligned.actions)
    moved = replace(drawn, draws=aligned.draws, buffers=buffers)
    after = moved.gaussian()
    weights = found.spec.restricted(raw.loc)
    entropies = tuple(
        estimate_straddling(
            q, weights, samples=drawing.samples, seed=drawing.seed, progress=progress
        )
        for q in (raw, after)
    )
    report = _report(drawn, found, aligned, entropies, drawing, started)
    done = SampleAnalysis(report, aligned, moved, raw, after)
    if written.output is not None:
        done.save(written.output, overwrite=written.overwrite)
    return done


def _files(source: WeightSamples | str | Path | Sequence[str | Path]) -> Sequence[str | Path]:
    if isinstance(source, WeightSamples):
        return ()
    return [source] if isinstance(source, str | Path) else source


def _drawn(
    source: WeightSamples | str | Path | Sequence[str | Path], chains: bool
) -> WeightSamples:
    if not isinstance(source, WeightSamples):
        source = load_samples(source, sample_axes=2 if chains else 1)
    log.debug("read %d draws of %d tensors", source.num_samples, len(source.draws))
    _check_size(source.draws)
    return source


def _check_size(draws: Mapping[str, Array]) -> None:
    """Refuse values whose squares overflow or vanish: their variances would be wrong in silence."""
    for name, values in draws.items():
        peak = float(np.abs(values).max(initial=0.0))
        if peak > 0.0 and not 1.0 / _MAX_SIZE < peak < _MAX_SIZE:
            raise InputError(
                f"{name} holds values of size {peak:.0e}: no weights of a network",
                code="non-finite",
            )


def _symmetry(raw: Posterior, drawing: DrawsOptions, network: NetworkOptions) -> Symmetry:
    """The network's symmetry; where none is found, a forgotten chain axis is the likeliest reason."""
    try:
        return find_symmetry(raw, network, drawing.seed)
    except InputError as error:
        if not drawing.chains and len({values.shape[:1] for values in raw.loc.values()}) == 1:
            error.hint = (
                f"if the axes are (chain, draw, ...), give --chains; otherwise {error.hint}"
            )
        raise


def _aligned(
    drawn: WeightSamples, found: Symmetry, drawing: DrawsOptions, progress: Progress | None
) -> SampleAlignment:
    if not len(found.spec):
        return SampleAlignment(
            found.spec, tuple({} for _ in range(drawn.num_samples)), drawn.draws, 0.0, 0, True, 1.0
        )
    if progress is not None:
        progress("aligning", 0.0)
    aligned = align_samples(
        drawn.draws,
        found.spec,
        starts=drawing.starts,
        generator=np.random.default_rng([drawing.seed, 11]),
    )
    log.debug("aligned: %.0f %% of the starts agree", 100 * aligned.agreement)
    return aligned


def _report(
    drawn: WeightSamples,
    found: Symmetry,
    aligned: SampleAlignment,
    entropies: tuple[Straddling, ...],
    drawing: DrawsOptions,
    started: float,
) -> SamplesReport:
    counts = switching(aligned.actions, found.spec)
    tensors = tuple(
        _moments(name, values, aligned.draws[name]) for name, values in drawn.draws.items()
    )
    before, after = (
        sum(getattr(t, f"variance_{when}") for t in tensors) for when in ("before", "after")
    )
    two_modes = two_mode_share(aligned.draws)
    return SamplesReport(
        input=_draws_info(drawn, found),
        off=counts.off,
        labellings=counts.labellings,
        log_order=found.spec.log_order,
        groups=_groups(counts, *entropies),
        tensors=tensors,
        variance_before=before,
        variance_after=after,
        relabelling_share=max(0.0, 1.0 - after / before) if before > 0 else 0.0,
        rhat_before=_rhat(drawn.draws, drawn.chains),
        rhat_after=_rhat(aligned.draws, drawn.chains),
        two_modes=two_modes,
        straddling_before=entropies[0].total,
        straddling_after=entropies[1].total,
        converged=aligned.converged,
        agreement=aligned.agreement,
        notes=_notes(drawn, aligned, two_modes),
        verdict=_verdict(counts, found, drawing.max_switching),
        settings=SamplesSettings(
            drawing.seed, drawing.starts, drawing.samples, drawing.max_switching
        ),
        tool=TOOL,
        run=run_info(started),
    )


def _verdict(counts: Switching, found: Symmetry, limit: float) -> SamplesVerdict:
    if found.spec.log_order == 0.0:
        return "not-applicable"
    return "label switching" if counts.off > limit else "one labelling"


def _notes(
    drawn: WeightSamples, aligned: SampleAlignment, two_modes: float | None
) -> tuple[str, ...]:
    notes = []
    if drawn.num_samples < _FEW_DRAWS:
        notes.append(
            f"{drawn.num_samples} draws are few: stds, the variance after alignment and both H are rough, and "
            "alignment itself makes draws look more alike than they are"
        )
    if two_modes is not None and two_modes > TWO_MODES:
        notes.append(
            f"the aligned draws still fall into two clusters (a split explains {two_modes:.2f} of the variance along "
            "their main direction; 0.64 for a Gaussian): more than one function, not mere relabelling"
        )
    if not aligned.converged:
        notes.append(
            "the alignment had not settled when it was stopped: the variance after it could be lower still"
        )
    if aligned.agreement < 1.0:
        notes.append(
            f"only {aligned.agreement:.0%} of the starts reached the best alignment: raise --starts, or take the "
            "labelling of overlapping units with care"
        )
    return tuple(notes)


def _groups(
    counts: Switching, before: Straddling, after: Straddling
) -> tuple[GroupSwitchingReport, ...]:
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
        mean_square_before=float((before.mean(axis=0) ** 2).sum()),
        mean_square_after=float((after.mean(axis=0) ** 2).sum()),
        variance_before=variance_sum(before),
        variance_after=variance_sum(after),
    )


def _rhat(draws: Mapping[str, Array], chains: int | None) -> RhatReport | None:
    found: Rhat | None = None if chains is None else split_rhat(draws, chains)
    return None if found is None else RhatReport(found.worst, found.median, found.above)


def _draws_info(drawn: WeightSamples, found: Symmetry) -> DrawsInfo:
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
