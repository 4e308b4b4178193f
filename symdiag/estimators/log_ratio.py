"""log r(g) = log q(gω) − log q(ω) for many group elements at once, on the true density."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.arrays import Array as Array
from symdiag.posterior import Covariance, Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec

MAX_DENSE = 6000
"""Largest number of correlated weights whose precision matrix is formed (float64: 288 MB)."""


def tractable(posterior: Posterior) -> tuple[Posterior, bool]:
    """The posterior, without its correlations where they are too many; and whether they were dropped."""
    covariance = posterior.covariance
    if covariance is None or covariance.factor.shape[0] <= MAX_DENSE:
        return posterior, False
    return posterior.replace(covariance=None), True


@dataclass(frozen=True)
class ElementBatch:
    """K elements of one group: permutations (K, n) and signs (K, n)."""

    permutations: NDArray[np.intp]
    signs: Array

    @classmethod
    def identity(cls, group: Group, count: int = 1) -> ElementBatch:
        """``count`` copies of the neutral element."""
        return cls(np.tile(np.arange(group.width), (count, 1)), np.ones((count, group.width)))

    @classmethod
    def random(cls, group: Group, count: int, generator: np.random.Generator) -> ElementBatch:
        """``count`` uniform elements."""
        permutations = generator.permuted(np.tile(np.arange(group.width), (count, 1)), axis=1)
        signs = np.ones((count, group.width))
        if group.signed:
            signs = generator.choice(np.array([-1.0, 1.0]), size=signs.shape)
        return cls(permutations, signs)

    @classmethod
    def concatenate(cls, parts: Sequence[ElementBatch]) -> ElementBatch:
        """Several batches as one."""
        return cls(
            np.concatenate([p.permutations for p in parts]),
            np.concatenate([p.signs for p in parts]),
        )

    def __len__(self) -> int:
        return len(self.permutations)

    def take(self, which: Sequence[int] | NDArray[np.integer]) -> ElementBatch:
        """Some of the elements."""
        return ElementBatch(self.permutations[which], self.signs[which])

    def compose(self, after: ElementBatch) -> ElementBatch:
        """Each element followed by the one of ``after`` (as ``Element.compose``)."""
        signs = after.signs * np.take_along_axis(self.signs, after.permutations, axis=1)
        return ElementBatch(
            np.take_along_axis(self.permutations, after.permutations, axis=1), signs
        )

    def inverse(self) -> ElementBatch:
        """The elements that undo these."""
        order = np.argsort(self.permutations, axis=1)
        return ElementBatch(order, np.take_along_axis(self.signs, order, axis=1))

    @property
    def is_identity(self) -> bool:
        """Whether no element moves or flips anything."""
        return bool(
            (self.permutations == np.arange(self.permutations.shape[1])).all()
            and (self.signs > 0).all()
        )


ActionBatch = Mapping[str, ElementBatch]


def act_on_batch(tensor: Tensor, member: Member, elements: ElementBatch) -> Tensor:
    """One member axis of (K, *shape) or (1, *shape) moved by K elements: (K, *shape)."""
    moved = tensor.movedim(member.axis + 1, 1)
    span = member.span(elements.permutations.shape[1])
    result = _moved_units(moved[:, span], member, elements)
    if member.start is not None:
        whole = moved.expand(len(elements), *moved.shape[1:]).clone()
        whole[:, span] = result
        result = whole
    return result.movedim(1, member.axis + 1)


def _moved_units(moved: Tensor, member: Member, elements: ElementBatch) -> Tensor:
    """The entries that the units own, (K, L, …) or (1, L, …), moved by K elements."""
    width = elements.permutations.shape[1]
    split = moved.reshape(moved.shape[0], member.outer, width, member.inner, -1)
    index = torch.from_numpy(elements.permutations).to(moved.device)[:, None, :, None, None]
    taken = split.expand(len(elements), -1, -1, -1, -1).gather(
        2, index.expand(-1, member.outer, -1, member.inner, split.shape[-1])
    )
    if member.flips and (elements.signs < 0).any():
        taken = taken * torch.from_numpy(elements.signs).to(moved)[:, None, :, None, None]
    return taken.reshape(len(elements), *moved.shape[1:])


def act_on_draw(
    spec: PermutationSpec, draw: Mapping[str, Tensor], actions: ActionBatch
) -> dict[str, Tensor]:
    """K actions on one draw: tensor name → (K, *shape) for the tensors that any of the groups touches."""
    moved: dict[str, Tensor] = {}
    for group in spec:
        if group.name not in actions:
            continue
        for member in group.members:
            base = moved.get(member.tensor, draw[member.tensor][None])
            moved[member.tensor] = act_on_batch(base, member, actions[group.name])
    return moved


class LogRatio:
    """Callable log r(g); uses the full covariance where the posterior has one."""

    def __init__(self, posterior: Posterior, spec: PermutationSpec) -> None:
        self.spec = spec
        touched = dict.fromkeys(m.tensor for g in spec for m in g.members)
        self._loc = {name: posterior.loc[name] for name in touched}
        self._scale = {name: posterior.scale[name] for name in touched}
        self._dense = (
            None
            if posterior.covariance is None
            else _DenseGaussian(posterior, posterior.covariance)
        )

    def __call__(self, draw: Mapping[str, Tensor], actions: ActionBatch) -> Array:
        """log q(gω) − log q(ω) for K actions on one draw (name → (*shape)), shape (K,), nats."""
        moved = act_on_draw(self.spec, draw, actions)
        count = len(next(iter(actions.values())))
        if self._dense is not None:
            return self._dense.log_ratio(draw, moved, count)
        total = np.zeros(count)
        for name, value in moved.items():
            total += _independent_ratio(self._loc[name], self._scale[name], draw[name], value)
        return total


class _DenseGaussian:
    """A correlated Gaussian over the flat concatenation of ``covariance.order``."""

    def __init__(self, posterior: Posterior, covariance: Covariance) -> None:
        self.order = covariance.order
        self.loc = posterior.loc
        dense = covariance.factor @ covariance.factor.T + np.diag(covariance.diagonal)
        self.precision = torch.from_numpy(np.linalg.inv(dense))
        self.rest = {n: s for n, s in posterior.scale.items() if n not in covariance.order}

    def _energy(self, flat: Tensor) -> Tensor:
        return 0.5 * ((flat @ self.precision) * flat).sum(-1)

    def log_ratio(
        self, draw: Mapping[str, Tensor], moved: Mapping[str, Tensor], count: int
    ) -> Array:
        """log q(moved) − log q(draw), (K,)."""
        rows, base = [], []
        for name in self.order:
            centre = torch.from_numpy(self.loc[name])
            base.append((draw[name] - centre).reshape(1, -1))
            rows.append(
                (moved.get(name, draw[name][None]) - centre)
                .reshape(-1, centre.numel())
                .expand(count, -1)
            )
        result = (self._energy(torch.cat(base, 1)) - self._energy(torch.cat(rows, 1))).numpy()
        for name, scale in self.rest.items():
            if name in moved:
                result = result + _independent_ratio(self.loc[name], scale, draw[name], moved[name])
        return np.asarray(result, dtype=np.float64)


def _independent_ratio(loc: Array, scale: Array, draw: Tensor, moved: Tensor) -> Array:
    centre, spread = torch.from_numpy(loc), torch.from_numpy(scale)
    random = spread > 0
    safe = torch.where(random, spread, torch.ones_like(spread))
    change = (((draw - centre) / safe) ** 2 - ((moved - centre) / safe) ** 2) * random
    broken = ((moved != draw) & ~random).flatten(1).any(1)
    return (0.5 * change.flatten(1).sum(1)).masked_fill(broken, -torch.inf).numpy()
