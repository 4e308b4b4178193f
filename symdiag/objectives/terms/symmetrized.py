"""The symmetrised objective L + log|G| − Σ_l H_l with the permanent's own gradient.

For one group H = E log perm(exp A), and ∂ log perm/∂θ = Σ_ij P_ij ∂A_ij/∂θ with the permanental
marginals P. Summing over j first, the gradient needs only the moments (P x)_i and (P x²)_i of the
draws that slot i may hold,

    Σ_ij P_ij A_ij = −½ Σ_i [ (P x²)_i − 2 μ_i (P x)_i + μ_i² ] / σ_i² + ½ Σ_i (x_i − μ_i)² / σ_i²

(the log σ terms cancel because P is doubly stochastic), so it is a handful of matrix products. With
sign flips the first moment takes the difference of the kept and the flipped share.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array
from symdiag.errors import UnsupportedError, UsageError
from symdiag.estimators.densities import SlotDensity, unit_blocks
from symdiag.objectives.terms import TermOptions
from symdiag.objectives.variational import Variational
from symdiag.permanents import Effort, bethe_functional, exact_marginals, marginals, swap_marginals
from symdiag.symmetry.spec import Group, PermutationSpec

Marginals = Callable[[Array, np.random.Generator], tuple[Array, Array]]
"""(log weights (B, n, n), generator) → (log-permanents or bounds (B,), marginals (B, n, n))."""

OPTIONS = ("marginals",)
EXACT_LIMIT = 10  # widest group that ``auto`` evaluates exactly at every step


def _exact(log_weights: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    return exact_marginals(log_weights)


def _sampled(log_weights: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    marginals = swap_marginals(log_weights, generator)
    return bethe_functional(log_weights, marginals), marginals


def _sampled_gradient(log_weights: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    """As ``_sampled`` where nobody looks at the value."""
    return np.zeros(len(log_weights)), swap_marginals(log_weights, generator)


def _bethe(log_weights: Array, generator: np.random.Generator) -> tuple[Array, Array]:
    found = marginals(
        log_weights, generator=generator, method="bethe", effort=Effort(max_exact=8)
    ).probabilities
    return bethe_functional(log_weights, found), found


_METHODS: dict[str, Marginals] = {"exact": _exact, "mcmc": _sampled, "bethe": _bethe}
MARGINALS = ("auto", "exact", "mcmc", "bethe")
"""Ways to get permanental marginals; ``auto`` is exact up to width ``EXACT_LIMIT``, else mcmc."""


def find_marginals(method: str, width: int, *, value: bool = True) -> Marginals:
    """The routine called ``method`` for ``width`` units; ``value``: whether values are wanted."""
    if method == "auto":
        method = "exact" if width <= EXACT_LIMIT else "mcmc"
    if method not in _METHODS:
        raise UsageError(
            f"unknown marginals '{method}'",
            code="bad-option",
            hint=f"Choose one of: {', '.join(MARGINALS)}.",
        )
    return _sampled_gradient if method == "mcmc" and not value else _METHODS[method]


@dataclass(frozen=True)
class _Blocks:
    """Where the units of one group sit in the flat weight vector.

    ``index`` (n, D); ``sign`` (D,) is −1 on entries that a flip negates; ``allowed`` (n, n) per
    sign choice, None when no deterministic weight forbids an exchange.
    """

    index: Tensor
    sign: Tensor
    allowed: tuple[Tensor | None, ...]


class GroupTerm:
    """H(g|ω) of one group as a differentiable function of the flat vectors μ, σ and draws."""

    def __init__(
        self, group: Group, q: Variational, marginals: str = "auto", *, value: bool = True
    ) -> None:
        if not group.is_matrix_permanent:
            raise UnsupportedError(
                f"group {group.name} acts on two axes of one tensor: there is no permanent form",
                code="not-a-permanent",
            )
        self.group = group
        self.blocks = _locate(group, q)
        self._marginals = find_marginals(marginals, group.width, value=value)

    def __call__(
        self, loc: Tensor, scale: Tensor, draws: Tensor, generator: np.random.Generator
    ) -> Tensor:
        """Mean over draws (S, D) of log perm(exp A), nats, with the permanent's gradient.

        The value is exact where the marginals are; otherwise it is the Bethe functional at sampled
        marginals, a lower bound on the exact value of these draws.
        """
        function: Any = _Straddling.apply
        value: Tensor = function(loc, scale, draws, self, generator)
        return value

    def evaluate(
        self, slots: _Slots, generator: np.random.Generator
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Mean value, and marginals (S, n, n) of kept and of flipped signs (None if unsigned)."""
        # log q_i(x_j) up to a constant common to all i: −½ Σ (x² − 2 μ x + μ²)/σ² − Σ log σ
        constant = (
            0.5 * (slots.precision * slots.mean**2).sum(-1) - slots.half_log_precision
        )  # (n,)
        squares = 0.5 * slots.precision @ slots.square.mT  # (n, D) @ (S, D, n) → (S, n, n)
        kept = slots.weighted_mean @ slots.x.mT - squares - constant[:, None]  # (S, n, n)
        # columns are divided by the own density q_j(x_j): the permanent becomes Σ_g q(g⁻¹ω)/q(ω),
        # and the identity's weight is exactly 1 whatever the rounding
        own = kept.diagonal(dim1=1, dim2=2).clone()
        kept = self._masked(kept - own[:, None, :], 0)
        kept.diagonal(dim1=1, dim2=2).zero_()
        flipped = None
        if self.group.signed:
            flipped = (
                (slots.weighted_mean * self.blocks.sign) @ slots.x.mT - squares - constant[:, None]
            )
            flipped = self._masked(flipped - own[:, None, :], 1)
        both = kept if flipped is None else torch.logaddexp(kept, flipped)
        values, marginals = self._marginals(both.cpu().numpy(), generator)
        share = torch.from_numpy(marginals).to(both.device)
        value = torch.from_numpy(values).to(both.device).mean()
        if flipped is None:
            return value, share, None
        # a pair's share splits over its two signs as their densities do
        turned = torch.where(share > 0, share * torch.exp(flipped - both), 0.0)
        return value, share - turned, turned

    def _masked(self, log_density: Tensor, which: int) -> Tensor:
        allowed = self.blocks.allowed[which]
        return log_density if allowed is None else log_density.masked_fill(~allowed, -torch.inf)


