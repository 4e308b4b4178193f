"""Weight draws brought to one common labelling: iterated Hungarian assignment to a running
Gaussian.

Relabelling by the likeliest labelling under the draws' own fitted density follows Stephens (2000)
for mixture models. Draws are taken in turn, each assigned by −log density of the Gaussian of those
before; then all are assigned to the Gaussian of all, which is fitted anew, until nothing gets
likelier. Several orders of the draws are tried.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from symdiag.alignment.assignment import Assignment, State
from symdiag.alignment.draws import Pool, Running, assign, fitted, make_pool
from symdiag.alignment.search import descent_work
from symdiag.alignment.switching import centred
from symdiag.arrays import Array
from symdiag.errors import UsageError
from symdiag.symmetry.elements import Element, act
from symdiag.symmetry.spec import PermutationSpec

_ROUNDS = 50
_SEARCHES = 5  # wide searches over all draws, at most, for coupled groups
_STARTS = 6
_WORK = 2e11  # multiply-adds of the starts together
_DRAW_RESTARTS = 2  # random starts of the wide search of one draw
_UNUSUAL = 1.25
_FEW = 16  # draws that do not tell what is usual
_CLOSE = 0.01  # nats per draw by which scores of the same labelling may differ
_SAME = 1e-9


@dataclass(frozen=True)
class SampleAlignment:
    """Draws in one common labelling: that of the draws which need no relabelling, the majority of
    each group.

    Attributes:
        spec: the groups.
        actions: per draw, group name → the element that brings it to the common labelling.
        draws: tensor name → (S, *shape), the draws so labelled; tensors outside every group as they
            were.
        score: penalised −log likelihood of the Gaussian fitted to them, up to a constant, nats.
        rounds: reassignments of all draws in the best run.
        converged: whether the last round changed nothing.
        agreement: share of the starts that came within 0.01 nats per draw of the best score.
    """

    spec: PermutationSpec
    actions: tuple[Mapping[str, Element], ...]
    draws: Mapping[str, Array]
    score: float
    rounds: int
    converged: bool
    agreement: float


@dataclass(frozen=True)
class _Run:
    states: tuple[State, ...]
    score: float
    rounds: int
    converged: bool


def align_samples(
    draws: Mapping[str, Array],
    spec: PermutationSpec,
    *,
    starts: int | None = None,
    generator: np.random.Generator | None = None,
) -> SampleAlignment:
    """Relabel (and, where a group is signed, flip) the units of every draw to match a common
    Gaussian.

    Args:
        draws: tensor name → (S, *shape), at least one draw.
        spec: the symmetry group.
        starts: orders of the draws tried; by default 6, fewer where one takes long.
        generator: of the orders; the same one gives the same result.

    Raises:
        UsageError: ``bad-option`` for no start, ``spec-mismatch`` when the spec does not fit the
            tensors.
    """
    if starts is not None and starts < 1:
        raise UsageError("at least one start is needed", code="bad-option")
    generator = np.random.default_rng(0) if generator is None else generator
    pool = make_pool(draws, spec)
    # the criterion has local optima: starts differ in the order of the draws, the likeliest counts
    runs = [_run(pool, generator, k) for k in range(starts or _affordable(pool))]
    best = min(runs, key=lambda run: run.score)
    # scores grow with the number of draws, and so does what counts as the same
    close = [run.score <= best.score + _CLOSE * len(pool) for run in runs]
    names = [group.name for group in spec]
    # a common relabelling changes nothing: the majority's labelling is made the identity
    actions = centred([dict(zip(names, state, strict=True)) for state in best.states])
    return SampleAlignment(
        spec=spec,
        actions=tuple(actions),
        draws=relabelled(draws, spec, actions),
        score=best.score,
        rounds=best.rounds,
        converged=best.converged,
        agreement=sum(close) / len(close),
    )


def relabelled(
    draws: Mapping[str, Array], spec: PermutationSpec, actions: Sequence[Mapping[str, Element]]
) -> dict[str, Array]:
    """Every draw moved by its own action: tensor name → (S, *shape)."""
    moved = [
        act(spec, action, {n: v[s] for n, v in draws.items()}) for s, action in enumerate(actions)
    ]
    return {
        name: np.stack([m[name] for m in moved]).astype(np.float64, copy=False) for name in draws
    }


def _affordable(pool: Pool) -> int:
    work = max(descent_work(pool.problems[0]), 1.0) * len(pool)
    return int(np.clip(_WORK / work, 1, _STARTS))


def _run(pool: Pool, generator: np.random.Generator, number: int) -> _Run:
    """One start: the first in file order, the others in random order."""
    order = list(range(len(pool))) if number == 0 else generator.permutation(len(pool)).tolist()
    run = _descend(pool, _in_turn(pool, order, generator))
    # separable problems are solved exactly by one assignment a group: nothing wider to search
    for _ in range(_SEARCHES if not pool.problems[0].is_separable else 0):
        better = _descend(pool, _wide_round(pool, run, generator), run)
        if better.score >= run.score - _SAME * abs(run.score):
            break
        run = better
    return run


def _in_turn(pool: Pool, order: Sequence[int], generator: np.random.Generator) -> tuple[State, ...]:
    """Each draw assigned to the Gaussian of those before it."""
    identity = pool.problems[0].identity()
    states = {order[0]: identity}
    # the first draw is the origin of the sums (against cancellation) and their first term
    moments = Running(pool.aligned(order[0], identity))
    moments.add(pool.aligned(order[0], identity))
    costs: list[float] = []
    for draw in order[1:]:
        problem = pool.against(draw, moments.reference(pool.spread))
        states[draw] = _wide(problem, identity, _usual(costs), generator)
        costs.append(problem.distance(states[draw]))
        moments.add(pool.aligned(draw, states[draw]))
    return tuple(states[s] for s in range(len(pool)))


def _wide(
    problem: Assignment, state: State, enough: float, generator: np.random.Generator
) -> State:
    return assign(
        problem, state, restarts=_DRAW_RESTARTS, enough=enough, seed=int(generator.integers(2**31))
    )


def _usual(costs: Sequence[float]) -> float:
    """What the assignment of a draw of the same mode costs at most, judged by the others; 0 of few."""
    return _UNUSUAL * float(np.median(costs)) if len(costs) >= _FEW else 0.0


def _narrow_round(pool: Pool, run: _Run) -> tuple[State, ...]:
    """Every draw assigned to the Gaussian of all, by descent from where it is."""
    reference, _ = fitted(pool, run.states)
    return tuple(assign(pool.against(s, reference), state) for s, state in enumerate(run.states))


def _wide_round(pool: Pool, run: _Run, generator: np.random.Generator) -> tuple[State, ...]:
    """The same by a wider search for draws that fit badly."""
    reference, _ = fitted(pool, run.states)
    problems = [pool.against(s, reference) for s in range(len(pool))]
    enough = _usual(
        [problem.distance(state) for problem, state in zip(problems, run.states, strict=True)]
    )
    return tuple(
        _wide(p, state, enough, generator) for p, state in zip(problems, run.states, strict=True)
    )


def _descend(pool: Pool, states: tuple[State, ...], before: _Run | None = None) -> _Run:
    """Rounds until the score no longer falls; every accepted one lowers it, so this ends."""
    run = _Run(states, fitted(pool, states)[1], 0 if before is None else before.rounds + 1, False)
    for _ in range(_ROUNDS):
        after = _narrow_round(pool, run)
        score = fitted(pool, after)[1]
        # refitting and reassigning both lower the score: no decrease means nothing moves any more
        if score >= run.score - _SAME * abs(run.score):
            return _Run(run.states, run.score, run.rounds, True)
        run = _Run(after, score, run.rounds + 1, False)
    return run
