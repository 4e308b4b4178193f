"""Weight draws brought into the search's layout, and the running Gaussian that they are assigned
to.

A draw's unit j costs slot i −log N(ω_j; μ_i, σ_i²) nats; Σ log σ is the same for every permutation
and left out. So a draw's best labelling is one assignment problem per group, solved by the search
that aligns posteriors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from symdiag.alignment.assignment import (
    Assignment,
    State,
    TensorBlock,
    build_assignment,
    moved_weights,
)
from symdiag.alignment.costs import Weights, sorted_distances
from symdiag.alignment.descent import Solver
from symdiag.alignment.search import Search, signature_state
from symdiag.arrays import Array
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import PermutationSpec

SHRINKAGE = 4.0
"""Pseudo-draws with the mean variance of their tensor, which keep the std of a weight seen few
times from vanishing.
"""

_FLOOR = 1e-8  # least variance, relative to the spread of the tensor's entries
_SAME = 1e-9


class LogDensity:
    """½ (ω − μ)²/σ²: how unlikely a draw is under a Gaussian, up to what no permutation changes."""

    name = "density"
    unit = "nats"
    needs_width = True
    is_metric = False
    is_symmetric = False

    def elementwise(self, model: Weights, reference: Weights) -> Array:
        """Half the squared distance in stds of the reference."""
        assert reference.scale is not None
        result: Array = 0.5 * ((model.loc - reference.loc) / reference.scale) ** 2
        return result

    def pairwise(self, model: Weights, reference: Weights) -> Array:
        """Two matrix products, centred per weight to limit cancellation."""
        assert reference.scale is not None
        # differences about a common centre: the expansion cancels only what the units share
        centre = reference.loc.mean(axis=0)
        draw, mean, precision = model.loc - centre, reference.loc - centre, reference.scale**-2
        total: Array = 0.5 * (precision @ (draw**2).T) - (precision * mean) @ draw.T
        total += 0.5 * np.einsum("ij,ij,ij->i", precision, mean, mean)[:, None]
        return np.maximum(total, 0.0, out=total)

    def unordered(self, model: Weights, reference: Weights) -> Array:
        """Sorted draws against sorted means, at the largest variance of each reference unit."""
        assert reference.scale is not None
        # the largest variance bounds every precision from below, whatever order the entries take
        widest = reference.scale.reshape(len(reference.scale), -1).max(axis=1)
        result: Array = 0.5 * sorted_distances(model.loc, reference.loc) / widest[:, None] ** 2
        return result


@dataclass(frozen=True)
class Pool:
    """All draws of the tensors that some group moves: per draw, one block per tensor with its group
    axes first.

    ``spread``: per block, the variance of its entries over draws and units.
    """

    problems: tuple[Assignment, ...]
    spread: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.problems)

    def against(self, draw: int, reference: Sequence[Weights]) -> Assignment:
        """The problem of assigning one draw to a Gaussian."""
        problem = self.problems[draw]
        pairs = zip(problem.blocks, reference, strict=True)
        return replace(
            problem, blocks=tuple(replace(block, reference=given) for block, given in pairs)
        )

    def aligned(self, draw: int, state: State) -> list[Array]:
        """The blocks of one draw moved by ``state``."""
        return [moved_weights(block, state).loc for block in self.problems[draw].blocks]


def make_pool(draws: Mapping[str, Array], spec: PermutationSpec) -> Pool:
    """Draws (S, *shape) by tensor name as a pool.

    Raises:
        UsageError: the spec does not fit the tensors.
    """
    touched = {
        name: values for name, values in draws.items() if any(name in g.tensors for g in spec)
    }
    size = len(next(iter(draws.values())))
    problems = tuple(
        _one({name: values[s] for name, values in touched.items()}, spec) for s in range(size)
    )
    blocks = zip(*(p.blocks for p in problems), strict=True)
    return Pool(problems, tuple(_spread(b) for b in blocks))


def _one(draw: dict[str, Array], spec: PermutationSpec) -> Assignment:
    # a draw is a posterior without spread: the layout is built by what aligns posteriors
    point = Posterior(draw, {name: np.zeros_like(values) for name, values in draw.items()})
    problem = build_assignment(point, point, spec, LogDensity())
    return replace(
        problem, blocks=tuple(replace(b, model=Weights(b.model.loc, None)) for b in problem.blocks)
    )


def _spread(blocks: Sequence[TensorBlock]) -> float:
    """Variance of all entries of one tensor in all draws; 1 where they are all the same."""
    mean = float(np.mean([b.model.loc.mean() for b in blocks]))
    variance = float(np.mean([((b.model.loc - mean) ** 2).mean() for b in blocks]))
    return variance if variance > 0 else 1.0


class Running:
    """Mean and std of the draws added so far, per block; variances are shrunk to a prior one, a
    number per block.
    """

    def __init__(self, origin: Sequence[Array]) -> None:
        self.count = 0
        self._origin = origin  # sums are taken relative to one draw, against cancellation
        self._sums = [np.zeros_like(o) for o in origin]
        self._squares = [np.zeros_like(o) for o in origin]

    def add(self, draw: Sequence[Array]) -> None:
        """One more aligned draw."""
        self.count += 1
        for k, values in enumerate(draw):
            # sums of squares of raw values would lose the digits that the variance is made of
            difference = values - self._origin[k]
            self._sums[k] += difference
            self._squares[k] += difference**2

    def reference(self, prior: Sequence[float]) -> list[Weights]:
        """The Gaussian to assign the next draw to."""
        means = [o + s / self.count for o, s in zip(self._origin, self._sums, strict=True)]
        return [Weights(m, np.sqrt(v)) for m, v in zip(means, self.variances(prior), strict=True)]

    def variances(self, prior: Sequence[float]) -> list[Array]:
        """Shrunken variances: the mode of the posterior of σ² under an inverse-gamma prior around
        ``prior``.
        """
        total = self.count + SHRINKAGE
        return [(q + SHRINKAGE * p) / total for q, p in zip(self.squares(), prior, strict=True)]

    def squares(self) -> list[Array]:
        """Sums of squared deviations from the mean."""
        pairs = zip(self._squares, self._sums, strict=True)
        # rounding may leave −1e-17 where all draws agree; a variance is no less than 0
        return [np.maximum(q - s**2 / self.count, 0.0) for q, s in pairs]


def fitted(pool: Pool, states: Sequence[State]) -> tuple[list[Weights], float]:
    """The Gaussian of all draws as labelled by ``states``, and its score (nats; lower is better).

    The score is the penalised −log likelihood at its optimum, (S + ν)/2 Σ log σ² up to a constant:
    the volume that the aligned draws fill.
    """
    moments = Running(pool.aligned(0, states[0]))
    for s, state in enumerate(states):
        moments.add(pool.aligned(s, state))
    squares = zip(moments.squares(), pool.spread, strict=True)
    # each tensor shrinks to its own mean variance, floored where all draws coincide
    prior = [max(float(q.mean()) / moments.count, _FLOOR * spread) for q, spread in squares]
    score = (
        0.5
        * (moments.count + SHRINKAGE)
        * sum(float(np.log(v).sum()) for v in moments.variances(prior))
    )
    return moments.reference(prior), score


def assign(
    problem: Assignment, state: State, *, restarts: int = 0, enough: float = 0.0, seed: int = 0
) -> State:
    """The likeliest labelling of one draw: descent from ``state`` and, where groups are coupled, a
    wider search.

    Args:
        problem: the draw against a Gaussian.
        state: where to start.
        restarts: of the wider search; 0 for none.
        enough: cost at which the wider search is not worth its time.
        seed: of the restarts.
    """
    solver = Solver(problem)
    found = solver.descend(state)
    if not restarts or problem.is_separable:
        return found
    found = min((found, solver.descend(signature_state(solver))), key=problem.distance)
    if problem.distance(found) <= enough:
        return found
    other = Search(problem, restarts, seed).run()
    return other.state if other.distance < problem.distance(found) * (1.0 - _SAME) else found
