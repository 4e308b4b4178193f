"""The labelling that proposals are built on: found from the weights alone, whatever labelling they
come in.

ω ~ q makes the identity an exact draw of g given ω only for a proposal that treats every labelling
alike. Relabelling ω by a uniform h first makes that true of any proposal: h⁻¹ is an exact draw of g
given hω. Aligning hω to q afterwards (assignment problems, group after group, from several starts)
brings the proposal back to where the mass is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.arrays import Array
from symdiag.estimators.densities import SlotDensity
from symdiag.estimators.log_ratio import LogRatio
from symdiag.estimators.proposals import one_axis_per_tensor, own_tensors
from symdiag.permanents import best_assignment
from symdiag.symmetry.elements import Element, act_on_axis
from symdiag.symmetry.spec import Group, PermutationSpec

_STARTS, _FEW, _AGREE = (
    24,
    6,
    3,
)  # in large nets few starts, and the others where fewer than 3 of them end at the best
SMALL = 64
"""Up to this many units in total every start is cheap."""
_SWEEPS = 8
_NOISE = (0.5, 1.0, 2.0)
_SAME = 1e-6  # nats

Step = tuple[Group, SlotDensity]


class Anchor:
    """Relabels draws uniformly and aligns them to q."""

    def __init__(
        self,
        spec: PermutationSpec,
        ratio: LogRatio,
        loc: Mapping[str, Tensor],
        scale: Mapping[str, Tensor],
    ) -> None:
        self.spec, self.ratio = spec, ratio
        groups = spec.groups
        self._few = _STARTS if sum(g.width for g in groups) <= SMALL else _FEW

        def step(group: Group, others: Sequence[Group] = ()) -> Step:
            """On the tensors that ``others`` leave alone, or on all: a group may share every one of
            them.
            """
            own = own_tensors(group, others) if others else ()
            return group, SlotDensity(one_axis_per_tensor(group), loc, scale, own or None)

        self._whole = [step(g) for g in groups]
        forward = [step(g, groups[k + 1 :]) for k, g in enumerate(groups)]
        backward = [step(g, groups[:k]) for k, g in reversed(list(enumerate(groups)))]
        self._openings = (forward, backward)

    def __call__(
        self, draws: Mapping[str, Tensor], generator: np.random.Generator
    ) -> tuple[dict[str, Tensor], dict[str, Element]]:
        """aω for each of S draws (name → (S, *shape)), and a by group: h first, then what hω
        suggests.
        """
        best, score = self._scored(draws, 0, generator)
        everyone = np.arange(len(score))
        scores = [score.copy()]
        for start in range(1, self._few):
            found, theirs = self._scored(draws, start, generator)
            _improve(best, score, found, theirs, everyone)
            scores.append(theirs)
        unsure = np.flatnonzero((np.array(scores) >= score - _SAME).sum(0) < _AGREE)
        part = {name: value[torch.from_numpy(unsure)] for name, value in draws.items()}
        for start in range(self._few, _STARTS if len(unsure) else 0):
            _improve(best, score, *self._scored(part, start, generator), unsure)
        return self._act(draws, best), best

    def _scored(
        self, draws: Mapping[str, Tensor], start: int, generator: np.random.Generator
    ) -> tuple[dict[str, Element], Array]:
        found = self._aligned(draws, start, generator)
        return found, self._scores(draws, found)

    def _scores(self, draws: Mapping[str, Tensor], actions: Mapping[str, Element]) -> Array:
        """log q(aω) − log q(ω) of each draw, (S,)."""
        count = len(next(iter(draws.values())))
        one = (
            ({n: v[s] for n, v in draws.items()}, {k: a.take([s]) for k, a in actions.items()})
            for s in range(count)
        )
        return np.array([self.ratio(draw, action)[0] for draw, action in one])

    def _aligned(
        self, draws: Mapping[str, Tensor], start: int, generator: np.random.Generator
    ) -> dict[str, Element]:
        """One start: uniform labels, an opening on tensors that show one group's labels alone,
        sweeps to the end.

        All but the first two starts open with perturbed densities (Gumbel noise), so as to end in
        different optima.
        """
        opening = self._openings[start % 2]
        noise = _NOISE[start % len(_NOISE)] if start >= 2 else 0.0
        count = len(next(iter(draws.values())))
        actions = {
            g.name: uniform_elements(g, density, count, generator) for g, density in self._whole
        }
        moved = self._act(draws, actions)
        steps = [*opening, *(self._whole * _SWEEPS)]
        quiet = 0
        for k, (group, density) in enumerate(steps):
            elements = best_elements(moved, density, noise if k < len(opening) else 0.0, generator)
            quiet = quiet + 1 if elements.is_identity else 0
            if quiet > len(self._whole):
                break
            if quiet == 0:
                actions[group.name] = actions[group.name].compose(elements)
                moved = self._act(moved, {group.name: elements})
        return actions

    def _act(
        self, draws: Mapping[str, Tensor], actions: Mapping[str, Element]
    ) -> dict[str, Tensor]:
        """Each draw moved by its own element."""
        moved = dict(draws)
        for group in self.spec:
            if group.name in actions:
                for member in group.members:
                    moved[member.tensor] = act_on_axis(
                        moved[member.tensor], member, actions[group.name]
                    )
        return moved


def best_elements(
    draws: Mapping[str, Tensor], density: SlotDensity, noise: float, generator: np.random.Generator
) -> Element:
    """For each of S draws the element of one group that fits it to the slots best (the identity
    where none does).

    The best after perturbing the log densities by ``noise`` nats.
    """
    plus, minus = density.signed_parts(draws)
    kept = plus.numpy()
    flipped = None if minus is None else minus.numpy()
    best = kept if flipped is None else np.maximum(kept, flipped)
    if noise > 0.0:
        best = best + noise * generator.gumbel(size=best.shape)
    rows = np.arange(density.group.width)
    columns = [best_assignment(matrix) for matrix in best]
    permutations = np.stack([rows if c is None else c for c in columns])
    signs = np.ones(permutations.shape)
    if flipped is not None:
        signs = np.where(_entries(flipped, permutations) > _entries(kept, permutations), -1.0, 1.0)
    return Element(permutations, signs)


def _entries(matrices: np.ndarray, permutations: np.ndarray) -> np.ndarray:
    return np.take_along_axis(matrices, permutations[:, :, None], axis=2)[:, :, 0]


def _improve(
    best: Mapping[str, Element],
    score: Array,
    found: Mapping[str, Element],
    theirs: Array,
    rows: NDArray[np.intp],
) -> None:
    """Put what was found for draws ``rows`` where it is better, in place."""
    better = theirs > score[rows]
    for name, batch in best.items():
        batch.permutation[rows[better]] = found[name].permutation[better]
        batch.signs[rows[better]] = found[name].signs[better]
    score[rows[better]] = theirs[better]


def uniform_elements(
    group: Group, density: SlotDensity, count: int, generator: np.random.Generator
) -> Element:
    """Uniform elements of the part of the group that leaves deterministic weights alone."""
    classes = density.interchangeable()
    permutations = np.tile(np.arange(group.width), (count, 1))
    for label in np.unique(classes):
        members = np.flatnonzero(classes == label)
        permutations[:, members] = generator.permuted(permutations[:, members], axis=1)
    signs = np.ones(permutations.shape)
    if density.flips_freely:
        signs = generator.choice(np.array([-1.0, 1.0]), size=signs.shape)
    return Element(permutations, signs)
