r"""Slot densities of interchangeable units: the matrix whose permanent is the symmetrised density.

A *unit* is what one index of a weight draw holds; a *slot* is that index itself, with the
distribution that q gives to whatever stands there. The slot density of slot i at unit j is
q_i(ω_j): how likely unit j's sampled weights (incoming, bias, outgoing) are in place i. With all
other groups at the identity and independent unit blocks under q (mean-field suffices),
``Σ_π q(π⁻¹ω) / q(ω) = perm(exp A)`` with ``A[i, j] = log q_i(ω_j) − log q_j(ω_j)``; with sign flips
``A[i, j] = log(q_i(ω_j) + q_i(−ω_j)) − log q_j(ω_j)`` (docs/theory/estimators.md, "One group is one
matrix permanent"). Also the separation of two slots in stds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member

_DIRECT_LIMIT = (
    1 << 18
)  # entries of the (S, n, n, D) difference array below which no expansion is used
_COLUMN_CHUNK = 512
_LARGE = 1e300  # squared separation of units that a deterministic weight tells apart


def unit_blocks(tensor: Tensor, member: Member, width: int, *, batched: bool = False) -> Tensor:
    """The member's entries by unit: (*shape) → (n, D), or (S, *shape) → (S, n, D) when ``batched``."""
    lead = 1 if batched else 0
    moved = torch.movedim(tensor, member.axis + lead, lead)[
        (slice(None),) * lead + (member.span(width),)
    ]
    split = moved.reshape(*moved.shape[:lead], member.outer, width, member.inner, -1)
    return split.movedim(lead + 1, lead).reshape(*moved.shape[:lead], width, -1)


@dataclass(frozen=True)
class _Slots:
    """One member's slot parameters, (n, D) each; deterministic entries have precision and log scale
    0.
    """

    member: Member
    loc: Tensor
    precision: Tensor
    log_scale: Tensor  # (n,) summed over D


