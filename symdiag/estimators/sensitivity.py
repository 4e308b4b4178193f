"""Who exchanges with whom, and where symmetrisation would move each unit.

Formulas: docs/theory/estimators.md, "One group is one matrix permanent".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array
from symdiag.estimators.densities import SlotDensity, log_add, sign_entropy, unit_blocks
from symdiag.permanents import DEFAULT, Effort, marginals
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member

_MAX_ENTRIES = 4_000_000  # weights, or entries of density matrices, x draws held at once
_KEPT_ENTRIES = 1_000_000  # of matrices kept by each half
_SURE = 1e-12  # a unit that keeps its label up to this exchanges with nobody


@dataclass(frozen=True)
class Sensitivity:
    """Per-unit consequences of straddling for one group of n units.

    ``confusion[i, j]`` = P(π(i) = j | ω) averaged over draws; ``retention[i]`` = P(π(i) = i,
    unflipped | ω). ``mean_shift``: size in posterior stds of −σ·∂H/∂μ over the unit's weights
    (square root of the product of two independent halves, hence not inflated by noise).
    ``log_std_shift``: mean of −∂H/∂log σ over them.
    """

    confusion: Array  # (n, n)
    retention: Array  # (n,)
    mean_shift: Array  # (n,)
    log_std_shift: Array  # (n,)
    draws: int
    method: str
    matrices: Array  # (at most `draws`, n, n) log-density matrices seen, for cluster entropies
    signs: Array  # entropy of the sign within each of their entries, nats; 0 without flips


def sensitivity(
    posterior: Posterior,
    group: Group,
    *,
    draws: int,
    generator: np.random.Generator,
    effort: Effort = DEFAULT,
    device: str = "cpu",
) -> Sensitivity:
    """Permanental marginals and the gradient of H at the checkpoint, from ``draws`` fresh weight
    draws.
    """
    largest = max(group.width**2, sum(posterior.loc[n].size for n in group.tensors))
    chunk = max(1, min(draws // 2, _MAX_ENTRIES // largest))
    halves = [_Half(group, posterior, device) for _ in range(2)]
    for half in halves:
        while half.count < max(1, draws // 2):
            half.accumulate(min(chunk, max(1, draws // 2) - half.count), generator, effort)
    first, second = halves
    count = first.count + second.count
    pairs = zip(first.shift, second.shift, strict=True)
    inner = torch.stack([(a * b).sum(-1) for a, b in pairs]).sum(0) / (first.count * second.count)
    log_std = torch.stack(
        [(a + b).sum(-1) for a, b in zip(first.log_std, second.log_std, strict=True)]
    ).sum(0)
    weights = sum(block.shape[1] for block in first.shift)
    return Sensitivity(
        confusion=(first.confusion + second.confusion) / count,
        retention=(first.retention + second.retention) / count,
        mean_shift=np.sqrt(np.maximum(inner.cpu().numpy(), 0.0)),
        log_std_shift=-log_std.cpu().numpy() / (count * weights),
        draws=count,
        method="+".join(dict.fromkeys(first.methods + second.methods)),
        matrices=np.concatenate(first.matrices + second.matrices),
        signs=np.concatenate(first.signs + second.signs),
    )


class _Half:
    """Sums over one half of the draws."""

    def __init__(self, group: Group, posterior: Posterior, device: str) -> None:
        self.group = group
        self.loc = {n: torch.from_numpy(posterior.loc[n]).to(device) for n in group.tensors}
        self.scale = {n: torch.from_numpy(posterior.scale[n]).to(device) for n in group.tensors}
        self.density = SlotDensity(group, self.loc, self.scale)
        self.shift = [torch.zeros_like(self._blocks(self.loc, m)) for m in group.members]
        self.log_std = [torch.zeros_like(block) for block in self.shift]
        self.confusion = np.zeros((group.width, group.width))
        self.retention = np.zeros(group.width)
        self.count = 0
        self.methods: list[str] = []
        self.matrices: list[Array] = []
        self.signs: list[Array] = []

    def _blocks(self, arrays: Mapping[str, Tensor], member: Member) -> Tensor:
        return unit_blocks(arrays[member.tensor], member, self.group.width)

    def accumulate(self, count: int, generator: np.random.Generator, effort: Effort) -> None:
        """``count`` more draws: marginals, and the reparameterised gradient of log perm A."""
        noise = {
            n: torch.from_numpy(generator.standard_normal((count, *v.shape))).to(v)
            for n, v in self.loc.items()
        }
        draws = {n: self.loc[n] + self.scale[n] * noise[n] for n in self.loc}
        kept, flipped = self.density.signed_parts(draws)
        matrices = kept if flipped is None else log_add(kept, flipped)
        array = matrices.cpu().numpy()
        if sum(m.size for m in self.matrices) < _KEPT_ENTRIES:
            self.matrices.append(array)
            inner = None if flipped is None else sign_entropy(kept, flipped).cpu().numpy()
            self.signs.append(np.zeros_like(array) if inner is None else inner)
        result = marginals(array, generator=generator, effort=effort)
        probabilities = torch.from_numpy(result.probabilities).to(matrices)
        signed = (
            probabilities
            if flipped is None
            else probabilities * torch.tanh(0.5 * _odds(kept, flipped))
        )
        own = torch.diagonal(probabilities + signed, dim1=1, dim2=2) / 2.0
        for s in range(count):
            self._add_gradient(
                probabilities[s], signed[s], own[s], {n: v[s] for n, v in draws.items()}
            )
        self.confusion += result.probabilities.sum(0)
        self.retention += own.sum(0).cpu().numpy()
        self.methods.extend(dict.fromkeys(result.method))
        self.count += count

    def _add_gradient(
        self, joint: Tensor, signed: Tensor, own: Tensor, draw: Mapping[str, Tensor]
    ) -> None:
        """Gradients of Σ_ij P_ij A_ij with P held fixed; units that keep their label contribute
        nothing.
        """
        active = (own < 1.0 - _SURE).nonzero().flatten()
        if len(active) == 0:
            return
        joint, signed = joint[active][:, active], signed[active][:, active]
        for k, member in enumerate(self.group.members):
            loc, scale, point = (
                self._blocks(a, member)[active] for a in (self.loc, self.scale, draw)
            )
            shift, log_std = unit_gradients(
                joint, signed if member.flips else joint, loc, scale, point
            )
            self.shift[k][active] += shift
            self.log_std[k][active] += log_std


def unit_gradients(
    joint: Tensor, signed: Tensor, loc: Tensor, scale: Tensor, point: Tensor
) -> tuple[Tensor, Tensor]:
    """σ·∂/∂μ and ∂/∂log σ of Σ_ij P_ij A_ij through densities and reparameterised draws, (n, D)
    each.

    Args:
        joint: P(π(i) = j | ω), (n, n), rows and columns summing to 1.
        signed: The same minus twice its flipped part (P₊ − P₋) where the tensor flips, else
            ``joint``.
        loc: Means by unit, (n, D).
        scale: Stds, 0 where deterministic.
        point: The draw ω = μ + σε.
    """
    precision = torch.where(scale > 0, scale, torch.ones_like(scale)) ** -2.0 * (scale > 0)
    taken = signed @ point  # what slot k sees on average
    pull = (joint.T @ precision) * point - signed.T @ (precision * loc)  # on the draw itself
    shift = scale * (precision * (taken - loc) - pull)
    spread = precision * (joint @ point**2 - 2.0 * loc * taken + loc**2)
    return shift, spread - (point - loc) * pull


def _odds(kept: Tensor, flipped: Tensor) -> Tensor:
    """Log odds of not flipping; 0 where the exchange is impossible either way."""
    return torch.where(
        torch.isneginf(kept) & torch.isneginf(flipped), torch.zeros_like(kept), kept - flipped
    )
