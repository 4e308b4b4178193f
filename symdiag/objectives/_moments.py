"""What a permanent's gradient needs of draws and marginals: moments of what each slot holds.

Slot i is q's density q_i of the i-th unit's weights, as opposed to the unit whose draw is put into
it. Everything is float64, as the gradient lives on differences of nearly equal moments, unless weights
are trained in float32 themselves and many of them make products dear (``GroupTerm``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Slots:
    """Slot parameters (n, D) and the units' draws (S, n, D).

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
    def of(cls, mean: Tensor, std: Tensor, x: Tensor) -> Slots:
        random = std > 0
        precision = torch.where(random, torch.where(random, std, 1.0) ** -2.0, 0.0)
        # log 1 for deterministic entries: with precision 0 they drop out of every sum
        half_log = 0.5 * torch.log(torch.where(random, precision, 1.0)).sum(-1)
        return cls(mean, precision, precision * mean, half_log, x, x * x)


@dataclass(frozen=True)
class Moments:
    """Of what the slots hold, signs of flipped shares included: see ``SwapMoments``."""

    first: Tensor  # (n, D) mean over draws of P x
    second: Tensor  # (n, D) mean over draws of P x²
    weighted: Tensor  # (S, n, D) Pᵀ (μ/σ²)
    precision: Tensor  # (S, n, D) Pᵀ 1/σ²


def matrix_moments(slots: Slots, kept: Tensor, flipped: Tensor | None, sign: Tensor) -> Moments:
    """Moments from marginals (S, n, n)."""
    count, _, size = slots.x.shape
    total = kept if flipped is None else kept + flipped

    def moment(share: Tensor, values: Tensor) -> Tensor:
        """(1/S) Σ_s share_s @ values_s as one matrix product, (n, D)."""
        # (n, S n) @ (S n, D): the sum over draws happens inside the product
        wide = share.transpose(0, 1).reshape(share.shape[1], -1)
        return wide @ values.reshape(-1, size) / count

    def pull(share: Tensor, rows: Tensor) -> Tensor:
        """share_sᵀ @ rows for every draw, (S, n, D)."""
        return (share.mT.reshape(-1, share.shape[1]) @ rows).reshape(slots.x.shape)

    first, weighted = moment(kept, slots.x), pull(kept, slots.weighted_mean)
    if flipped is not None:
        first = first + moment(flipped, slots.x) * sign
        weighted += pull(flipped, slots.weighted_mean * sign)
    return Moments(first, moment(total, slots.square), weighted, pull(total, slots.precision))


def gradients(slots: Slots, std: Tensor, found: Moments) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the mean over draws of Σ_ij P_ij A_ij with P held fixed.

    Returns:
        ∂/∂μ (n, D), ∂/∂σ (n, D) and ∂/∂ω (S, n, D).
    """
    # subtracting the identity's own moments: the derivative of −Σ_i A_ii, the log q(ω) below
    shift = found.first - slots.x.mean(0)
    spread = found.second - slots.square.mean(0)
    by_mean = slots.precision * shift
    # the −1/σ of a Gaussian's log density cancels: rows of P sum to 1, as the identity's do
    by_std = torch.where(
        slots.precision > 0, (spread - 2.0 * slots.mean * shift) * slots.precision / std, 0.0
    )
    at_units = found.weighted - slots.weighted_mean
    by_draw = at_units.addcmul_(slots.precision - found.precision, slots.x).div_(len(slots.x))
    return by_mean, by_std, by_draw
