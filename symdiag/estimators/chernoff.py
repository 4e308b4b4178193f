r"""An upper bound on H(g | ω) of one group that needs no weight draws: a permanent of Chernoff
coefficients.

With r(g) = q(g⁻¹ω)/q(ω) and X = Σ_{g≠e} r(g), H(g|ω) = E log(1 + X). For s in (0, 1], X^s ≤ Σ_{g≠e}
r(g)^s, so

    E X^s ≤ y_s := Σ_{g≠e} ∫ q(g⁻¹ω)^s q(ω)^{1−s} dω = perm C_s − 1,   C_s[i, j] = ∫ q_i^s
    q_j^{1−s},

and H ≤ φ_s(y_s), where φ_s is the smallest concave function above y ↦ log(1 + y^{1/s}). Every s is
valid, so the best is. Entries are closed forms for Gaussians, at most 1 (Hölder), 1 on the
diagonal. Proofs: docs/theory/chernoff.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import brentq

from symdiag.arrays import Array
from symdiag.estimators.densities import unit_blocks
from symdiag.permanents.blocks import block_structure, small_blocks
from symdiag.permanents.bounds.entropy import entropy_upper
from symdiag.permanents.bounds.macmahon import macmahon_upper
from symdiag.permanents.doubly_stochastic import sinkhorn
from symdiag.permanents.exact import scaled_permanent
from symdiag.permanents.scaling import dual_scale
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group

POWERS = (0.5, 0.65, 0.8, 0.9, 0.35)
"""Values of s that are tried, the likeliest to be best first."""

_CLOSED = 1e-4  # nats at which no other power is tried
_FLOOR = -50.0  # log overlaps are followed no further: partial sums are upper bounds, too
_LARGE = 1e8  # n² D from which one or two powers must do
_EXACT = 18  # rows summed over exactly
_SPLIT_LOSS = 1e-12
_ENTROPY_ROWS = 512  # rows up to which the entropy bound is worth its time


@dataclass(frozen=True)
class ChernoffBound:
    """An upper bound on a straddling entropy that holds for the posterior itself, no draws
    involved.

    Attributes:
        value: the bound, nats; at most log|G|.
        power: the s it was had with; 1 where log|G| is the best that is known.
    """

    value: float
    power: float


def chernoff_bound(
    posterior: Posterior, group: Group, *, tensors: Sequence[str] | None = None
) -> ChernoffBound:
    """Upper bound on H(g | ω) of one group, every other group at the identity.

    Args:
        posterior: The posterior. With correlations among the group's weights only log|G| is
            returned, for then the sum over g is no permanent (``enumerated_bound`` has it for small
            groups).
        group: The group. A tensor on which it acts along two axes is left out, which can only raise
            the entropy.
        tensors: Look only at these tensors: then a bound on the entropy of g given *those* weights.
    """
    nothing = ChernoffBound(group.log_order, 1.0)
    names = [n for n in one_axis_tensors(group) if tensors is None or n in tensors]
    if not names or correlated(posterior, names):
        return nothing
    units = Units.of(posterior, group, names)
    best = ChernoffBound(order_of_equals(units, group), 1.0)
    tries = 2 if units.size > _LARGE else len(POWERS)
    for power in POWERS[:tries]:
        value = concave_bound(log_of_others(log_permanent_upper(units.log_overlaps(power))), power)
        if value < best.value:
            best = ChernoffBound(value, power)
        elif power > 0.5:
            break
        if best.value <= _CLOSED:
            break
    return best


def one_axis_tensors(group: Group) -> list[str]:
    """The group's tensors on which it acts along one axis only."""
    return [n for n in group.tensors if len({m.axis for m in group.members if m.tensor == n}) == 1]


def correlated(posterior: Posterior, names: Sequence[str]) -> bool:
    """Whether the posterior has correlations among the weights of these tensors."""
    covariance = posterior.covariance
    return covariance is not None and bool(set(names) & set(covariance.order))


def order_of_equals(units: Units, group: Group) -> float:
    """log of the number of elements that leave deterministic weights alone, nats."""
    kept, flipped = units.allowed
    _, sizes = np.unique(kept.argmax(1), return_counts=True)
    signs = 0 if flipped is None else int(flipped.any(1).sum())
    total = math.fsum(math.lgamma(int(size) + 1) for size in sizes) + float(signs) * math.log(2.0)
    # a unit that equals the flip of another only: the classes are wider than those of ``kept``
    simple = flipped is None or bool((kept | ~flipped).all())
    return total if simple else group.log_order


