"""The whole of ``symdiag align``: read, find the symmetry, align, evaluate, report."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from symdiag import formats
from symdiag._version import __version__
from symdiag.alignment import Alignment, align, align_many
from symdiag.errors import SymmetryError, UsageError
from symdiag.posterior import GaussianPrior, Posterior
from symdiag.report.align_build import align_report, on_data, universe_report
from symdiag.report.align_data import Evaluator, relative_change
from symdiag.report.align_model import AlignReport, AlignSettings, OnData, UniverseReport
from symdiag.symmetry.discovery import Symmetry, discover
from symdiag.training.config import ModelConfig
from symdiag.training.data import load_data
from symdiag.training.prior import resolve_prior

TOOL = {"name": "symdiag", "version": __version__}

_CORRELATED = (
    "weights are correlated: the match was made on their marginals, and correlations move along"
)
_MAX_CHANGE = 1e-5  # of the outputs; rounding of reordered sums in float64 is far below


@dataclass(frozen=True)
class Aligned:
    """A report, and the aligned posteriors (each with its file's source, so that it can be written)."""

    report: AlignReport | UniverseReport
    posteriors: tuple[Posterior, ...]

    @property
    def is_settled(self) -> bool:
        """Same mode, and every alignment certified at least up to a bound."""
        report = self.report
        statuses = (
            [r.status for r in report.runs]
            if isinstance(report, UniverseReport)
            else [report.certificate.status]
        )
        return report.verdict == "same mode up to symmetry" and "not-certified" not in statuses


def run_align(
    model_path: Path,
    reference_path: Path,
    *,
    cost: str = "w2",
    restarts: int | None = None,
    seed: int = 0,
    data: Path | None = None,
    likelihood: str | None = None,
    noise: float | None = None,
    prior_std: float | None = None,
    samples: int = 32,
    **reading: Any,
) -> Aligned:
    """Align one file to another. ``reading``: activation, model, spec_file, scale_transform, companion."""
    started = time.time()
    (model, reference), symmetry = _read([model_path, reference_path], seed, **reading)
    generator = np.random.default_rng(seed)
    alignment = align(
        model, reference, symmetry.spec, cost=cost, restarts=restarts, generator=generator
    )
    measured = None
    if data is not None:
        evaluator = Evaluator(symmetry.forward, model, load_data(data), likelihood, noise)
        prior = _prior(model, prior_std)
        measured = _measure(alignment, model, reference, evaluator, prior, str(data), samples, seed)
    report = align_report(
        alignment,
        model,
        reference,
        settings=AlignSettings(seed, cost, restarts),
        tool=TOOL,
        data=measured,
        assumptions=_assumptions(model, symmetry),
        run=_run(started),
    )
    return Aligned(report, (alignment.posterior,))


def run_universe(
    paths: Sequence[Path],
    *,
    cost: str = "w2",
    restarts: int | None = None,
    seed: int = 0,
    **reading: Any,
) -> Aligned:
    """Bring several files to one labelling. ``reading`` as for ``run_align``."""
    started = time.time()
    posteriors, symmetry = _read(paths, seed, **reading)
    universe = align_many(
        posteriors,
        symmetry.spec,
        cost=cost,
        restarts=restarts,
        generator=np.random.default_rng(seed),
    )
    report = universe_report(
        universe,
        posteriors,
        settings=AlignSettings(seed, cost, restarts),
        tool=TOOL,
        assumptions=_assumptions(posteriors[0], symmetry),
        run=_run(started),
    )
    return Aligned(report, universe.posteriors)


def _read(
    paths: Sequence[Path],
    seed: int,
    *,
    activation: str | None = None,
    model: str | None = None,
    spec_file: Path | None = None,
    scale_transform: str | None = None,
    companion: Sequence[Path] | None = None,
) -> tuple[list[Posterior], Symmetry]:
    """All posteriors, and the symmetry of the first (one architecture: ``align`` checks the shapes)."""
    pairs = zip(paths, formats.companions_of(companion, len(paths)), strict=True)
    posteriors = [
        formats.load(path, scale_transform=scale_transform, companion=second)
        for path, second in pairs
    ]
    generator = np.random.default_rng([seed, 7])
    symmetry = discover(
        posteriors[0], activation=activation, model=model, spec_file=spec_file, generator=generator
    )
    if not len(symmetry.spec):
        raise UsageError(
            f"no group of interchangeable units was found in {paths[0]}",
            code="no-groups",
            hint="give --model or --spec",
        )
    return posteriors, symmetry


def _measure(
    alignment: Alignment,
    model: Posterior,
    reference: Posterior,
    evaluator: Evaluator,
    prior: GaussianPrior | None,
    path: str,
    samples: int,
    seed: int,
) -> OnData:
    """Path and functions on the data; refuses an alignment that changes what the model computes."""
    change = relative_change(evaluator.outputs(model), evaluator.outputs(alignment.posterior))
    if change > _MAX_CHANGE:
        raise SymmetryError(
            f"the alignment would change the model's outputs by {change:.1e} (relative)"
        )
    return on_data(
        alignment,
        model,
        reference,
        evaluator.log_likelihood(),
        path=path,
        likelihood=evaluator.likelihood,
        prior=prior,
        function_change=change,
        samples=samples,
        seed=seed,
    )


def _prior(model: Posterior, prior_std: float | None) -> GaussianPrior | None:
    """The prior for the KL term; None when neither the checkpoint nor the options know it."""
    try:
        return resolve_prior(model, ModelConfig(prior_std=prior_std))
    except UsageError:
        return None


def _assumptions(posterior: Posterior, symmetry: Symmetry) -> tuple[str, ...]:
    read = posterior.source.notes if posterior.source else ()
    dropped = tuple(
        f"group {f.group} was dropped: its permutations change the outputs"
        for f in symmetry.failures
    )
    marginal = () if posterior.is_mean_field else (_CORRELATED,)
    return tuple(dict.fromkeys((*read, *symmetry.notes, *dropped, *marginal)))


def _run(started: float) -> dict[str, Any]:
    return {"seconds": round(time.time() - started, 3), "numpy": np.__version__}
