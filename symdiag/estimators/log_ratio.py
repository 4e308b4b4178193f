"""log r(g) = log q(gω) − log q(ω) for many group elements at once, on the true density."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array
from symdiag.posterior import Covariance, Posterior
from symdiag.symmetry.elements import Action, act_on_axis
from symdiag.symmetry.spec import PermutationSpec

MAX_DENSE = 6000
"""Largest number of correlated weights whose precision matrix is formed (float64: 288 MB)."""


def tractable(posterior: Posterior) -> tuple[Posterior, bool]:
    """The posterior, without its correlations where they are too many; and whether they were
    dropped.
    """
    covariance = posterior.covariance
    if covariance is None or covariance.factor.shape[0] <= MAX_DENSE:
        return posterior, False
    return posterior.replace(covariance=None), True


def act_on_draw(
    spec: PermutationSpec, draw: Mapping[str, Tensor], actions: Action
) -> dict[str, Tensor]:
    """K actions on one draw: tensor name → (K, *shape) for the tensors that any of the groups
    touches.
    """
    moved: dict[str, Tensor] = {}
    for group in spec:
        if group.name not in actions:
            continue
        for member in group.members:
            # a tensor of two groups is moved by one after the other, on axes of its own each
            base = moved.get(member.tensor, draw[member.tensor][None])
            moved[member.tensor] = act_on_axis(base, member, actions[group.name])
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

    def __call__(self, draw: Mapping[str, Tensor], actions: Action) -> Array:
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
        # normalisers cancel: both are densities of the one q, at two points
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
    # a deterministic weight that would have to change: density 0
    broken = ((moved != draw) & ~random).flatten(1).any(1)
    return (0.5 * change.flatten(1).sum(1)).masked_fill(broken, -torch.inf).numpy()