@dataclass(frozen=True)
class _Slots:
    """Slot parameters (n, D) and the units' draws (S, n, D), float64.

    Slot i is q's density q_i of the i-th unit's weights, as opposed to the unit whose draw is
    put into it. Deterministic entries have precision 0: they forbid exchanges or say nothing.
    """

    mean: Tensor
    precision: Tensor
    weighted_mean: Tensor  # precision * mean
    half_log_precision: Tensor  # (n,) summed over D
    x: Tensor
    square: Tensor

    @classmethod
    def of(cls, mean: Tensor, std: Tensor, x: Tensor) -> _Slots:
        random = std > 0
        precision = torch.where(random, torch.where(random, std, 1.0) ** -2.0, 0.0)
        half_log = 0.5 * torch.log(torch.where(random, precision, 1.0)).sum(-1)
        return cls(mean, precision, precision * mean, half_log, x, x * x)


class _Straddling(torch.autograd.Function):
    """log perm(exp A) averaged over draws.

    All gradients are formed in the forward pass, next to the marginals that they need.
    """

    @staticmethod
    def forward(
        ctx: Any,
        loc: Tensor,
        scale: Tensor,
        draws: Tensor,
        term: GroupTerm,
        generator: np.random.Generator,
    ) -> Tensor:
        index = term.blocks.index
        std = scale[index].double()
        slots = _Slots.of(loc[index].double(), std, draws[:, index].double())
        value, kept, flipped = term.evaluate(slots, generator)
        gradients = _gradients(slots, std, kept, flipped, term.blocks.sign)
        ctx.save_for_backward(index, *gradients)
        ctx.like = (loc, scale, draws)
        return value

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        index, *gradients = ctx.saved_tensors
        spread = []
        for like, gradient in zip(ctx.like, gradients, strict=True):
            full = torch.zeros_like(like)
            full[..., index] = (gradient * grad_outputs[0]).to(like.dtype)
            spread.append(full)
        return (*spread, None, None)


