r"""The symmetrised objective: L + log|G| − Σ_l H_l with the permanent's own gradient (DESIGN.md 1.2, 1.3).

For one group H = E log perm(exp A), and ∂ log perm/∂θ = Σ_ij P_ij ∂A_ij/∂θ with the permanental marginals P.
Summing over j first, Σ_ij P_ij A_ij needs only the moments (P x)_i and (P x²)_i of the draws that slot i may
hold, so no (n, n) array enters the autograd graph:

    Σ_ij P_ij A_ij = −½ Σ_i [ (P x²)_i − 2 μ_i (P x)_i + μ_i² ] / σ_i² + ½ Σ_i (x_i − μ_i)² / σ_i²,

the log σ terms cancelling because P is doubly stochastic. With sign flips the first moment takes the
difference of the kept and the flipped share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.errors import UnsupportedError, UsageError
from symdiag.estimators.densities import SlotDensity, unit_blocks
from symdiag.objectives.swaps import bethe_functional, swap_marginals
from symdiag.objectives.variational import Variational
from symdiag.permanents.exact import exact_marginals
from symdiag.symmetry.spec import Group, PermutationSpec

Array = NDArray[np.float64]
Marginals = Callable[[Array, np.random.Generator], tuple[Array, Array]]
"""(log weights (B, n, n), generator) → (log-permanent values or bounds (B,), marginals (B, n, n))."""

EXACT_LIMIT = 10  # widest group that ``auto`` evaluates exactly at every step


def _exact(log_weights: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    return exact_marginals(log_weights)


def _sampled(log_weights: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    marginals = swap_marginals(log_weights, generator)
    return bethe_functional(log_weights, marginals), marginals


_METHODS: dict[str, Marginals] = {"exact": _exact, "mcmc": _sampled}
MARGINALS = ("auto", "exact", "mcmc", "bethe")
"""Ways to get the permanental marginals; ``auto`` is exact up to width ``EXACT_LIMIT``, else mcmc."""


def find_marginals(method: str, width: int) -> Marginals:
    """The marginal routine called ``method`` for a group of ``width`` units."""
    if method == "auto":
        method = "exact" if width <= EXACT_LIMIT else "mcmc"
    if method not in _METHODS:
        raise UsageError(
            f"unknown marginals '{method}'", code="bad-option", hint=f"Choose one of: {', '.join(MARGINALS)}."
        )
    return _METHODS[method]


@dataclass(frozen=True)
class _Blocks:
    """Where the units of one group sit in the flat weight vector.

    ``index`` (n, D); ``sign`` (D,) is −1 on entries that a flip negates; ``allowed`` (n, n) per sign choice, None
    when no deterministic weight forbids an exchange.
    """

    index: Tensor
    sign: Tensor
    allowed: tuple[Tensor | None, ...]


class GroupTerm:
    """H(g|ω) of one group as a differentiable function of the flat vectors μ, σ and draws."""

    def __init__(self, group: Group, q: Variational, marginals: str = "auto") -> None:
        if not group.is_matrix_permanent:
            raise UnsupportedError(
                f"group {group.name} acts on two axes of one tensor: its straddling has no permanent form",
                code="not-a-permanent",
            )
        self.group = group
        self._blocks = _locate(group, q)
        self._marginals = find_marginals(marginals, group.width)

    def __call__(self, loc: Tensor, scale: Tensor, draws: Tensor, generator: np.random.Generator) -> Tensor:
        """Mean over draws (S, D) of log perm(exp A), nats, with the permanent's gradient.

        The value is exact where the marginals are; otherwise it is the Bethe functional at sampled
        marginals, a lower bound on the exact value of these draws.
        """
        index = self._blocks.index
        mean, std, x = loc[index].double(), scale[index].double(), draws[:, index].double()  # (n, D), (S, n, D)
        random = std > 0
        precision = torch.where(random, torch.where(random, std, 1.0) ** -2.0, 0.0)
        own = precision * (x - mean) ** 2  # (S, n, D)
        with torch.no_grad():
            value, kept, flipped = self._evaluate(mean, precision, x, own.sum(-1), generator)
            total = kept if flipped is None else kept + flipped
        first = kept @ x if flipped is None else kept @ x + flipped @ (x * self._blocks.sign)
        second = total @ x**2
        slots = precision * (second - 2.0 * mean * first + mean**2)
        surrogate = 0.5 * (own - slots).sum((1, 2)).mean()
        return value + (surrogate - surrogate.detach())

    def _evaluate(
        self, mean: Tensor, precision: Tensor, x: Tensor, own: Tensor, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean value, and the marginals split by sign of the unit (S, n, n)."""
        log_std = -0.5 * torch.log(torch.where(precision > 0, precision, 1.0)).sum(-1)  # (n,)
        relative = 0.5 * own + log_std  # −log q_j(ω_j)
        kept = self._log_density(mean, precision, log_std, x, 0) + relative[:, None, :]
        kept.diagonal(dim1=1, dim2=2).zero_()
        flipped = None
        if self.group.signed:
            turned = x * self._blocks.sign
            flipped = self._log_density(mean, precision, log_std, turned, 1) + relative[:, None, :]
        both = kept if flipped is None else torch.logaddexp(kept, flipped)
        values, marginals = self._marginals(both.cpu().numpy(), generator)
        share = torch.from_numpy(marginals).to(both.device)
        value = torch.from_numpy(values).to(both.device).mean()
        if flipped is None:
            return value, share, None
        turned_share = torch.where(share > 0, share * torch.exp(flipped - both), 0.0)
        return value, share - turned_share, turned_share

    def _log_density(self, mean: Tensor, precision: Tensor, log_std: Tensor, x: Tensor, which: int) -> Tensor:
        """Unnormalised log q_i(x_j), (S, n, n), by matrix products about the units' common centre."""
        centre = mean.mean(0) if which == 0 else torch.zeros_like(mean[0])
        shifted, x = mean - centre, x - centre
        squares = precision @ (x**2).mT - 2.0 * (precision * shifted) @ x.mT
        log_density = -0.5 * (squares + (precision * shifted**2).sum(-1)[:, None]) - log_std[:, None]
        allowed = self._blocks.allowed[which]
        return log_density if allowed is None else log_density.masked_fill(~allowed, -torch.inf)


