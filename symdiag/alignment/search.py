"""The search: seeds, descent from each, joint moves of adjacent groups, kicks of the best state
found.

All randomness acts in the reference's order of units, on states that move along with a reordering
of the model; and the last round of joint moves and kicks found nothing better. So aligning an
aligned model changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from symdiag.alignment.assignment import Assignment, State
from symdiag.alignment.descent import Solver
from symdiag.symmetry.elements import Element
from symdiag.symmetry.spec import Group

_ROUND_WORK = (
    3e10  # multiply-adds of one round of joint moves and kicks that we are willing to spend
)
_SWEEPS = 10  # of a typical descent
_SAME = 1e-9  # relative differences of distances that are not an improvement
_SAME_SINGLE = 1e-6
_DECISIVE = (
    0.5  # share of the distance left at which one descent is enough where no restarts are wanted
)
_SINGLE_ABOVE = 500_000  # weights from which the search works in float32, as point matchers do
_INDEPENDENT = frozenset({"identity", "signature", "random"})


@dataclass(frozen=True)
class Start:
    """Where one descent began and the distance it reached."""

    kind: str  # unmoved (no descent), identity, signature, random, joint, kick, polish
    distance: float


@dataclass(frozen=True)
class Found:
    """The best state, its distance, and every start tried; the first is the model unmoved."""

    state: State
    distance: float
    starts: tuple[Start, ...]

    @property
    def agreement(self) -> float:
        """Fraction of the independent starts (not joint moves or kicks) that reached the best
        distance.
        """
        searched = [s for s in self.starts if s.kind != "polish"]
        best = min(s.distance for s in searched) * (1.0 + _SAME_SINGLE)
        independent = [s for s in searched if s.kind in _INDEPENDENT] or searched
        return sum(s.distance <= best for s in independent) / len(independent)


class Search:
    """One search over the states of a problem."""

    def __init__(self, problem: Assignment, restarts: int, seed: int) -> None:
        self.problem = problem
        reduced = problem.size > _SINGLE_ABOVE and not problem.cost.needs_width
        self.solver = Solver(problem.single_precision() if reduced else problem)
        self._same = _SAME_SINGLE if reduced else _SAME
        self.restarts = restarts
        self.seed = seed
        self.starts: list[Start] = []
        self.state = problem.identity()
        self.distance = np.inf

    def run(self) -> Found:
        """Staying and the signature seed first; the rest only while something could still improve."""
        self._note("unmoved", self.problem.identity())
        if self.distance <= self.problem.negligible:
            return self._found()
        seeded = signature_state(self.solver)
        self.attempt("signature", seeded)
        decided = not self.restarts and self.distance < _DECISIVE * self.starts[0].distance
        if not self._settled and not decided:
            self.attempt("identity", self.problem.identity())
            self._restart(seeded)
        return self._found()

    def _restart(self, seeded: State) -> None:
        generator = np.random.default_rng(self.seed)
        for _ in range(self.restarts):
            if self._settled:
                return
            self.attempt("random", scrambled(self.problem, seeded, generator))
        if self.restarts:
            self.improve_jointly()

    @property
    def _settled(self) -> bool:
        return self.problem.is_separable or self.distance <= self.problem.negligible

    def polish(self) -> Found:
        """The state found, made locally optimal in float64 where the search was in float32."""
        if self.solver.problem is not self.problem:
            self.solver = Solver(self.problem)
            self._same = _SAME
            self.attempt("polish", self.state)
        return self._found()

    def _found(self) -> Found:
        return Found(self.state, self.distance, tuple(self.starts))

    def attempt(self, kind: str, start: State) -> bool:
        """Descend from ``start``; keep the result if it is better than the best so far."""
        return self._note(kind, self.solver.descend(start))

    def _note(self, kind: str, state: State) -> bool:
        distance = self.problem.distance(state)
        self.starts.append(Start(kind, distance))
        if distance >= self.distance * (1.0 - self._same) and np.isfinite(self.distance):
            return False
        self.state, self.distance = state, distance
        return True

    def improve_jointly(self) -> None:
        """Rounds of joint moves and kicks from the best state, until a whole round finds nothing
        better.
        """
        tries = len(adjacent_pairs(self.problem)) + self.restarts
        if tries * descent_work(self.problem) > _ROUND_WORK:
            return
        improved = True
        while improved and not self._settled:
            improved = False
            for group, other in adjacent_pairs(self.problem):
                improved |= self.attempt("joint", self._released(group, other))
            generator = np.random.default_rng([self.seed, 1])
            for _ in range(self.restarts):
                improved |= self.attempt("kick", kicked(self.problem, self.state, generator))

    def _released(self, group: int, other: int) -> State:
        """``group`` solved as if ``other`` could follow it in any way, then ``other`` solved to
        match.
        """
        element, _ = self.solver.solve(group, self.state, free=frozenset({other}))
        state = (*self.state[:group], element, *self.state[group + 1 :])
        follower, _ = self.solver.solve(other, state)
        return (*state[:other], follower, *state[other + 1 :])


def signature_state(solver: Solver) -> State:
    """Each group matched by its units' incident tensors, sorted along the axes of groups not
    matched yet.

    Groups go in the order of how much of their tensors is known: first those whose inputs and
    biases nobody else reorders, then their neighbours, which can rely on them.
    """
    problem, done = solver.problem, frozenset[int]()
    state = problem.identity()
    while len(done) < len(state):
        group = max(
            (g for g in range(len(state)) if g not in done), key=lambda g: _known(problem, g, done)
        )
        element, _ = solver.solve(group, state, free=problem.neighbours[group] - done)
        state = (*state[:group], element, *state[group + 1 :])
        done |= {group}
    return state


def _known(problem: Assignment, group: int, done: frozenset[int]) -> float:
    """Share of the weights in ``group``'s tensors that only it and groups in ``done`` reorder."""
    touched = problem.touching(group)
    known = sum(b.model.loc.size for b in touched if b.groups - {group} <= done)
    return known / max(sum(b.model.loc.size for b in touched), 1)


