"""Alignments as reports: from the library's objects to the JSON contract."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from symdiag.alignment import (
    Alignment,
    Certificate,
    FunctionGap,
    Spread,
    StraightPath,
    Universe,
    align,
    chance_of_pair,
    chance_of_universe,
    closeness,
    draw,
    function_gap,
    get_cost,
    judge,
    path_between,
    path_noise,
)
from symdiag.posterior import Posterior
from symdiag.priors import Prior
from symdiag.report.kinds.align import (
    Agreement,
    AlignedTo,
    AlignReport,
    AlignSettings,
    Distance,
    GroupAlignment,
    OnData,
    PathReport,
    Proof,
    UnitMatch,
)
from symdiag.report.kinds.universe import RunAlignment, SpreadReport, UniverseReport
from symdiag.report.parts import ChanceShare, NetworkInfo, Side
from symdiag.symmetry.spec import PermutationSpec
from symdiag.tasks._evidence import Evaluator
from symdiag.tasks._inputs import TOOL


def align_report(
    alignment: Alignment,
    model: Posterior,
    reference: Posterior,
    *,
    settings: AlignSettings,
    data: OnData | None,
    assumptions: Sequence[str],
    network: NetworkInfo | None = None,
    run: dict[str, Any],
) -> AlignReport:
    """The report of one alignment. ``model`` and ``reference`` as they were read."""
    # before: as read; after: with the relabelling, which leaves the function as it is
    before, after = (
        Agreement(found.standard_difference, found.unexplained)
        for found in (alignment.before, alignment.after)
    )
    return AlignReport(
        model=side(model),
        reference=side(reference),
        groups=_groups(alignment),
        distance=_distance(alignment, model, reference, settings.seed),
        certificate=_proof(alignment.certificate),
        before=before,
        after=after,
        verdict=alignment.verdict(_functions(data)),
        settings=settings,
        tool=TOOL,
        data=data,
        assumptions=tuple(assumptions),
        network=network,
        run=run,
    )


def aligned_to(
    model: Posterior, reference: Posterior, spec: PermutationSpec, *, seed: int
) -> AlignedTo:
    """What ``analyze --reference`` adds: the parts of an align report of the same names."""
    # the default cost and the call's seed: the section equals what `symdiag align` reports
    alignment = align(model, reference, spec, cost="w2", generator=np.random.default_rng(seed))
    before, after = (
        Agreement(found.standard_difference, found.unexplained)
        for found in (alignment.before, alignment.after)
    )
    return AlignedTo(
        reference=side(reference),
        distance=_distance(alignment, model, reference, seed),
        certificate=_proof(alignment.certificate),
        before=before,
        after=after,
        verdict=alignment.verdict(),
        groups=_groups(alignment),
    )


def _distance(alignment: Alignment, model: Posterior, reference: Posterior, seed: int) -> Distance:
    share, chance = alignment.relabelling_share, None
    if share > 0:
        chance = chance_of_pair(
            model,
            reference,
            alignment.spec,
            cost=alignment.cost,
            generator=np.random.default_rng([seed, 13]),
        )
    return Distance(
        cost=alignment.cost,
        unit=get_cost(alignment.cost).unit,
        before=alignment.certificate.distance_before,
        after=alignment.certificate.distance,
        relabelling_share=share,
        chance=None if chance is None else ChanceShare(**vars(chance)),
    )


def _proof(certificate: Certificate) -> Proof:
    return Proof(
        status=certificate.status,
        statement=certificate.statement,
        lower_bound=certificate.lower_bound,
        gap=certificate.gap,
        method=certificate.method,
        agreement=certificate.agreement,
        starts=certificate.starts,
    )


def side(posterior: Posterior) -> Side:
    """Where a posterior came from."""
    source = posterior.source
    if source is None:
        return Side("<posterior>", "", "python")
    return Side(source.path, source.sha256, f"{source.container}/{source.dialect}")


def _groups(alignment: Alignment) -> tuple[GroupAlignment, ...]:
    return tuple(_group(alignment, group.name) for group in alignment.spec)


def _group(alignment: Alignment, name: str) -> GroupAlignment:
    group, element = alignment.spec.group(name), alignment.action[name]
    found, churn = alignment.matches[name], alignment.churn[name]
    # infinite: the unit has no other match (a group of one unit), which JSON has no number for
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
    evaluator: Evaluator,
    *,
    path: str,
    prior: Prior | None,
    function_change: float,
    samples: int,
    seed: int,
) -> OnData:
    """Both straight paths to the reference, before and after alignment, and the functions' gap."""
    log_likelihood = evaluator.log_likelihood
    own = path_noise(model, samples, seed)
    moved = path_noise(model, samples, seed, alignment.apply)
    before, after = (
        path_between(
            start, reference, log_likelihood, prior=prior, noise=(first, moved), samples=samples
        )
        for start, first in ((model, own), (alignment.posterior, moved))
    )
    functions = function_gap(
        alignment.posterior,
        reference,
        log_likelihood,
        evaluator.outputs_of,
        samples=samples,
        seed=seed,
    )
    return OnData(
        path=path,
        # pointwise values are (draws, points)
        points=log_likelihood(draw(model, 1, seed)).shape[1],
        samples=samples,
        likelihood=evaluator.likelihood,
        has_prior=prior is not None,
        function_gap=functions.nats,
        function_gap_error=functions.error,
        output_difference=functions.outputs,
        function_change=function_change,
        positions=before.positions,
        before=_path(before),
        after=_path(after),
    )