@dataclass(frozen=True)
class Units:
    """Slot parameters of n units in D random weights each, the most telling weights first."""

    loc: Array  # (n, D) in units of each weight's typical std
    log_scale: Array  # (n, D), 0 on geometric average over units
    flips: NDArray[np.bool_]  # (D,) whether a sign flip of the unit negates the weight
    signed: bool
    allowed: tuple[NDArray[np.bool_], NDArray[np.bool_] | None]  # (n, n) slot and unit agree

    @classmethod
    def of(cls, posterior: Posterior, group: Group, names: Sequence[str]) -> Units:
        """The units of ``group`` as the tensors ``names`` show them."""
        locs, scales, flips = [], [], []
        for member in group.members:
            if member.tensor in names:
                pair = (posterior.loc[member.tensor], posterior.scale[member.tensor])
                loc, scale = (
                    unit_blocks(torch.from_numpy(a), member, group.width).numpy() for a in pair
                )
                locs.append(loc)
                scales.append(scale)
                flips.append(np.full(loc.shape[1], member.flips))
        loc, scale = np.concatenate(locs, 1), np.concatenate(scales, 1)
        flip = np.concatenate(flips)
        allowed = _allowed(loc, scale, flip, signed=group.signed)
        # a weight random in some units only: units that may swap agree in which, so it drops out
        # where it is fixed
        random = scale > 0
        log_scale = np.log(np.where(random, scale, 1.0))
        count = np.maximum(random.sum(0), 1)
        centre = np.where(random, log_scale, 0.0).sum(0) / count
        log_scale = np.where(random, log_scale - centre, 0.0)
        loc = np.where(random, loc * np.exp(-centre), 0.0)
        telling = loc.var(0) + log_scale.var(0)
        if group.signed:
            telling = telling + (loc**2).mean(0) * flip
        order = np.argsort(-telling, kind="stable")
        return cls(loc[:, order], log_scale[:, order], flip[order], group.signed, allowed)

    @property
    def size(self) -> float:
        """n² D, what one matrix costs."""
        n, d = self.loc.shape
        return float(n * n * d * (2 if self.signed else 1))

    def log_overlaps(self, power: float) -> Array:
        """log C_s (n, n), ``[i, j]`` for slot i and unit j, both signs of the unit added up where
        signed.

        Upper bounds below e^-50, exact to rounding above.
        """
        kept, flipped = self.signed_log_overlaps(power)
        return kept if flipped is None else np.asarray(np.logaddexp(kept, flipped))

    def signed_log_overlaps(self, power: float) -> tuple[Array, Array | None]:
        """The two terms of a signed entry, without and with a flip of the unit (None if unsigned)."""
        kept = self._one_sign(power, flip=False)
        np.fill_diagonal(kept, 0.0)
        kept[~self.allowed[0]] = -np.inf
        if self.allowed[1] is None:
            return kept, None
        flipped = self._one_sign(power, flip=True)
        flipped[~self.allowed[1]] = -np.inf
        return kept, flipped

    def _one_sign(self, power: float, *, flip: bool) -> Array:
        sign = np.where(self.flips, -1.0, 1.0) if flip else np.ones(len(self.flips))
        return log_overlap_matrix(self.loc, self.loc * sign, self.log_scale, power)


def log_overlap_matrix(slots: Array, points: Array, log_scale: Array, power: float) -> Array:
    """log ∫ N(slots_i, σ_i²)^s N(points_j, σ_j²)^{1−s}, (n, n), the coordinates (n, D) multiplied
    up.

    Each coordinate gives σ_i^{1−s} σ_j^s v^{−1/2} exp(−s(1−s)(μ_i − μ_j)²/2v), v = s σ_j² + (1−s)
    σ_i².
    """
    from symdiag.estimators import chernoff_loops

    variance = np.exp(2.0 * log_scale)
    starts = np.arange(0, max(log_scale.shape[1], 1), chernoff_loops.CHUNK)
    logs = np.add.reduceat(log_scale, starts, axis=1)
    left, right = np.ascontiguousarray(slots), np.ascontiguousarray(points)
    return chernoff_loops.overlaps(left, right, np.ascontiguousarray(variance), logs, power, _FLOOR)


