"""What relabelling removes by chance: independent networks of the same architecture, aligned alike.

Matching the units of independent networks makes them look more alike, too: the best of n! labellings
is closer than a random one. A share of the variance, or of a distance, that relabelling removes says
something only where it exceeds what it removes from networks without anything in common. These are
drawn here: every entry of a tensor independently from all the entries that the given networks have in
that tensor, so that sizes and spreads agree and no unit corresponds to any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from symdiag.alignment.align import align, default_restarts
from symdiag.alignment.assignment import build_assignment
from symdiag.alignment.costs import get_cost
from symdiag.alignment.draws import make_pool
from symdiag.alignment.samples import align_samples
from symdiag.alignment.search import descent_work
from symdiag.alignment.switching import variance_sum
from symdiag.alignment.universe import align_many
from symdiag.arrays import Array
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import PermutationSpec

DRAWS_REPLICATES, PAIR_REPLICATES, UNIVERSE_REPLICATES, LEAST_REPLICATES = 6, 24, 12, 3
FALSE_ALARM = 0.002
"""Probability that independent networks exceed the limit of chance."""

_MOST_DRAWS = 32
_USUAL_ROUNDS = 5  # of the barycentre, the last of which finds that nothing moves
_WORK = 4e11  # multiply-adds that all replicates together may take: tens of seconds


@dataclass(frozen=True)
class Chance:
    """Shares that relabelling removes from independent networks of the same architecture.

    ``upper``: what a share must exceed to be no chance.
    """

    mean: float
    std: float
    upper: float
    replicates: int


def chance_of(shares: Sequence[float]) -> Chance:
    """Mean, spread and the limit of chance from the shares of independent networks.

    The limit is a prediction interval for one more share: log(1 − share), which is unbounded and
    near to normal, differs from the mean of R by Student's t times its spread times √(1 + 1/R).
    """
    values = np.asarray(shares)
    # (R,); a share of 1 leaves nothing, and its logarithm must stay finite.
    left = np.log(np.maximum(1.0 - values, 1e-12))
    reach = float(
        student.ppf(1.0 - FALSE_ALARM, len(values) - 1) * np.sqrt(1.0 + 1.0 / len(values))
    )
    upper = 1.0 - float(np.exp(left.mean() - reach * left.std(ddof=1)))
    return Chance(float(values.mean()), float(values.std(ddof=1)), upper, len(values))


def relabelled_share(before: Mapping[str, Array], after: Mapping[str, Array]) -> float:
    """The part of the variance over draws, summed over weights, that is gone after relabelling."""
    total = sum(variance_sum(values) for values in before.values())
    left = sum(variance_sum(values) for values in after.values())
    return max(0.0, 1.0 - left / total) if total > 0 else 0.0


def chance_of_draws(
    draws: Mapping[str, Array], spec: PermutationSpec, *, generator: np.random.Generator
) -> Chance | None:
    """For a stack of draws, tensor name → (S, *shape); None where it would take too long.

    Each replicate is aligned from one start: more raise its share by a few hundredths at most, far
    below the limit. Beyond ``_MOST_DRAWS`` draws the share no longer depends on their number.
    """
    pool = make_pool({name: values[:_MOST_DRAWS] for name, values in draws.items()}, spec)
    count = _affordable(descent_work(pool.problems[0]) * len(pool), DRAWS_REPLICATES)
    if not count:
        return None
    return chance_of([_share_of_draws(draws, spec, generator) for _ in range(count)])


def _share_of_draws(
    draws: Mapping[str, Array], spec: PermutationSpec, generator: np.random.Generator
) -> float:
    unrelated = {
        # (S, *shape): entries independent, so no unit of one network has a partner in another.
        name: generator.choice(
            values.ravel(), size=(min(len(values), _MOST_DRAWS), *values.shape[1:])
        )
        for name, values in draws.items()
    }
    aligned = align_samples(unrelated, spec, starts=1, generator=generator)
    return relabelled_share(unrelated, aligned.draws)


def chance_of_pair(
    model: Posterior,
    reference: Posterior,
    spec: PermutationSpec,
    *,
    cost: str,
    restarts: int | None = None,
    generator: np.random.Generator,
) -> Chance | None:
    """For the distance of two posteriors; None where that many alignments take too long."""
    problem = build_assignment(model, reference, spec, get_cost(cost))
    restarts = default_restarts(problem) if restarts is None else restarts
    count = _affordable(descent_work(problem) * (1 + restarts), PAIR_REPLICATES)
    if not count:
        return None
    shares = []
    for _ in range(count):
        first, second = (_unrelated([model, reference], generator) for _ in range(2))
        found = align(
            first,
            second,
            spec,
            cost=cost,
            restarts=restarts,
            certify=False,
            generator=generator,
        )
        shares.append(found.relabelling_share)
    return chance_of(shares)


def chance_of_universe(
    posteriors: Sequence[Posterior],
    spec: PermutationSpec,
    *,
    cost: str,
    restarts: int | None = None,
    generator: np.random.Generator,
) -> Chance | None:
    """For the between-run variance of several posteriors; None where it would take too long."""
    problem = build_assignment(posteriors[0], posteriors[1], spec, get_cost(cost))
    starts = 1 + (default_restarts(problem) if restarts is None else restarts)
    alignments = _USUAL_ROUNDS * len(posteriors)
    count = _affordable(descent_work(problem) * starts * alignments, UNIVERSE_REPLICATES)
    if not count:
        return None
    shares = []
    for _ in range(count):
        unrelated = [_unrelated(posteriors, generator) for _ in posteriors]
        found = align_many(
            unrelated, spec, cost=cost, restarts=restarts, generator=generator, certify=False
        )
        shares.append(found.relabelling_share)
    return chance_of(shares)


def _unrelated(posteriors: Sequence[Posterior], generator: np.random.Generator) -> Posterior:
    """A posterior whose entries are drawn, mean and std together, from all of the given ones."""
    model, loc, scale = posteriors[0], {}, {}
    for name, shape in model.shapes.items():
        means = np.concatenate([p.loc[name].ravel() for p in posteriors])
        stds = np.concatenate([p.scale[name].ravel() for p in posteriors])
        # A mean keeps its std: costs weigh one by the other.
        chosen = generator.integers(len(means), size=shape)
        loc[name], scale[name] = means[chosen], stds[chosen]
    return Posterior(loc, scale, buffers=model.buffers)


def _affordable(work: float, most: int) -> int:
    count = int(min(most, _WORK / max(work, 1.0)))
    # A spread from two values would say nothing.
    return count if count >= LEAST_REPLICATES else 0
