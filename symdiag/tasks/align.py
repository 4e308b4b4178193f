"""``symdiag.align``: one posterior onto another; ``align_many``: several to one labelling."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from symdiag import formats
from symdiag.alignment import Alignment, Certificate
from symdiag.alignment import align as align_posteriors
from symdiag.alignment import align_many as align_posteriors_many
from symdiag.errors import SymmetryError, UsageError
from symdiag.posterior import Posterior
from symdiag.priors import Prior
from symdiag.report.kinds.align import AlignReport, AlignSettings, OnData
from symdiag.report.kinds.universe import UniverseReport
from symdiag.report.notebook import Reported
from symdiag.symmetry.discovery import Symmetry
from symdiag.tasks._align_report import align_report, on_data, universe_report
from symdiag.tasks._evidence import Evaluator, relative_change
from symdiag.tasks._inputs import (
    Source,
    check_output,
    dropped_groups,
    find_symmetry,
    log,
    network_info,
    read_all,
    run_info,
)
from symdiag.tasks._network_data import as_dataset
from symdiag.tasks.keywords import flat
from symdiag.tasks.options import MatchingOptions, PathOptions, ReadingOptions, WrittenOptions
from symdiag.training.config import ModelConfig
from symdiag.training.prior import resolve_prior

T = TypeVar("T")

_CORRELATED = (
    "weights are correlated: the match was made on their marginals, and correlations move along"
)
_MAX_CHANGE = 1e-5  # of the outputs; rounding of reordered sums in float64 is far below


@dataclass(frozen=True, repr=False)
class Aligned(Reported):
    """One posterior aligned to a reference: the report, and what it was made from."""

    report: AlignReport
    alignment: Alignment

    @property
    def posterior(self) -> Posterior:
        """The model's posterior in the reference's labelling."""
        return self.alignment.posterior

    @property
    def certificate(self) -> Certificate:
        """How good the alignment is known to be."""
        return self.alignment.certificate

    @property
    def is_settled(self) -> bool:
        """Same mode, and certified at least up to a bound."""
        return _settled(self.report, [self.report.certificate.status])

    def state_dict(self) -> Any:
        """The aligned values as what ``source`` loads back; see ``symdiag.formats.state_dict``."""
        return formats.state_dict(self.posterior)

    def apply(self, tensors: Mapping[str, T], *, flip: bool = True) -> dict[str, T]:
        """The same relabelling of any arrays or tensors by name (of stds: ``flip=False``)."""
        return self.alignment.apply(tensors, flip=flip)


@dataclass(frozen=True, repr=False)
class AlignedMany(Reported):
    """Several posteriors in one labelling, in the order they were given."""

    report: UniverseReport
    posteriors: tuple[Posterior, ...]

    @property
    def is_settled(self) -> bool:
        """All in one mode, and every alignment certified at least up to a bound."""
        return _settled(self.report, [r.status for r in self.report.runs])


def _settled(report: AlignReport | UniverseReport, statuses: Sequence[str]) -> bool:
    same = report.verdict == "same mode up to symmetry" and not report.condition
    # a match without a bound may have missed a better one
    return same and "not-certified" not in statuses


@flat
def align(
    source: Source,
    reference: Source,
    *,
    matching: MatchingOptions = MatchingOptions(),
    path: PathOptions = PathOptions(),
    reading: ReadingOptions = ReadingOptions(),
    written: WrittenOptions = WrittenOptions(),
) -> Aligned:
    """Relabel (and sign-flip, where the activation is odd) ``source`` onto ``reference``.

    Args:
        source: What is moved; its symmetry group is the one used.
        reference: What it is moved onto.
        matching: Cost, random starts and their seed; see docs/alignment.md.
        path: Data on which the straight path between the two is measured.
        reading: The network, and what the files leave open.
        written: Where the aligned posterior goes, in the format it was read from.

    Returns:
        ``.report``, ``.posterior``, ``.certificate``, and ``.apply(tensors)`` for any dict of
        arrays.

    Raises:
        SymdiagError: Bad input or options; ``code`` says which.
    """
    started = time.time()
    # before any work: a run of minutes should not end in a name that is taken
    inputs = [s for s in (source, reference) if isinstance(s, str | Path)]
    check_output(written.output, inputs, overwrite=written.overwrite, code="usage")
    (model, fixed), symmetry = _read([source, reference], reading, matching.seed)
    if written.output is not None:
        # a report may carry its condition in words; a file of weights cannot
        symmetry.provenance.require_groups("writing an aligned posterior")
    alignment = align_posteriors(
        model,
        fixed,
        symmetry.spec,
        cost=matching.cost,
        restarts=matching.restarts,
        generator=np.random.default_rng(matching.seed),
    )
    log.debug("aligned: %s", alignment.certificate.statement)
    report = align_report(
        alignment,
        model,
        fixed,
        settings=AlignSettings(matching.seed, matching.cost, matching.restarts),
        data=_measured(alignment, model, fixed, symmetry, path, matching.seed),
        assumptions=_assumptions(model, symmetry),
        network=network_info(symmetry),
        run=run_info(started),
    )
    _save(alignment.posterior, written, reading)
    return Aligned(report, alignment)


@flat
def align_many(
    sources: Sequence[Source],
    *,
    matching: MatchingOptions = MatchingOptions(),
    reading: ReadingOptions = ReadingOptions(),
) -> AlignedMany:
    """Bring posteriors of one architecture to one labelling; the first one's network counts."""
    started = time.time()
    posteriors, symmetry = _read(sources, reading, matching.seed)
    universe = align_posteriors_many(
        posteriors,
        symmetry.spec,
        cost=matching.cost,
        restarts=matching.restarts,
        generator=np.random.default_rng(matching.seed),
    )
    report = universe_report(
        universe,
        posteriors,
        settings=AlignSettings(matching.seed, matching.cost, matching.restarts),
        assumptions=_assumptions(posteriors[0], symmetry),
        network=network_info(symmetry),
        run=run_info(started),
    )
    return AlignedMany(report, universe.posteriors)


