"""Several posteriors brought to one common labelling, and how much the runs then differ.

Every posterior is aligned to a barycentre (mean of the means, mean of the stds: the 2-Wasserstein
barycentre of mean-field Gaussians), which is then recomputed, until nothing moves. Matching run i
to run j through the universe is cycle-consistent by construction: going round any circle of runs is
the identity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from symdiag.alignment.align import Alignment, align
from symdiag.arrays import Array
from symdiag.errors import UsageError
from symdiag.posterior import Posterior
from symdiag.symmetry.elements import Element
from symdiag.symmetry.spec import PermutationSpec

_ROUNDS = 20


@dataclass(frozen=True)
class Spread:
    """Between-run and within-run variance, summed over weights.

    ``rhat`` = √(1 + between/within) over the non-deterministic weights: 1 when runs agree up to far
    less than their own uncertainty (Gelman & Rubin 1992 in the limit of long chains); None when
    every weight is deterministic. ``per_tensor``: the same by tensor. ``worst``: largest of single
    weights.
    """

    between: float
    within: float
    rhat: float | None
    worst: float | None
    per_tensor: Mapping[str, float | None]


@dataclass(frozen=True)
class Universe:
    """Posteriors in a common labelling.

    ``alignments``: run → universe, in input order. ``posterior``: the barycentre. ``before`` and
        ``after``: spread
    of the runs as they came and as aligned. ``rounds``: barycentre updates until nothing moved.
    """

    alignments: tuple[Alignment, ...]
    posterior: Posterior
    before: Spread
    after: Spread
    rounds: int

    @property
    def posteriors(self) -> tuple[Posterior, ...]:
        """The aligned runs."""
        return tuple(a.posterior for a in self.alignments)

    @property
    def relabelling_share(self) -> float:
        """The part of the between-run variance, summed over weights, that relabelling removed."""
        if self.before.between <= 0:
            return 0.0
        return max(0.0, 1.0 - self.after.between / self.before.between)

    def between(self, first: int, second: int) -> dict[str, Element]:
        """The action that brings run ``first`` to run ``second``'s own labelling."""
        # first → universe → second: composing through one place is what makes circles close
        there, back = self.alignments[first].action, self.alignments[second].action
        return {name: element.compose(back[name].inverse()) for name, element in there.items()}


def align_many(
    posteriors: Sequence[Posterior],
    spec: PermutationSpec,
    *,
    cost: str = "w2",
    restarts: int | None = None,
    generator: np.random.Generator | None = None,
    certify: bool = True,
) -> Universe:
    """Cycle-consistent alignment of several posteriors to a common universe.

    Args:
        posteriors: at least two, of one architecture.
        spec: the symmetry group.
        cost: as for ``align``.
        restarts: as for ``align``.
        generator: of the restarts.
        certify: as for ``align``, of the final alignments.

    Raises:
        UsageError: fewer than two posteriors, or as for ``align``.
    """
    if len(posteriors) < 2:
        raise UsageError("a universe needs at least two posteriors", code="too-few-posteriors")
    seed = 0 if generator is None else int(generator.integers(2**63))

    def to(centre: Posterior, posterior: Posterior, certify: bool = False) -> Alignment:
        return align(
            posterior,
            centre,
            spec,
            cost=cost,
            restarts=restarts,
            certify=certify,
            generator=np.random.default_rng(seed),
        )

    # any run serves as the first centre; it is forgotten after one round
    centre, total, rounds = posteriors[0], np.inf, 0
    for rounds in range(1, _ROUNDS + 1):
        aligned = [to(centre, p) for p in posteriors]
        centre = barycentre([a.posterior for a in aligned])
        now = sum(a.certificate.distance for a in aligned)
        # both steps lower the summed distance (assignment, then mean): a round without gain is the
        # end
        if rounds > 1 and now >= total * (1.0 - 1e-9):
            break
        total = now
    final = tuple(to(centre, p, certify=certify) for p in posteriors)
    runs = [a.posterior for a in final]
    return Universe(final, barycentre(runs), spread(posteriors), spread(runs), rounds)


def barycentre(posteriors: Sequence[Posterior]) -> Posterior:
    """The 2-Wasserstein barycentre of mean-field Gaussians: means and stds averaged."""
    names = posteriors[0].names

    def average(pick: str) -> dict[str, Array]:
        return {n: np.mean([getattr(p, pick)[n] for p in posteriors], axis=0) for n in names}

    return posteriors[0].replace(
        loc=average("loc"), scale=average("scale"), covariance=None, source=None
    )


def spread(posteriors: Sequence[Posterior]) -> Spread:
    """Between-run and within-run variance of posteriors as they stand."""
    between, shared, within, worst, per_tensor = 0.0, 0.0, 0.0, -np.inf, {}
    for name in posteriors[0].names:
        across = np.var([p.loc[name] for p in posteriors], axis=0, ddof=1)
        inside = np.mean([p.scale[name] ** 2 for p in posteriors], axis=0)
        # a deterministic weight has no within-variance to compare with: it would make R-hat
        # infinite
        random = inside > 0
        here, there = float(across[random].sum()), float(inside.sum())
        per_tensor[name] = _rhat(here, there)
        between, shared, within = between + float(across.sum()), shared + here, within + there
        if random.any():
            worst = max(worst, float((across[random] / inside[random]).max()))
    largest = float(np.sqrt(1.0 + worst)) if np.isfinite(worst) else None
    return Spread(between, within, _rhat(shared, within), largest, per_tensor)


def _rhat(between: float, within: float) -> float | None:
    return float(np.sqrt(1.0 + between / within)) if within > 0 else None