def _locate(group: Group, q: Variational) -> _Blocks:
    positions = q.layout.split(torch.arange(q.layout.size, device=q.loc.device))
    index = torch.cat([unit_blocks(positions[m.tensor], m, group.width) for m in group.members], dim=1)
    signs = [
        torch.full((unit_blocks(positions[m.tensor], m, group.width).shape[1],), -1.0 if m.flips else 1.0)
        for m in group.members
    ]
    return _Blocks(index, torch.cat(signs).double().to(q.loc.device), _allowed(group, q))


def _allowed(group: Group, q: Variational) -> tuple[Tensor | None, ...]:
    """Which exchanges the deterministic weights permit, per sign choice."""
    if q.free is None:
        return (None, None)
    with torch.no_grad():
        loc, scale = q.layout.split(q.loc), q.layout.split(q.scale)
        parts = SlotDensity(group, loc, scale).signed_parts({name: value[None] for name, value in loc.items()})
    return tuple(None if part is None else ~torch.isneginf(part[0]) for part in parts)


class Symmetrized:
    """Adds Σ_l H(g_l | ω), every group with the others at the identity (DESIGN.md 1.5)."""

    name = "symmetrized"

    def __init__(self, spec: PermutationSpec, q: Variational, marginals: str = "auto") -> None:
        self.groups = tuple(GroupTerm(group, q, marginals) for group in spec if group.width > 1 or group.signed)

    def term(self, q: Variational, draws: Tensor, generator: np.random.Generator) -> Tensor:
        """Σ_l H_l for reparameterised draws (S, D), nats."""
        total = draws.new_zeros((), dtype=torch.float64)
        scale = q.scale
        for group in self.groups:
            total = total + group(q.loc, scale, draws, generator)
        return total