def _allowed(
    loc: Array, scale: Array, flips: NDArray[np.bool_], *, signed: bool
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """Pairs (slot, unit) that agree in all deterministic weights, without and with a flip of the
    unit.
    """
    fixed = scale <= 0
    if not fixed.any():
        every = np.ones((len(loc), len(loc)), dtype=bool)
        return every, every if signed else None
    value = np.where(fixed, loc, 0.0) + 0.0  # + 0.0: -0.0 and 0.0 are one value
    rows = [np.concatenate([value, fixed], 1)]
    if signed:
        rows.append(np.concatenate([np.where(flips, -value, value) + 0.0, fixed], 1))
    _, label = np.unique(np.concatenate(rows), axis=0, return_inverse=True)
    own, *other = np.split(label.reshape(-1), len(rows))
    kept = own[:, None] == own[None, :]
    return kept, own[:, None] == other[0][None, :] if signed else None


def log_permanent_upper(log_weights: Array) -> float:
    """Certified upper bound on log perm of one (n, n) matrix, rounding included, without sampling.

    Exact up to 18 rows; else blocks with a rigorous loss, MacMahon's determinant, row sums, the
    entropy bound.
    """
    n = len(log_weights)
    scaled = dual_scale(log_weights)
    if not math.isfinite(scaled.offset):
        return -math.inf
    slack = 1e-14 * (1.0 + abs(scaled.offset)) + 1e-15 * n
    matrix = scaled.log_scaled
    if n <= _EXACT:
        return scaled.offset + _block_upper(matrix) + slack
    whole = macmahon_upper(matrix)
    fine = small_blocks(matrix, 12) if whole > _CLOSED else None
    if fine is not None and math.isfinite(fine.loss):
        parts = math.fsum(_block_upper(matrix[np.ix_(b, b)]) for b in fine.blocks if len(b) > 1)
        whole = min(whole, parts + fine.loss)
    if whole > _CLOSED:
        cut = block_structure(matrix, tolerance=_SPLIT_LOSS)
        parts = math.fsum(_block_upper(matrix[np.ix_(b, b)]) for b in cut.blocks if len(b) > 1)
        whole = min(whole, parts + cut.loss)
    return scaled.offset + whole + slack


def _block_upper(log_block: Array) -> float:
    """Upper bound on log perm of one dual-scaled block."""
    n = len(log_block)
    if n <= _EXACT:
        return math.log(scaled_permanent(np.exp(log_block))[0]) + 1e-14 * n
    weights: Array = np.exp(log_block)
    sums = [float(np.log(weights.sum(axis)).sum()) + 1e-14 * n for axis in (0, 1)]
    best: float = min(math.lgamma(n + 1) + 1e-12, macmahon_upper(log_block), *sums)
    if n <= _ENTROPY_ROWS and best > _CLOSED:
        best = min(best, entropy_upper(log_block, sinkhorn(weights).weights, sweeps=2, refine=1))
    return best


def concave_bound(log_sum: float, power: float) -> float:
    """φ_s(y) in nats, y = exp(log_sum): an upper bound on E log(1 + X) for every X ≥ 0 with E X^s ≤ y."""
    touch = _touching_point(power)
    if touch > 0.0 and log_sum < power * math.log(touch):
        # below the point where the tangent through 0 touches, the concave envelope is that tangent
        return math.exp(log_sum) * math.log1p(touch) / float(touch**power)
    return float(np.logaddexp(0.0, log_sum / power))


def log_of_others(log_permanent: float) -> float:
    """log(perm − 1): what is left without the identity, which weighs 1."""
    if log_permanent <= 0.0:
        return -math.inf
    return log_permanent + math.log(-math.expm1(-log_permanent))


@functools.lru_cache(maxsize=64)
def _touching_point(power: float) -> float:
    """The x > 0 that maximises log(1 + x)/x^s, where x/(1 + x) = s log(1 + x); 0 for s = 1."""
    if power >= 1.0:
        return 0.0
    found = brentq(
        lambda t: -math.expm1(-t) - power * t, 1e-9 * (1.0 - power), 2.0 / power, xtol=1e-14
    )
    return math.expm1(found)