def _functions(data: OnData | None) -> FunctionGap | None:
    if data is None:
        return None
    return FunctionGap(data.function_gap, data.function_gap_error or 0.0, data.output_difference)


def _path(path: StraightPath) -> PathReport:
    return PathReport(path.nll, path.elbo, path.barrier, path.elbo_barrier)


def universe_report(
    universe: Universe,
    models: Sequence[Posterior],
    *,
    settings: AlignSettings,
    assumptions: Sequence[str],
    network: NetworkInfo | None = None,
    run: dict[str, Any],
) -> UniverseReport:
    """The report of several models in one labelling; the pair that differs most decides."""
    # all pairs: "same mode" is no equivalence when every difference is just below the limit
    pairs = [closeness(a, b) for a, b in itertools.combinations(universe.posteriors, 2)]
    same = all(judge(pair) == "same mode up to symmetry" for pair in pairs)
    share, chance = universe.relabelling_share, None
    if share > 0:
        chance = chance_of_universe(
            models,
            universe.alignments[0].spec,
            cost=settings.cost,
            restarts=settings.restarts,
            generator=np.random.default_rng([settings.seed, 13]),
        )
    differences = [p.standard_difference for p in pairs if p.standard_difference is not None]
    return UniverseReport(
        runs=tuple(_run(a, m) for a, m in zip(universe.alignments, models, strict=True)),
        before=_spread(universe.before),
        after=_spread(universe.after),
        worst_pair=max(differences, default=None),
        verdict="same mode up to symmetry" if same else "different",
        settings=settings,
        tool=TOOL,
        relabelling_share=share,
        chance=None if chance is None else ChanceShare(**vars(chance)),
        assumptions=tuple(assumptions),
        network=network,
        run=run,
    )


def _run(alignment: Alignment, model: Posterior) -> RunAlignment:
    return RunAlignment(
        model=side(model),
        distance_before=alignment.certificate.distance_before,
        distance=alignment.certificate.distance,
        status=alignment.certificate.status,
        transpositions={name: churn.transpositions for name, churn in alignment.churn.items()},
        # plain ints: NumPy's are no JSON numbers
        permutations={n: tuple(int(i) for i in e.permutation) for n, e in alignment.action.items()},
        signs={n: tuple(int(s) for s in e.signs) for n, e in alignment.action.items()},
    )


def _spread(spread: Spread) -> SpreadReport:
    return SpreadReport(
        spread.between, spread.within, spread.rhat, spread.worst, dict(spread.per_tensor)
    )
