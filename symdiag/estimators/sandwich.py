r"""Joint two-sided bounds on H(g | ω) over several groups at once (DESIGN.md 1.7).

For any proposal τ(g|ω) and g_k ~ τ, with r(g) = q(gω)/q(ω),

    E log (1/K)[1/τ(e|ω) + Σ_{k<K} r(g_k)/τ(g_k|ω)]  ≥  H(g|ω)  ≥  E log (1/K) Σ_{k≤K} r(g_k)/τ(g_k|ω),

both monotone in K (Sobolev & Vetrov 2019); valid because ω ~ q makes the identity an exact draw of g given
ω. τ is built group after group, each conditioned on the elements already drawn. Uniform τ in the upper
bound is the estimator of Gelberg et al. 2024, Thm 4.3, hence its ceiling at log K.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor

from symdiag.estimators.log_ratio import ElementBatch, LogRatio, act_on_draw
from symdiag.estimators.proposals import ProposalFamily
from symdiag.estimators.values import DrawValues
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import PermutationSpec

Array = NDArray[np.float64]


class JointSandwich:
    """The sandwich for all groups of ``spec``; uses the true density, correlated posteriors included."""

    def __init__(self, posterior: Posterior, spec: PermutationSpec) -> None:
        self.spec = spec
        self.ratio = LogRatio(posterior, spec)
        loc = {name: torch.from_numpy(value) for name, value in posterior.loc.items()}
        scale = {name: torch.from_numpy(value) for name, value in posterior.scale.items()}
        groups = spec.groups
        self.families = [ProposalFamily(g, loc, scale, groups[k + 1 :]) for k, g in enumerate(groups)]

    def __call__(self, draws: Mapping[str, Tensor], num_elements: int, generator: np.random.Generator) -> DrawValues:
        """Both bounds for each of S draws (name → (S, *shape)) with K = ``num_elements``."""
        count = len(next(iter(draws.values())))
        lower, upper = np.empty(count), np.empty(count)
        for s in range(count):
            draw = {name: value[s] for name, value in draws.items()}
            moved, undo, change = self._relabelled(draw, generator)
            weights = self._importance_weights(moved, num_elements, generator) + change
            exact = -self._log_prob(moved, undo)
            lower[s] = logsumexp(weights) - np.log(num_elements)
            upper[s] = logsumexp(np.append(weights[1:], exact)) - np.log(num_elements)
        unknown = np.full(count, np.nan)
        never = np.zeros(count, dtype=bool)
        method = f"sandwich-K{num_elements}"
        free = np.zeros(count)  # budgeted by the number of elements
        most = self.spec.log_order  # an end may be infinite where τ misses what matters; the value stays finite
        value = 0.5 * (np.clip(lower, -most, most) + np.clip(upper, -most, most))
        return DrawValues(value, unknown, unknown, lower, upper, unknown, never, free, (method,))

    def _importance_weights(self, draw: Mapping[str, Tensor], count: int, generator: np.random.Generator) -> Array:
        """log r(g_k)/τ(g_k | ω) for g_k ~ τ, (K,)."""
        first, *rest = self.families
        proposal = first({name: value[None] for name, value in draw.items()})[0]
        elements, log_prob = proposal.sample(count, generator)
        actions = {first.group.name: elements}
        for family in rest:
            batch, value = self._conditional(draw, actions, family, generator)
            actions[family.group.name] = batch
            log_prob = log_prob + value
        dead = np.isneginf(log_prob)
        return np.where(dead, -np.inf, self.ratio(draw, actions) - np.where(dead, 0.0, log_prob))

    def _conditional(
        self,
        draw: Mapping[str, Tensor],
        actions: Mapping[str, ElementBatch],
        family: ProposalFamily,
        generator: np.random.Generator,
    ) -> tuple[ElementBatch, Array]:
        """One element of the family's group for each history, sharing work among equal histories."""
        rows = np.concatenate([part for b in actions.values() for part in (b.permutations, b.signs)], axis=1)
        _, first, label = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        distinct = {k: ElementBatch(b.permutations[first], b.signs[first]) for k, b in actions.items()}
        proposals = family(self._moved(draw, distinct, family))
        width = family.group.width
        permutations, signs = np.empty((len(rows), width), dtype=np.intp), np.empty((len(rows), width))
        log_prob = np.empty(len(rows))
        for k, proposal in enumerate(proposals):
            mine = np.flatnonzero(label.reshape(-1) == k)
            batch, log_prob[mine] = proposal.sample(len(mine), generator)
            permutations[mine], signs[mine] = batch.permutations, batch.signs
        return ElementBatch(permutations, signs), log_prob

    def _moved(
        self, draw: Mapping[str, Tensor], actions: Mapping[str, ElementBatch], family: ProposalFamily
    ) -> dict[str, Tensor]:
        """The family's tensors after the groups already drawn have acted: name → (K, *shape)."""
        moved = act_on_draw(self.spec, draw, actions)
        count = len(next(iter(actions.values())))
        names = family.group.tensors
        return {n: moved[n] if n in moved else draw[n].expand(count, *draw[n].shape) for n in names}

    def _relabelled(
        self, draw: Mapping[str, Tensor], generator: np.random.Generator
    ) -> tuple[dict[str, Tensor], dict[str, ElementBatch], float]:
        """hω for a uniform h, the element that undoes h, and log q(hω) − log q(ω).

        ω ~ q alone makes the identity an exact draw of g only for proposals that treat every labelling alike,
        which those of later groups and of recurrent weights do not. With h uniform, h⁻¹ is an exact draw given hω.
        """
        actions = {g.name: ElementBatch.random(g, 1, generator) for g in self.spec}
        change = float(self.ratio(draw, actions)[0])
        # for chains of layers the bias is a few thousandths of a nat; for recurrent weights it is not
        recurrent = any(not g.is_matrix_permanent for g in self.spec)
        if not recurrent or np.isneginf(
            change
        ):  # deterministic weights pin the labelling; they pin the proposals as well
            actions, change = {g.name: ElementBatch.identity(g) for g in self.spec}, 0.0
        moved = {name: value[0] for name, value in act_on_draw(self.spec, draw, actions).items()}
        undo = {}
        for name, batch in actions.items():
            order = np.argsort(batch.permutations[0])
            undo[name] = ElementBatch(order[None], batch.signs[:, order])
        return {**draw, **moved}, undo, change

    def _log_prob(self, draw: Mapping[str, Tensor], elements: Mapping[str, ElementBatch]) -> float:
        """log τ of one element of the whole group."""
        total, actions = 0.0, dict[str, ElementBatch]()
        for family in self.families:
            current = self._moved(draw, actions, family) if actions else {n: v[None] for n, v in draw.items()}
            total += float(family(current)[0].log_prob(elements[family.group.name])[0])
            actions[family.group.name] = elements[family.group.name]
        return total
