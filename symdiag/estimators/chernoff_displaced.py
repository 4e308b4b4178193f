r"""The bound without draws for groups that share tensors, by counting the units that each group displaces.

Let g move k_l of the units of group l. Of a matrix between two groups, entries in rows that stay and columns that move
(and the other way round) charge each moved column at least its n − k cheapest terms, whichever n − k rows stay. With
everything else bounded by 1, the joint sum of Chernoff coefficients factorises into one sum per group once the numbers
k_1 … k_L are fixed:

    Σ_g ∫ q(g⁻¹ω)^s q(ω)^{1−s} dω ≤ Σ_k Π_l E_l(k_l; k of the neighbours),  E_l(k; ·) = Σ_{|S|=k} perm N_S.

Proof in docs/theory/chernoff.md, 5.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from symdiag.arrays import Array
from symdiag.estimators.chernoff import (
    ChernoffBound,
    Units,
    concave_bound,
    correlated,
    log_of_others,
    one_axis_tensors,
)
from symdiag.permanents.bounds.macmahon import macmahon_upper
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec

_WORK = 8e7  # terms of one shared tensor from which it is left out
_FEW = 8  # displaced units up to which determinants are worth their time
_SCALES = (1.0, 2.0, 8.0)  # t in t^-k / det(1 - tN)
_COMBINATIONS = 2_000_000
_POWERS = (0.5, 0.7)
_UNDERFLOW = -690.0  # log of a number below which exp loses digits
_SMALL = 24  # units in total up to which both powers are tried


def displaced_bound(posterior: Posterior, spec: PermutationSpec) -> ChernoffBound:
    """Upper bound on the joint H(g | ω) of all groups; log|G| where it says nothing."""
    nothing = ChernoffBound(spec.log_order, 1.0)
    names = list(dict.fromkeys(m.tensor for g in spec for m in g.members))
    if correlated(posterior, names):
        return nothing
    best = nothing
    width = sum(g.width for g in spec)
    for power in _POWERS if width <= _SMALL else _POWERS[:1]:
        value = concave_bound(log_displaced_sum(posterior, spec, power), power)
        if value < best.value:
            best = ChernoffBound(value, power)
    return best


def log_displaced_sum(posterior: Posterior, spec: PermutationSpec, power: float) -> float:
    """log of the upper bound on Σ_{g≠e} ∫ q(g⁻¹ω)^s q(ω)^{1−s} dω; inf where it exceeds |G|."""
    groups = spec.groups
    sides = [_Side(posterior, spec, k, power) for k in range(len(groups))]
    # nothing of the shared tensors is left where all units move: only the groups' own can pay for that
    if sum(side.log_sum(len(side.buckets) - 1, side.everyone) for side in sides) > 0.0:
        return math.inf
    shape = [len(side.buckets) for side in sides]
    if math.prod(shape) > _COMBINATIONS:
        return math.inf
    total = np.zeros(shape)
    for k, side in enumerate(sides):
        axes = sorted({k, *side.neighbours})
        table = np.empty([shape[a] for a in axes])
        for index in np.ndindex(*table.shape):
            at = dict(zip(axes, index, strict=True))
            table[index] = side.log_sum(at[k], tuple(at[a] for a in side.neighbours))
        total += table.reshape([shape[a] if a in axes else 1 for a in range(len(shape))])
    return float(logsumexp(total.reshape(-1)[1:]))  # first: nothing moves, which weighs 1


@dataclass(frozen=True)
class _Shared:
    """The weights between the units of two groups (or of one, twice): (n, p, D) seen from the first."""

    partner: int  # position of the other group
    loc: Array
    scale: Array
    flips: bool


class _Side:
    """One group's sums over the elements that displace a given number of its units."""

    def __init__(
        self, posterior: Posterior, spec: PermutationSpec, position: int, power: float
    ) -> None:
        self.group = spec.groups[position]
        self.position = position
        self.buckets = _buckets(self.group)
        own = [n for n in one_axis_tensors(self.group) if _is_own(n, self.group, spec)]
        n = self.group.width
        if own:
            self._base = Units.of(posterior, self.group, own).signed_log_overlaps(power)
        else:
            self._base = (np.zeros((n, n)), np.zeros((n, n)) if self.group.signed else None)
        self._shared = _shared_weights(posterior, spec, position)
        self.neighbours = tuple(sorted({s.partner for s in self._shared}))
        self._partner_buckets = {k: _buckets(spec.groups[k]) for k in self.neighbours}
        self.everyone = tuple(len(self._partner_buckets[k]) - 1 for k in self.neighbours)
        self._power = power
        self._sums: dict[tuple[int, ...], _Sums] = {}

    @functools.cached_property
    def _costs(self) -> list[tuple[Array, Array | None]]:
        """For each shared tensor (buckets of the partner, n, n), without and with a flip."""
        from symdiag.estimators import chernoff_loops

        result = []
        for shared in self._shared:
            partners = shared.loc.shape[1]
            tops = [top for _, top in self._partner_buckets[shared.partner]]
            stay = np.array([partners - top for top in tops], dtype=np.int64)
            arrays = (shared.loc, shared.scale, self._power)
            kept = chernoff_loops.fixed_costs(*arrays, False, stay)
            flipped = None
            if self.group.signed:
                flipped = chernoff_loops.fixed_costs(*arrays, True, stay) if shared.flips else kept
            result.append((kept, flipped))
        return result

    def log_sum(self, bucket: int, partners: tuple[int, ...]) -> float:
        """log Σ over elements that displace as many units as ``bucket`` says, upper bound.

        Args:
            bucket: position in ``buckets``.
            partners: the neighbours' buckets, as ``neighbours``.
        """
        if partners not in self._sums:
            self._sums[partners] = _Sums(self._matrix(partners), self.group.signed)
        return self._sums[partners].of(*self.buckets[bucket])

    def _matrix(self, partners: tuple[int, ...]) -> Array:
        """log N (n, n) for given buckets of the neighbours; the diagonal holds flips alone."""
        at = dict(zip(self.neighbours, partners, strict=True))
        kept, flipped = (
            self._base[0].copy(),
            None if self._base[1] is None else self._base[1].copy(),
        )
        if any(
            at[s.partner] < self.everyone[self.neighbours.index(s.partner)] for s in self._shared
        ):
            for shared, (stay, turn) in zip(self._shared, self._costs, strict=True):
                kept -= stay[at[shared.partner]]
                if flipped is not None and turn is not None:
                    flipped -= turn[at[shared.partner]]
        np.fill_diagonal(kept, -np.inf)
        return kept if flipped is None else np.asarray(np.logaddexp(kept, flipped))


