"""``symdiag.analyze_samples``: draws of a network's weights in, the same in one labelling and a report out."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from symdiag.alignment.samples import SampleAlignment, align_samples, relabelled
from symdiag.alignment.switching import (
    Rhat,
    Switching,
    split_rhat,
    switching,
    two_mode_share,
    variance_sum,
)
from symdiag.api import TOOL, Progress, check_options, run_info
from symdiag.arrays import Array
from symdiag.errors import InputError, OutputError, UsageError
from symdiag.estimators import Straddling, estimate_straddling
from symdiag.formats.atomic import atomic_write
from symdiag.formats.containers import all_containers
from symdiag.formats.interface import RawCheckpoint
from symdiag.formats.weight_samples import WeightSamples, load_samples
from symdiag.posterior import Posterior
from symdiag.report.model import Uncovered
from symdiag.report.samples_model import (
    DrawsInfo,
    GroupSwitchingReport,
    RhatReport,
    SamplesReport,
    SamplesSettings,
    SamplesVerdict,
    TensorMoments,
    UnitSwitching,
)
from symdiag.symmetry.discovery import Symmetry, discover

DEFAULT_MAX_SWITCHING = 0.05
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


def analyze_samples(
    source: WeightSamples | str | Path | Sequence[str | Path],
    *,
    chains: bool = False,
    activation: str | None = None,
    model: str | None = None,
    spec: Path | None = None,
    starts: int | None = None,
    samples: int | None = None,
    seed: int = 0,
    max_switching: float = DEFAULT_MAX_SWITCHING,
    progress: Progress | None = None,
) -> SampleAnalysis:
    """Bring weight draws to one labelling and say how much of their spread was label switching.

    Args:
        source: Draws already loaded, or files: several with one draw each, or one with all (see ``load_samples``).
        chains: Tensors of the one file have axes (chain, draw, …) and not (draw, …).
        activation: Activation between layers; odd ones (tanh, …) add sign flips to the group.
        model: ``package.module:factory`` of the network, where the file does not determine it.
        spec: Hand-written permutation spec (TOML).
        starts: Orders in which the draws are aligned; the best result counts.
        samples: Weight draws for the straddling entropies; by default precision and budget decide.
        seed: Seed of all randomness.
        max_switching: Fraction of draws off the majority labelling that still counts as one labelling.
        progress: Called with (stage, fraction done).

    Raises:
        SymdiagError: Bad input or options; ``code`` says which.
    """
    started = time.time()
    check_options(samples=samples, seed=seed)
    if not 0.0 <= max_switching <= 1.0:
        raise UsageError(
            f"--max-switching must lie in [0, 1], got {max_switching}", code="bad-option"
        )
    drawn = (
        source
        if isinstance(source, WeightSamples)
        else load_samples(source, sample_axes=2 if chains else 1)
    )
    _check_size(drawn.draws)
    raw = drawn.gaussian()
    found = _symmetry(raw, chains, seed, activation=activation, model=model, spec_file=spec)
    aligned = _aligned(drawn, found, starts, seed, progress)
    buffers = relabelled(drawn.buffers, found.spec, aligned.actions)
    moved = replace(drawn, draws=aligned.draws, buffers=buffers)
    after = moved.gaussian()
    weights = found.spec.restricted(raw.loc)
    entropies = tuple(
        estimate_straddling(q, weights, samples=samples, seed=seed, progress=progress)
        for q in (raw, after)
    )
    settings = SamplesSettings(seed, starts, samples, max_switching)
    report = _report(drawn, found, aligned, entropies, settings, started)
    return SampleAnalysis(report, aligned, moved, raw, after)


def _check_size(draws: Mapping[str, Array]) -> None:
    """Refuse values whose squares overflow or vanish: their variances would be wrong in silence."""
    for name, values in draws.items():
        peak = float(np.abs(values).max(initial=0.0))
        if peak > 0.0 and not 1.0 / _MAX_SIZE < peak < _MAX_SIZE:
            raise InputError(
                f"{name} holds values of size {peak:.0e}: no weights of a network",
                code="non-finite",
            )


def _symmetry(raw: Posterior, chains: bool, seed: int, **network: Any) -> Symmetry:
    """The network's symmetry; where none is found, a forgotten chain axis is the likeliest reason."""
    try:
        return discover(raw, generator=np.random.default_rng([seed, 7]), **network)
    except InputError as error:
        if not chains and len({values.shape[:1] for values in raw.loc.values()}) == 1:
            error.hint = (
                f"if the axes are (chain, draw, ...), give --chains; otherwise {error.hint}"
            )
        raise


def _aligned(
    drawn: WeightSamples, found: Symmetry, starts: int | None, seed: int, progress: Progress | None
) -> SampleAlignment:
    if not len(found.spec):
        return SampleAlignment(
            found.spec, tuple({} for _ in range(drawn.num_samples)), drawn.draws, 0.0, 0, True, 1.0
        )
    if progress is not None:
        progress("aligning", 0.0)
    return align_samples(
        drawn.draws, found.spec, starts=starts, generator=np.random.default_rng([seed, 11])
    )


def _report(
    drawn: WeightSamples,
    found: Symmetry,
    aligned: SampleAlignment,
    entropies: tuple[Straddling, ...],
    settings: SamplesSettings,
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
        verdict=_verdict(counts, found, settings.max_switching),
        settings=settings,
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
    dropped = tuple(
        f"group {f.group} was dropped: its permutations change the outputs" for f in found.failures
    )
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
        assumptions=tuple(dict.fromkeys((*found.notes, *dropped))),
    )


def check_output(path: Path | None, inputs: Sequence[Path], *, overwrite: bool) -> None:
    """Refuse an output file that is an input or is there already, before any work is done."""
    if path is None:
        return
    if os.path.realpath(path) in {os.path.realpath(p) for p in inputs}:
        raise UsageError(
            f"{path} is an input", code="would-overwrite", hint="choose another -o FILE"
        )
    if path.exists() and not overwrite:
        raise OutputError(
            f"{path} exists already", code="exists", hint="choose another name, or give --overwrite"
        )
    if not Path(os.path.realpath(path)).parent.is_dir():
        raise OutputError(f"the folder of {path} does not exist", hint="create it first")
