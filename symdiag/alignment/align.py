"""``align``: permute and sign-flip one posterior onto another, with a certificate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from symdiag.alignment.assignment import Assignment, build_assignment
from symdiag.alignment.certificate import Certificate, Matches, certificate_of, matches
from symdiag.alignment.comparison import (
    Churn,
    Closeness,
    FunctionGap,
    Verdict,
    churn,
    closeness,
    judge,
)
from symdiag.alignment.costs import get_cost
from symdiag.alignment.search import Search, descent_work
from symdiag.arrays import Array
from symdiag.display import Shown, SmallTable
from symdiag.posterior import Covariance, Posterior
from symdiag.symmetry.elements import Action, Element, act
from symdiag.symmetry.spec import PermutationSpec

T = TypeVar("T")

_RESTART_WORK = 1.5e10  # multiply-adds of all restarts together
_MAX_RESTARTS = 48


@dataclass(frozen=True, repr=False)
class Alignment(Shown):
    """Permutations and signs that bring a model onto a reference, what they achieve, and how sure
    that is.

    Attributes:
        spec: the groups.
        cost: name of the cost minimised.
        action: group name → element; ``apply`` uses it on any dict of tensors.
        posterior: the aligned model.
        certificate: distance before and after, lower bound, status.
        matches: group name → cost, margin and ambiguity of every unit's match.
        churn: group name → how much was relabelled.
        before: model and reference compared before alignment.
        after: and after it.
    """

    spec: PermutationSpec
    cost: str
    action: Mapping[str, Element]
    posterior: Posterior
    certificate: Certificate
    matches: Mapping[str, Matches]
    churn: Mapping[str, Churn]
    before: Closeness
    after: Closeness

    @property
    def relabelling_share(self) -> float:
        """Fraction of the distance before alignment that was mere relabelling (0 if there was
        none).
        """
        before = self.certificate.distance_before
        return max(0.0, 1.0 - self.certificate.distance / before) if before > 0 else 0.0

    @property
    def is_identity(self) -> bool:
        """Whether nothing had to move."""
        return all(e.is_identity for e in self.action.values())

    def _small_table(self) -> SmallTable:
        proof = self.certificate
        return SmallTable(
            f"Alignment: {self.cost} {proof.distance_before:.4g} -> {proof.distance:.4g}, "
            f"{proof.status}",
            ("group", "units", "moved", "flipped", "transpositions"),
            [
                (
                    g.name,
                    str(g.width),
                    str(self.churn[g.name].moved),
                    str(self.churn[g.name].flipped),
                    str(self.churn[g.name].transpositions),
                )
                for g in self.spec
            ],
        )

    def verdict(self, functions: FunctionGap | None = None) -> Verdict:
        """Same mode, same function or different; ``functions`` as from ``function_gap``."""
        return judge(self.after, functions)

    def apply(self, tensors: Mapping[str, T], *, flip: bool = True) -> dict[str, T]:
        """The same permutations and signs applied to any dict of NumPy arrays or torch tensors by
        the spec's names.
        """
        return act(self.spec, self.action, tensors, flip=flip)


def align(
    model: Posterior,
    reference: Posterior,
    spec: PermutationSpec,
    *,
    cost: str = "w2",
    restarts: int | None = None,
    certify: bool = True,
    generator: np.random.Generator | None = None,
) -> Alignment:
    """Permute (and, where a group is signed, flip) the units of ``model`` to match ``reference``.

    Args:
        model: the posterior to move.
        reference: the posterior to move it onto; same tensors, same shapes.
        spec: the symmetry group; units are matched within its groups.
        cost: ``w2`` (squared 2-Wasserstein), ``kl`` (symmetric), ``hellinger`` or ``mean``.
        restarts: random starts, and kicks per round of joint moves; by default as many as are cheap
            (up to 48).
        certify: False skips the lower bounds and the margins (``matches`` is then empty), for
            speed.
        generator: of the restarts; the same one gives the same result.

    Returns:
        The alignment. Aligning its posterior again (same arguments) changes nothing.

    Raises:
        UsageError: unknown cost, posteriors of different architecture, or a spec that does not fit.
    """
    problem = build_assignment(model, reference, spec, get_cost(cost))
    if restarts is None:
        restarts = default_restarts(problem)
    # one number drawn here: the search then depends on the generator's state and on nothing later
    seed = 0 if generator is None else int(generator.integers(2**63))
    search = Search(problem, restarts, seed)
    found = search.run()
    if certify:
        # bounds and margins are claims about a local optimum in float64
        found = search.polish()
    certificate = certificate_of(search.solver, found, bounds=certify)
    action = {group.name: element for group, element in zip(spec, found.state, strict=True)}
    posterior = move_posterior(model, spec, action)
    return Alignment(
        spec=spec,
        cost=cost,
        action=action,
        posterior=posterior,
        certificate=certificate,
        matches={
            g.name: matches(search.solver, i, found.state) for i, g in enumerate(spec) if certify
        },
        churn={name: churn(element) for name, element in action.items()},
        before=closeness(model, reference),
        after=closeness(posterior, reference),
    )


def default_restarts(problem: Assignment) -> int:
    """As many random starts as are cheap."""
    return int(min(_MAX_RESTARTS, _RESTART_WORK / max(descent_work(problem), 1.0)))


def move_posterior(posterior: Posterior, spec: PermutationSpec, action: Action) -> Posterior:
    """``posterior`` with its units reordered and flipped: means, stds, buffers and covariance move
    together.
    """
    moved = replace(
        posterior,
        loc=act(spec, action, posterior.loc),
        scale=_move_scales(posterior, spec, action),
        buffers=act(spec, action, posterior.buffers),
    )
    if posterior.covariance is None:
        return moved
    return replace(
        moved, covariance=_move_covariance(posterior, spec, action, posterior.covariance)
    )


def _move_scales(posterior: Posterior, spec: PermutationSpec, action: Action) -> dict[str, Array]:
    # zeros everywhere stay zeros wherever units go: deterministic tensors need no copy
    random = {name: scale for name, scale in posterior.scale.items() if scale.any()}
    return {**posterior.scale, **act(spec, action, random, flip=False)}


def _move_covariance(
    posterior: Posterior, spec: PermutationSpec, action: Action, before: Covariance
) -> Covariance:
    """Rows of the factor follow their weights: which flat position each came from, and with which
    sign.
    """
    shapes = {name: posterior.loc[name].shape for name in before.order}
    # flat positions travel through the same action as the weights: no second rule for layouts
    positions, start = {}, 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        positions[name] = np.arange(start, start + size, dtype=np.float64).reshape(shape)
        start += size
    # a position is a label, not a value: it moves and never changes sign
    came_from = act(spec, action, positions, flip=False)
    signs = act(spec, action, {name: np.ones(shape) for name, shape in shapes.items()})
    order = np.concatenate([came_from[name].ravel() for name in before.order]).astype(np.intp)
    sign = np.concatenate([signs[name].ravel() for name in before.order])
    return replace(
        before, factor=before.factor[order] * sign[:, None], diagonal=before.diagonal[order]
    )