class SlotDensity:
    """log q_i(ω_j) for all slots i and units j of one group, relative to log q_j(ω_j).

    Args:
        group: The group; it must not act on two axes of one tensor.
        loc: Tensor name → posterior mean, file layout (may require grad).
        scale: Tensor name → posterior std, same shapes; 0 marks a deterministic weight.
        tensors: Restrict to these tensors (default: all the group touches).
    """

    def __init__(
        self,
        group: Group,
        loc: Mapping[str, Tensor],
        scale: Mapping[str, Tensor],
        tensors: Sequence[str] | None = None,
    ) -> None:
        if not group.is_matrix_permanent:
            raise ValueError(
                f"group {group.name} acts on two axes of one tensor: not a matrix permanent"
            )
        self.group = group
        self.members = tuple(m for m in group.members if tensors is None or m.tensor in tensors)
        self.signed = group.signed
        self._slots = [
            self._slot(m, loc[m.tensor].double(), scale[m.tensor].double()) for m in self.members
        ]
        self._allowed = [
            self._allowed_pairs(loc, scale, flipped) for flipped in (False, True)[: 1 + self.signed]
        ]

    def _slot(self, member: Member, loc: Tensor, scale: Tensor) -> _Slots:
        mean = unit_blocks(loc, member, self.group.width)
        std = unit_blocks(scale, member, self.group.width)
        random = std > 0
        safe = torch.where(random, std, torch.ones_like(std))
        precision = torch.where(random, 1.0 / safe, torch.zeros_like(std)) ** 2
        return _Slots(member, mean, precision, torch.log(safe).sum(-1))

    def _allowed_pairs(
        self, loc: Mapping[str, Tensor], scale: Mapping[str, Tensor], flipped: bool
    ) -> Tensor | None:
        """Pairs whose deterministic weights agree (n, n); None when there are no deterministic
        weights.

        A deterministic weight is a density of zero width: units that differ in one cannot swap.
        """
        left, right = [], []
        for member in self.members:
            mean = unit_blocks(loc[member.tensor].detach().double(), member, self.group.width)
            fixed = unit_blocks(scale[member.tensor].detach(), member, self.group.width) <= 0
            if not bool(fixed.any()):
                continue
            sign = -1.0 if flipped and member.flips else 1.0
            # + 0.0 turns -0.0 into 0.0 so that equal values have equal bytes
            value = torch.where(fixed, mean, torch.zeros_like(mean)) + 0.0
            left.append(torch.cat([value, fixed.double()], -1).cpu().numpy())
            right.append(torch.cat([sign * value + 0.0, fixed.double()], -1).cpu().numpy())
        if not left:
            return None
        rows = np.concatenate([np.concatenate(left, -1), np.concatenate(right, -1)])
        _, label = np.unique(rows, axis=0, return_inverse=True)
        slot, unit = np.split(label.reshape(-1), 2)
        device = loc[self.members[0].tensor].device
        return torch.as_tensor(slot[:, None] == unit[None, :], device=device)

    def interchangeable(self) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
        """(n,) labels: units with equal labels agree in all deterministic weights, so that they may
        swap.
        """
        allowed = self._allowed[0]
        if allowed is None:
            return np.zeros(self.group.width, dtype=np.intp)
        # equality is transitive: the first unit that agrees with i names i's class
        return np.asarray(allowed.int().argmax(1).cpu().numpy())

    @property
    def flips_freely(self) -> bool:
        """Whether no deterministic weight stands against a sign flip."""
        return self.signed and self._allowed[1] is None

    def __call__(self, draws: Mapping[str, Tensor]) -> Tensor:
        """Relative log densities.

        Args:
            draws: Tensor name → weight draws (S, *shape).

        Returns:
            (S, n, n) float64, ``[s, i, j] = log q_i(ω_j) − log q_j(ω_j)`` in nats; the diagonal is
            0 for unsigned groups. −inf where a deterministic weight forbids the exchange.
        """
        kept, flipped = self.signed_parts(draws)
        return kept if flipped is None else log_add(kept, flipped)

    def signed_parts(self, draws: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        """The two terms of a signed entry, (S, n, n) each: without and with a flip (None if
        unsigned).
        """
        blocks = [
            unit_blocks(draws[s.member.tensor].double(), s.member, self.group.width, batched=True)
            for s in self._slots
        ]
        own = self._own_log_density(blocks)  # (S, n)
        kept = self._masked(self._log_density(blocks, flip=False) - own[:, None, :], 0)
        # 0 by definition; expanded squares would leave their rounding there
        kept = _with_diagonal(kept, torch.zeros_like(own))
        if not self.signed:
            return kept, None
        flipped = self._masked(self._log_density(blocks, flip=True) - own[:, None, :], 1)
        return kept, flipped

    def _masked(self, values: Tensor, which: int) -> Tensor:
        allowed = self._allowed[which]
        return values if allowed is None else values.masked_fill(~allowed, -torch.inf)

    def _own_log_density(self, blocks: Sequence[Tensor]) -> Tensor:
        terms = [
            -0.5 * ((x - s.loc) ** 2 * s.precision).sum(-1) - s.log_scale
            for x, s in zip(blocks, self._slots, strict=True)
        ]
        return torch.stack(terms).sum(0)

    def _log_density(self, blocks: Sequence[Tensor], *, flip: bool) -> Tensor:
        """Unnormalised log q_i(±ω_j), (S, n, n)."""
        total: Tensor | None = None
        for x, slot in zip(blocks, self._slots, strict=True):
            # the flip negates the point, not the slot: q_i(−x) needs no parameters of its own
            point = -x if flip and slot.member.flips else x
            term = (
                -0.5 * squared_distances(slot.loc, slot.precision, point) - slot.log_scale[:, None]
            )
            total = term if total is None else total + term
        assert total is not None
        return total


def log_add(first: Tensor, second: Tensor) -> Tensor:
    """log(exp first + exp second) whose gradient is 0, not NaN, where both are −inf."""
    never = torch.isneginf(first) & torch.isneginf(second)
    total = torch.logaddexp(first.masked_fill(never, 0.0), second.masked_fill(never, 0.0))
    return total.masked_fill(never, -torch.inf)


def sign_entropy(kept: Tensor, flipped: Tensor) -> Tensor:
    """Entropy in nats of the sign at each (slot, unit), given the log weights of both signs; same
    shape.
    """
    never = torch.isneginf(kept) & torch.isneginf(flipped)
    odds = (kept - flipped).masked_fill(never, torch.inf)
    sure = torch.isinf(odds)
    safe = odds.masked_fill(sure, 0.0)
    # the binary entropy at sigmoid(odds), in a form where nothing cancels for a sure sign
    entropy = torch.nn.functional.softplus(-safe) + safe * torch.sigmoid(-safe)
    return entropy.masked_fill(sure, 0.0)


def _with_diagonal(matrix: Tensor, diagonal: Tensor) -> Tensor:
    eye = torch.eye(matrix.shape[-1], dtype=torch.bool, device=matrix.device)
    return torch.where(eye, diagonal[:, None, :], matrix)


def squared_distances(loc: Tensor, precision: Tensor, points: Tensor) -> Tensor:
    """Σ_d precision[i, d] (points[s, j, d] − loc[i, d])², (S, n, n), in float64.

    Small problems use the differences themselves; large ones matrix products about a common centre,
    in column chunks so that no (n, n, D) temporary exists. Entries that matter and that the
    expansion cannot resolve are recomputed directly.
    """
    draws, width, size = points.shape
    if draws * width * width * size <= _DIRECT_LIMIT:
        return (
            precision[None, :, None, :] * (points[:, None, :, :] - loc[None, :, None, :]) ** 2
        ).sum(-1)
    squares, products = (
        points.new_zeros(draws * width, width),
        points.new_zeros(draws * width, width),
    )
    for start in range(0, size, _COLUMN_CHUNK):
        cols = slice(start, start + _COLUMN_CHUNK)
        centre = loc[:, cols].detach().mean(0)
        mean, weight, x = loc[:, cols] - centre, precision[:, cols], points[..., cols] - centre
        cross = mean * weight
        flat = x.reshape(draws * width, -1)
        squares = squares.addmm_(flat * flat, weight.T).add_((mean * cross).sum(-1))
        products = products.addmm_(flat, cross.T)
    total = (squares - 2.0 * products).reshape(draws, width, width).mT
    return _refine(total, squares.detach().reshape(draws, width, width).mT, loc, precision, points)


def _refine(
    total: Tensor, magnitude: Tensor, loc: Tensor, precision: Tensor, points: Tensor
) -> Tensor:
    """Recompute directly the entries that matter and whose cancellation error may exceed 1e-8."""
    error = 8 * torch.finfo(torch.float64).eps * magnitude
    matter = (total.detach() < 200.0 + points.shape[-1] * 4.0) & (error > 1e-8)
    where = matter.nonzero()
    if len(where) == 0:
        return total
    parts = []
    for chunk in torch.split(where, max(1, _DIRECT_LIMIT // points.shape[-1])):
        s, i, j = chunk.unbind(-1)
        parts.append((precision[i] * (points[s, j] - loc[i]) ** 2).sum(-1))
    return total.index_put(tuple(where.unbind(-1)), torch.cat(parts))


def log_density_matrices(
    group: Group,
    loc: Mapping[str, Tensor],
    scale: Mapping[str, Tensor],
    draws: Mapping[str, Tensor],
) -> Tensor:
    """Differentiable relative log-density matrices (S, n, n) of one group; see
    :class:`SlotDensity`.
    """
    return SlotDensity(group, loc, scale)(draws)


def separations(posterior: Posterior, group: Group, device: str = "cpu") -> NDArray[np.float64]:
    """Distance between every two units of a group in posterior stds, (n, n), diagonal inf.

    The square root of the Jeffreys divergence KL(q_i‖q_j) + KL(q_j‖q_i) between the units' blocks:
    with equal stds exactly ‖(μ_i − μ_j)/σ‖. For signed groups the smaller over the sign of one
    unit. inf where a deterministic weight tells two units apart.
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
        # the traces tr(Σ_i Σ_j⁻¹) too: whichever way round, as the transpose is added
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
    # p = 1: a sum of absolute differences is 0 exactly where all entries agree
    differ = torch.cdist(both, other, p=1.0) + torch.cdist(fixed.double(), fixed.double(), p=1.0)
    return torch.where(differ > 0, torch.full_like(differ, _LARGE), torch.zeros_like(differ))
