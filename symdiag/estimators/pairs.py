"""How far apart two units of a posterior are: the separation in posterior stds."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.estimators.densities import squared_distances, unit_blocks
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group

_LARGE = 1e300


def separations(posterior: Posterior, group: Group, device: str = "cpu") -> NDArray[np.float64]:
    """Distance between every two units of a group in posterior stds, (n, n), diagonal inf.

    The square root of the Jeffreys divergence KL(q_i‖q_j) + KL(q_j‖q_i) between the units' blocks: with
    equal stds exactly ‖(μ_i − μ_j)/σ‖. For signed groups the smaller over the sign of one unit. inf
    where a deterministic weight tells two units apart.
    """
    jeffreys = _jeffreys(posterior, group, flip=False, device=device)
    if group.signed:
        jeffreys = torch.minimum(jeffreys, _jeffreys(posterior, group, flip=True, device=device))
    distances: NDArray[np.float64] = torch.sqrt(jeffreys.clamp(min=0.0)).cpu().numpy()
    distances[distances >= np.sqrt(_LARGE)] = np.inf
    np.fill_diagonal(distances, np.inf)
    return distances


def _jeffreys(posterior: Posterior, group: Group, *, flip: bool, device: str) -> Tensor:
    total = torch.zeros(group.width, group.width, dtype=torch.float64, device=device)
    for member in group.members:
        mean = unit_blocks(_tensor(posterior.loc[member.tensor], device), member, group.width)
        std = unit_blocks(_tensor(posterior.scale[member.tensor], device), member, group.width)
        fixed = std <= 0
        variance = torch.where(fixed, torch.zeros_like(std), std**2)
        precision = torch.where(fixed, torch.zeros_like(std), 1.0 / std.clamp(min=1e-300) ** 2)
        point = -mean if flip and member.flips else mean
        # (±μ_j − μ_i)² is symmetric, so the way back is the transpose
        there = squared_distances(mean, precision, point[None])[0] + variance @ precision.T
        total += 0.5 * (there + there.T - _common(fixed))
        total += _mismatch(mean, point, fixed)
    return total


def _tensor(array: NDArray[np.float64], device: str) -> Tensor:
    return torch.as_tensor(array, dtype=torch.float64, device=device)


def _common(fixed: Tensor) -> Tensor:
    """2 × the number of coordinates random in both units, (n, n)."""
    if not bool(fixed.any()):
        return torch.full((), 2.0 * fixed.shape[1], dtype=torch.float64, device=fixed.device)
    random = (~fixed).double()
    return 2.0 * (random @ random.T)


def _mismatch(mean: Tensor, point: Tensor, fixed: Tensor) -> Tensor:
    """A huge number where two units differ in a deterministic coordinate, else 0; (n, n)."""
    if not bool(fixed.any()):
        return torch.zeros((), dtype=torch.float64, device=mean.device)
    both = torch.where(fixed, mean, torch.zeros_like(mean))
    other = torch.where(fixed, point, torch.zeros_like(point))
    differ = torch.cdist(both, other, p=1.0) + torch.cdist(fixed.double(), fixed.double(), p=1.0)
    return torch.where(differ > 0, torch.full_like(differ, _LARGE), torch.zeros_like(differ))