def _save(posterior: Posterior, written: WrittenOptions, reading: ReadingOptions) -> None:
    """Write the posterior, and its companion beside it where it was read from two files."""
    if written.output is None:
        return
    given = reading.companion
    # the model's own, or the one that both share: the first in either case
    first = given if given is None or isinstance(given, str | Path) else given[0]
    second = None if first is None else f"{written.output.stem}-{Path(first).name}"
    formats.save(
        posterior,
        written.output,
        overwrite=written.overwrite,
        companion=None if second is None else written.output.with_name(second),
    )


def _read(
    sources: Sequence[Source], reading: ReadingOptions, seed: int
) -> tuple[list[Posterior], Symmetry]:
    """All posteriors, and the symmetry of the first: ``align`` checks that shapes agree."""
    # one symmetry for all: files of one architecture differ in values only
    posteriors = read_all(sources, reading)
    symmetry = find_symmetry(posteriors[0], reading, seed)
    if not len(symmetry.spec):
        first = posteriors[0].source
        raise UsageError(
            f"no group of interchangeable units was found in {first.path if first else 'it'}",
            code="no-groups",
            hint="give --model or --spec",
        )
    return posteriors, symmetry


def _measured(
    alignment: Alignment,
    model: Posterior,
    reference: Posterior,
    symmetry: Symmetry,
    given: PathOptions,
    seed: int,
) -> OnData | None:
    """Path and functions on the data; refuses an alignment that changes what the model computes."""
    if given.data is None:
        return None
    data = as_dataset(given.data)
    # the check is on the outputs themselves, whatever the certificate says of the weights
    evaluator = Evaluator(symmetry.forward, model, data, given.likelihood, given.noise)
    change = relative_change(evaluator.outputs(model), evaluator.outputs(alignment.posterior))
    if change > _MAX_CHANGE:
        raise SymmetryError(
            f"the alignment would change the model's outputs by {change:.1e} (relative)"
        )
    return on_data(
        alignment,
        model,
        reference,
        evaluator,
        path=str(given.data) if isinstance(given.data, str | Path) else "<data>",
        prior=_prior(model, given),
        function_change=change,
        samples=given.samples,
        seed=seed,
    )


def _prior(model: Posterior, given: PathOptions) -> Prior | None:
    """The prior for the KL term; None when neither the checkpoint nor the options know it."""
    config = ModelConfig(prior_std=given.prior_std, prior_mixture=given.prior_mixture)
    # without a prior the path still has its likelihood; the report says that the KL is missing
    try:
        return resolve_prior(model, config)
    except UsageError:
        return None


def _assumptions(posterior: Posterior, symmetry: Symmetry) -> tuple[str, ...]:
    read = posterior.source.notes if posterior.source else ()
    marginal = () if posterior.is_mean_field else (_CORRELATED,)
    return tuple(dict.fromkeys((*read, *symmetry.notes, *dropped_groups(symmetry), *marginal)))