def _gradients(
    slots: _Slots, std: Tensor, kept: Tensor, flipped: Tensor | None, sign: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the mean over draws of Σ_ij P_ij A_ij with P held fixed.

    Returns:
        ∂/∂μ (n, D), ∂/∂σ (n, D) and ∂/∂ω (S, n, D).
    """
    count, _, size = slots.x.shape
    total = kept if flipped is None else kept + flipped

    def moment(share: Tensor, values: Tensor) -> Tensor:
        """(1/S) Σ_s share_s @ values_s as one matrix product, (n, D)."""
        wide = share.transpose(0, 1).reshape(share.shape[1], -1)
        return wide @ values.reshape(-1, size) / count

    def pull(share: Tensor, rows: Tensor) -> Tensor:
        """share_sᵀ @ rows for every draw, (S, n, D)."""
        return (share.mT.reshape(-1, share.shape[1]) @ rows).reshape(slots.x.shape)

    first = moment(kept, slots.x)
    at_units = pull(kept, slots.weighted_mean) - slots.weighted_mean
    if flipped is not None:
        first = first + moment(flipped, slots.x) * sign
        at_units += pull(flipped, slots.weighted_mean * sign)
    # subtracting the identity's own moments: the derivative of −Σ_i A_ii, the log q(ω) below
    shift = first - slots.x.mean(0)
    spread = moment(total, slots.square) - slots.square.mean(0)
    by_mean = slots.precision * shift
    by_std = torch.where(
        slots.precision > 0, (spread - 2.0 * slots.mean * shift) * slots.precision / std, 0.0
    )
    by_draw = at_units.addcmul_(slots.precision - pull(total, slots.precision), slots.x).div_(count)
    return by_mean, by_std, by_draw


def _locate(group: Group, q: Variational) -> _Blocks:
    positions = q.layout.split(torch.arange(q.layout.size, device=q.loc.device))
    index = torch.cat(
        [unit_blocks(positions[m.tensor], m, group.width) for m in group.members], dim=1
    )
    signs = [
        torch.full(
            (unit_blocks(positions[m.tensor], m, group.width).shape[1],), -1.0 if m.flips else 1.0
        )
        for m in group.members
    ]
    return _Blocks(index, torch.cat(signs).double().to(q.loc.device), _allowed(group, q))


def _allowed(group: Group, q: Variational) -> tuple[Tensor | None, ...]:
    """Which exchanges the deterministic weights permit, per sign choice."""
    if q.free is None:
        return (None, None)
    with torch.no_grad():
        loc, scale = q.layout.split(q.loc), q.layout.split(q.scale)
        parts = SlotDensity(group, loc, scale).signed_parts(
            {name: value[None] for name, value in loc.items()}
        )
    return tuple(None if part is None else ~torch.isneginf(part[0]) for part in parts)


class Symmetrized:
    """Adds Σ_l H(g_l | ω), every group with the others at the identity (docs/theory/estimators.md)."""

    name = "symmetrized"

    def __init__(
        self, spec: PermutationSpec, q: Variational, marginals: str = "auto", *, value: bool = True
    ) -> None:
        self.groups = tuple(
            GroupTerm(group, q, marginals, value=value)
            for group in spec
            if group.width > 1 or group.signed
        )

    def term(self, q: Variational, draws: Tensor, generator: np.random.Generator) -> Tensor:
        """Σ_l H_l for reparameterised draws (S, D), nats."""
        total = draws.new_zeros((), dtype=torch.float64)
        scale = q.scale
        for group in self.groups:
            total = total + group(q.loc, scale, draws, generator)
        return total


def build(spec: PermutationSpec, q: Variational, options: TermOptions) -> Symmetrized:
    """Without the value of H: the monitor of a run computes a better one."""
    return Symmetrized(spec, q, options.marginals or "auto", value=False)