class _Sums:
    """Upper bounds on Σ_{low ≤ k ≤ high} Σ_{|S|=k} perm N_S of one matrix N."""

    def __init__(self, log_matrix: Array, signed: bool) -> None:
        from symdiag.estimators import chernoff_loops

        with np.errstate(divide="ignore"):
            margins = [logsumexp(log_matrix, axis=axis) for axis in (0, 1)]
        # perm N_S is at most the product of its row sums, so of the whole matrix's; of its column sums as well
        self._products = [chernoff_loops.log_symmetric_sums(margin) for margin in margins]
        self._matrix, self._signed = log_matrix, signed
        self._determinants: dict[float, float] = {}

    def of(self, low: int, high: int) -> float:
        """log of the bound; 0 where nothing moves."""
        if high == 0:
            return 0.0
        sums = [float(logsumexp(logs[low : high + 1])) for logs in self._products]
        if low <= _FEW:
            sums += [self._determinant(t) - low * math.log(t) for t in _SCALES]
        return min(sums)

    def _determinant(self, t: float) -> float:
        """log Σ_{k≥1} t^k Σ_{|S|=k} perm N_S: MacMahon's bound."""
        if t not in self._determinants:
            scaled = self._matrix + math.log(t)
            # flips sit on the diagonal: perm(D + N), D = 1 + diag, is Π D_i perm(1 + N/D)
            diagonal = (
                np.log1p(np.exp(np.diagonal(scaled))) if self._signed else np.zeros(len(scaled))
            )
            scaled -= diagonal[:, None]
            np.fill_diagonal(scaled, 0.0)
            whole = macmahon_upper(scaled) + float(diagonal.sum())
            # what float64 cannot hold counts as its smallest number: it may be multiplied by a large one
            self._determinants[t] = max(log_of_others(whole), _UNDERFLOW)
        return self._determinants[t]


def _buckets(group: Group) -> tuple[tuple[int, int], ...]:
    """Ranges (low, high) of numbers of displaced units, 0 alone, together 0 … n (1 cannot be unless signed)."""
    n = group.width
    tops = sorted({*(t for t in (2, 4, 8, 16, 32) if t < n // 8), *_shares(n), n})
    first = 1 if group.signed else min(2, n)
    lows = [first, *(t + 1 for t in tops[:-1])]
    return ((0, 0), *((low, top) for low, top in zip(lows, tops, strict=True) if low <= top))


def _shares(n: int) -> Iterator[int]:
    if n <= 8:
        yield from range(1, n + 1)
    for eighth in range(1, 9):
        yield max(2, n * eighth // 8)


def _is_own(name: str, group: Group, spec: PermutationSpec) -> bool:
    """Whether no other group touches the tensor."""
    return not any(name in other.tensors for other in spec if other is not group)


def _shared_weights(
    posterior: Posterior, spec: PermutationSpec, position: int
) -> tuple[_Shared, ...]:
    """Blocks of the tensors that move along two axes, as units of one group against all partners."""
    group = spec.groups[position]
    found = []
    for name in group.tensors:
        members = [
            (k, other, m) for k, other in enumerate(spec) for m in other.members if m.tensor == name
        ]
        if len({m.axis for _, _, m in members}) != 2:
            continue  # three axes: bounded by 1
        for mine in (m for k, _, m in members if k == position):
            for partner, other, theirs in members:
                if theirs.axis != mine.axis:
                    widths = (group.width, other.width)
                    loc, scale = (
                        _two_axes(values[name], mine, theirs, widths)
                        for values in (posterior.loc, posterior.scale)
                    )
                    if loc.size * group.width <= _WORK:
                        found.append(_Shared(partner, loc, scale, mine.flips))
    return tuple(found)


def _two_axes(values: Array, first: Member, second: Member, widths: Sequence[int]) -> Array:
    """Entries between each unit of two members, (n, p, D)."""
    moved = np.moveaxis(values, (first.axis, second.axis), (0, 1))
    moved = moved[first.span(widths[0]), second.span(widths[1])]
    split = moved.reshape(
        first.outer, widths[0], first.inner, second.outer, widths[1], second.inner, -1
    )
    return np.ascontiguousarray(
        split.transpose(1, 4, 0, 2, 3, 5, 6).reshape(widths[0], widths[1], -1)
    )
