"""Who exchanges with whom, and where symmetrisation would move each unit (DESIGN.md 1.2, 1.3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.estimators.densities import SlotDensity, log_add, unit_blocks
from symdiag.permanents import DEFAULT, Effort, marginals
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group

Array = NDArray[np.float64]

_MAX_ENTRIES = 4_000_000  # weights x draws differentiated at once


@dataclass(frozen=True)
class Sensitivity:
    """Per-unit consequences of straddling for one group of n units.

    ``confusion[i, j]`` = P(π(i) = j | ω) averaged over draws; ``retention[i]`` = P(π(i) = i, unflipped | ω).
    ``mean_shift``: size in posterior stds of −σ·∂H/∂μ over the unit's weights (square root of the product of
    two independent halves, hence not inflated by noise). ``log_std_shift``: mean of −∂H/∂log σ over them.
    """

    confusion: Array  # (n, n)
    retention: Array  # (n,)
    mean_shift: Array  # (n,)
    log_std_shift: Array  # (n,)
    draws: int
    method: str


def sensitivity(
    posterior: Posterior,
    group: Group,
    *,
    draws: int,
    generator: np.random.Generator,
    effort: Effort = DEFAULT,
    device: str = "cpu",
) -> Sensitivity:
    """Permanental marginals and the gradient of H at the checkpoint, from ``draws`` fresh weight draws."""
    names = group.tensors
    loc = {n: torch.tensor(posterior.loc[n], device=device) for n in names}
    log_scale = {n: _safe_log(torch.tensor(posterior.scale[n], device=device)) for n in names}
    size = sum(loc[n].numel() for n in names)
    chunk = max(1, min(draws // 2, _MAX_ENTRIES // max(1, size)))
    halves = [_Half(group, loc, log_scale, posterior) for _ in range(2)]
    for half in halves:
        remaining = max(1, draws // 2)
        while remaining > 0:
            half.accumulate(min(chunk, remaining), generator, effort)
            remaining -= chunk
    first, second = halves
    count = first.count + second.count
    inner = _unit_sum(group, {n: first.shift[n] * second.shift[n] for n in names}) / (first.count * second.count)
    log_std = {n: -(first.log_std[n] + second.log_std[n]) / count for n in names}
    weights = sum(loc[m.tensor].numel() for m in group.members) // group.width
    return Sensitivity(
        confusion=(first.confusion + second.confusion) / count,
        retention=(first.retention + second.retention) / count,
        mean_shift=np.sqrt(np.maximum(inner, 0.0)),
        log_std_shift=_unit_sum(group, log_std) / weights,
        draws=count,
        method="+".join(dict.fromkeys(first.methods + second.methods)),
    )


def _safe_log(scale: Tensor) -> Tensor:
    return torch.where(scale > 0, scale, torch.ones_like(scale)).log()


class _Half:
    """Sums over one half of the draws."""

    def __init__(
        self, group: Group, loc: Mapping[str, Tensor], log_scale: Mapping[str, Tensor], posterior: Posterior
    ) -> None:
        self.group = group
        self.loc, self.log_scale = loc, log_scale
        self.random = {n: torch.tensor(posterior.scale[n] > 0, device=v.device) for n, v in loc.items()}
        self.shift = {n: torch.zeros_like(v) for n, v in loc.items()}
        self.log_std = {n: torch.zeros_like(v) for n, v in loc.items()}
        self.confusion = np.zeros((group.width, group.width))
        self.retention = np.zeros(group.width)
        self.count = 0
        self.methods: list[str] = []

    def accumulate(self, count: int, generator: np.random.Generator, effort: Effort) -> None:
        """``count`` more draws: marginals, and the reparameterised gradient of Σ_s log perm A_s."""
        loc = {n: v.clone().requires_grad_() for n, v in self.loc.items()}
        log_scale = {n: v.clone().requires_grad_() for n, v in self.log_scale.items()}
        scale = {n: torch.where(self.random[n], v.exp(), torch.zeros_like(v)) for n, v in log_scale.items()}
        noise = {n: torch.from_numpy(generator.standard_normal((count, *v.shape))).to(v) for n, v in loc.items()}
        draws = {n: loc[n] + scale[n] * noise[n] for n in loc}
        kept, flipped = SlotDensity(self.group, loc, scale).signed_parts(draws)
        matrices = kept if flipped is None else log_add(kept, flipped)
        result = marginals(matrices.detach().cpu().numpy(), generator=generator, effort=effort)
        probabilities = torch.from_numpy(result.probabilities).to(matrices)
        finite = torch.where(probabilities > 0, matrices, torch.zeros_like(matrices))
        (probabilities * finite).sum().backward()  # type: ignore[no-untyped-call]
        self._collect(loc, log_scale, scale, count)
        self.confusion += result.probabilities.sum(0)
        self.retention += _retention(result.probabilities, kept, flipped).sum(0)
        self.methods.append(result.method[0])

    def _collect(
        self, loc: Mapping[str, Tensor], log_scale: Mapping[str, Tensor], scale: Mapping[str, Tensor], count: int
    ) -> None:
        for name in loc:
            mean_grad, scale_grad = loc[name].grad, log_scale[name].grad
            if mean_grad is not None:
                self.shift[name] += (mean_grad * scale[name].detach()).detach()
            if scale_grad is not None:
                self.log_std[name] += scale_grad
        self.count += count


def _retention(probabilities: Array, kept: Tensor, flipped: Tensor | None) -> Array:
    own = np.diagonal(probabilities, axis1=1, axis2=2)
    if flipped is None:
        return own
    odds = torch.diagonal(kept.detach() - flipped.detach(), dim1=1, dim2=2)
    return np.asarray(own * torch.sigmoid(odds).cpu().numpy())


def _unit_sum(group: Group, values: Mapping[str, Tensor]) -> Array:
    """Sum over each unit's entries, (n,)."""
    parts = [unit_blocks(values[m.tensor], m, group.width).sum(-1) for m in group.members]
    return np.asarray(torch.stack(parts).sum(0).cpu().numpy())
