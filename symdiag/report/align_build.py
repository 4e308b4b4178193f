"""Alignments as reports: from the library's objects to the JSON contract."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from symdiag.alignment import Alignment, Spread, Universe, align, function_gap, path_between
from symdiag.alignment.comparison import LogLikelihood, StraightPath, closeness, draw, judge
from symdiag.alignment.costs import get_cost
from symdiag.posterior import GaussianPrior, Posterior
from symdiag.report.align_model import (
    Agreement,
    AlignReport,
    AlignSettings,
    Distance,
    GroupAlignment,
    OnData,
    PathReport,
    Proof,
    RunAlignment,
    Side,
    SpreadReport,
    UnitMatch,
    UniverseReport,
)
from symdiag.report.kinds.align import AlignedTo
from symdiag.symmetry.spec import PermutationSpec


def align_report(
    alignment: Alignment,
    model: Posterior,
    reference: Posterior,
    *,
    settings: AlignSettings,
    tool: Mapping[str, str],
    data: OnData | None = None,
    assumptions: Sequence[str] = (),
    run: Mapping[str, Any] | None = None,
) -> AlignReport:
    """The report of one alignment. ``model`` and ``reference`` as they were read."""
    certificate = alignment.certificate
    return AlignReport(
        model=side(model),
        reference=side(reference),
        groups=tuple(_group(alignment, group.name) for group in alignment.spec),
        distance=Distance(
            cost=alignment.cost,
            unit=get_cost(alignment.cost).unit,
            before=certificate.distance_before,
            after=certificate.distance,
            relabelling_share=alignment.relabelling_share,
        ),
        certificate=Proof(
            status=certificate.status,
            statement=certificate.statement,
            lower_bound=certificate.lower_bound,
            gap=certificate.gap,
            method=certificate.method,
            agreement=certificate.agreement,
            starts=certificate.starts,
        ),
        before=Agreement(alignment.before.standard_difference, alignment.before.unexplained),
        after=Agreement(alignment.after.standard_difference, alignment.after.unexplained),
        verdict=alignment.verdict(data.function_gap if data else None),
        settings=settings,
        tool=dict(tool),
        data=data,
        assumptions=tuple(assumptions),
        run=dict(run or {}),
    )


def align_section(
    model: Posterior,
    reference: Posterior,
    spec: PermutationSpec,
    *,
    cost: str = "w2",
    seed: int = 0,
) -> AlignedTo:
    """What ``analyze --reference`` adds to its report."""
    alignment = align(model, reference, spec, cost=cost, generator=np.random.default_rng(seed))
    report = align_report(
        alignment, model, reference, settings=AlignSettings(seed, cost, None), tool={}
    )
    return AlignedTo(**{f.name: getattr(report, f.name) for f in fields(AlignedTo)})


def side(posterior: Posterior) -> Side:
    """Where a posterior came from."""
    source = posterior.source
    if source is None:
        return Side("<posterior>", "", "python")
    return Side(source.path, source.sha256, f"{source.container}/{source.dialect}")


def _group(alignment: Alignment, name: str) -> GroupAlignment:
    group, element = alignment.spec.group(name), alignment.action[name]
    found, churn = alignment.matches[name], alignment.churn[name]
    margins = [float(m) if np.isfinite(m) else None for m in found.margins]
    unsure = set(found.ambiguous)
    units = tuple(
        UnitMatch(
            i,
            int(element.permutation[i]),
            int(element.signs[i]),
            float(found.costs[i]),
            margins[i],
            i in unsure,
        )
        for i in range(group.width)
    )
    return GroupAlignment(
        name=name,
        width=group.width,
        signed=group.signed,
        transpositions=churn.transpositions,
        moved=churn.moved,
        flipped=churn.flipped,
        least_margin=min((m for m in margins if m is not None), default=None),
        margins_exact=found.exact,
        ambiguous=found.ambiguous,
        units=units,
    )


def on_data(
    alignment: Alignment,
    model: Posterior,
    reference: Posterior,
    log_likelihood: LogLikelihood,
    *,
    path: str,
    likelihood: str,
    prior: GaussianPrior | None,
    function_change: float,
    points: int = 11,
    samples: int = 32,
    seed: int = 0,
) -> OnData:
    """Both straight paths to the reference, from the model as it was and as aligned, and the gap of the functions."""
    settings: dict[str, Any] = dict(prior=prior, points=points, samples=samples, seed=seed)
    before, after = (
        path_between(start, reference, log_likelihood, **settings)
        for start in (model, alignment.posterior)
    )
    return OnData(
        path=path,
        points=log_likelihood(draw(model, 1, seed)).shape[1],
        samples=samples,
        likelihood=likelihood,
        has_prior=prior is not None,
        function_gap=function_gap(
            alignment.posterior, reference, log_likelihood, samples=samples, seed=seed
        ),
        function_change=function_change,
        positions=before.positions,
        before=_path(before),
        after=_path(after),
    )


def _path(path: StraightPath) -> PathReport:
    return PathReport(path.nll, path.elbo, path.barrier, path.elbo_barrier)


def universe_report(
    universe: Universe,
    models: Sequence[Posterior],
    *,
    settings: AlignSettings,
    tool: Mapping[str, str],
    assumptions: Sequence[str] = (),
    run: Mapping[str, Any] | None = None,
) -> UniverseReport:
    """The report of several models in one labelling; the verdict is that of the pair that differs most."""
    pairs = [closeness(a, b) for a, b in itertools.combinations(universe.posteriors, 2)]
    same = all(judge(pair) == "same mode up to symmetry" for pair in pairs)
    differences = [p.standard_difference for p in pairs if p.standard_difference is not None]
    return UniverseReport(
        runs=tuple(_run(a, m) for a, m in zip(universe.alignments, models, strict=True)),
        before=_spread(universe.before),
        after=_spread(universe.after),
        worst_pair=max(differences, default=None),
        verdict="same mode up to symmetry" if same else "different",
        settings=settings,
        tool=dict(tool),
        assumptions=tuple(assumptions),
        run=dict(run or {}),
    )


def _run(alignment: Alignment, model: Posterior) -> RunAlignment:
    return RunAlignment(
        model=side(model),
        distance_before=alignment.certificate.distance_before,
        distance=alignment.certificate.distance,
        status=alignment.certificate.status,
        transpositions={name: churn.transpositions for name, churn in alignment.churn.items()},
        permutations={n: tuple(int(i) for i in e.permutation) for n, e in alignment.action.items()},
        signs={n: tuple(int(s) for s in e.signs) for n, e in alignment.action.items()},
    )


def _spread(spread: Spread) -> SpreadReport:
    return SpreadReport(
        spread.between, spread.within, spread.rhat, spread.worst, dict(spread.per_tensor)
    )