def scrambled(problem: Assignment, state: State, generator: np.random.Generator) -> State:
    """A uniformly random state, drawn relative to ``state`` in the reference's order of units."""
    return tuple(
        e.compose(Element.random(g, generator)) for e, g in zip(state, problem.groups, strict=True)
    )


def kicked(problem: Assignment, state: State, generator: np.random.Generator) -> State:
    """``state`` with a few units of each of one or two coupled groups shuffled."""
    coupled = [g for g, near in enumerate(problem.neighbours) if near]
    first = int(generator.choice(coupled))
    chosen = {first, int(generator.choice(sorted(problem.neighbours[first])))}
    return tuple(
        e.compose(_shuffle(problem.groups[g], generator)) if g in chosen else e
        for g, e in enumerate(state)
    )


def _shuffle(group: Group, generator: np.random.Generator) -> Element:
    """A random rotation among 2 to about a third of the units, and half of the time new signs for
    them.
    """
    width, signs = group.width, np.ones(group.width)
    count = min(width, int(generator.integers(2, max(3, width // 3 + 1))))
    units = generator.choice(width, size=count, replace=False)
    permutation = np.arange(width)
    permutation[units] = np.roll(units, 1)
    if group.signed and generator.random() < 0.5:
        signs[units] = generator.choice(np.array([-1.0, 1.0]), size=count)
    return Element(permutation, signs)


def adjacent_pairs(problem: Assignment) -> list[tuple[int, int]]:
    """Ordered pairs of different groups that share a tensor."""
    return [(g, h) for g, near in enumerate(problem.neighbours) for h in sorted(near) if h != g]


def descent_work(problem: Assignment) -> float:
    """Multiply-adds of a typical descent."""
    return _SWEEPS * float(
        sum(
            b.model.loc.size * b.model.loc.shape[k]
            for b in problem.blocks
            for k in range(len(b.axes))
        )
    )
