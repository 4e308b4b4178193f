"""Splitting a dual-scaled matrix into diagonal blocks, with a rigorous bound on what that drops.

Neurons are linked by two-cycle weight N_ij N_ji (entrywise pruning leaves giant components: what
matters is cycle weight). The loss bound is proven in docs/theory/permanents.md, 4:
``0 <= log perm(B) - sum_b log perm(B_b) <= -logdet(I - M)``, ``M_ab = rho_b sum_{i in a, j in b}
N_ij``, ``rho_b = 1 / min entry of block b``, if the spectral radius of M is below 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dgetrf, dgetrs
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from symdiag.arrays import Array, IntArray

THRESHOLDS = (-4.0, -6.0, -8.0, -10.0, -13.0, -17.0, -22.0, -28.0, -36.0, -50.0, -80.0)


@dataclass(frozen=True)
class BlockStructure:
    """Diagonal blocks of a dual-scaled matrix.

    Attributes:
        blocks: index arrays, each ascending; together they cover 0..n-1.
        loss: upper bound in nats on log perm minus the sum over blocks; inf when no bound was
            found.
    """

    blocks: tuple[IntArray, ...]
    loss: float

    @property
    def largest(self) -> int:
        """Size of the largest block."""
        return max((len(block) for block in self.blocks), default=0)


def block_structure(log_scaled: Array, *, tolerance: float = 1e-9) -> BlockStructure:
    """Finest blocks of an (n, n) dual-scaled log-weight matrix whose loss bound is within
    ``tolerance`` nats.

    One block (loss 0) when every cut loses more.
    """
    pairs = pair_weights(log_scaled)
    best = BlockStructure((np.arange(len(log_scaled)),), 0.0)
    low, high = 0, len(THRESHOLDS) - 1  # the loss falls with the threshold, near enough: bisect
    while low <= high:
        middle = (low + high) // 2
        candidate = split(log_scaled, pairs, THRESHOLDS[middle], tolerance)
        if candidate.loss <= tolerance:
            best, high = candidate, middle - 1
        else:
            low = middle + 1
        if len(candidate.blocks) == 1:
            break
    return best


def small_blocks(log_scaled: Array, small: int) -> BlockStructure | None:
    """The cut that loses least among those leaving blocks of at most ``small``; None when there is
    none.
    """
    pairs = pair_weights(log_scaled)
    best = None
    low, high = 0, len(THRESHOLDS) - 1
    while low <= high:
        middle = (low + high) // 2
        count, labels = _components(pairs, THRESHOLDS[middle])
        # THRESHOLDS descend: a later one cuts less, so it loses less and leaves larger blocks
        if int(np.bincount(labels).max(initial=0)) <= small:
            best, low = (count, labels), middle + 1
        else:
            high = middle - 1
    return None if best is None else _structure(log_scaled, *best)


def pair_weights(log_scaled: Array) -> Array:
    """(n, n) log weights of two-cycles, -inf on the diagonal."""
    pairs = log_scaled + log_scaled.T
    # a unit's cycle with itself links nothing
    np.fill_diagonal(pairs, -np.inf)
    return pairs


def split(
    log_scaled: Array, pairs: Array, threshold: float, tolerance: float = math.inf
) -> BlockStructure:
    """Connected components of ``pairs > threshold``, and the loss bound of cutting there (see
    ``neg_logdet``).
    """
    return _structure(log_scaled, *_components(pairs, threshold), tolerance)


def _components(pairs: Array, threshold: float) -> tuple[int, IntArray]:
    count, labels = connected_components(
        csr_matrix((pairs > threshold).astype(np.int8)), directed=False
    )
    return int(count), labels.astype(np.int64)


def _structure(
    log_scaled: Array, count: int, labels: IntArray, tolerance: float = math.inf
) -> BlockStructure:
    blocks = _by_label(labels, count)
    return BlockStructure(
        blocks, loss_bound(log_scaled, labels, count, blocks, tolerance) if count > 1 else 0.0
    )


def _by_label(labels: IntArray, count: int) -> tuple[IntArray, ...]:
    order = np.argsort(labels, kind="stable")
    return tuple(np.split(order, np.cumsum(np.bincount(labels, minlength=count))[:-1]))


def loss_bound(
    log_scaled: Array,
    labels: IntArray,
    count: int,
    blocks: tuple[IntArray, ...],
    tolerance: float = math.inf,
) -> float:
    """-logdet(I - M) of the block transition matrix; inf when its spectral radius may reach 1."""
    n = len(log_scaled)
    refill = np.array(
        [-log_scaled[np.ix_(block, block)].min() if len(block) > 1 else 0.0 for block in blocks]
    )
    # a factor near e^600 bounds nothing, and beyond it exp below would overflow
    if not np.isfinite(refill).all() or float(refill.max()) > 600.0:
        return math.inf
    weights = np.exp(log_scaled)
    if count == n:
        mass = weights[np.ix_(order := np.concatenate(blocks), order)]
    else:
        # (count, n) indicator L of the blocks: L N Lᵀ sums the weights between any two
        member = csr_matrix((np.ones(n), (labels, np.arange(n))), shape=(count, n))
        mass = np.asarray(member @ (member @ weights.T).T)
    np.fill_diagonal(mass, 0.0)
    return neg_logdet(mass * np.exp(refill)[None, :], tolerance)


def neg_logdet(matrix: Array, tolerance: float = math.inf) -> float:
    """Upper bound on -logdet(I - M) for (m, m) nonnegative M, rounding included; inf unless the
    radius is below 1.

    Also inf, without a determinant, where it must exceed ``tolerance``: it is sum_k tr M^k / k, all
    terms nonnegative.

    The radius is certified by a positive x with M x < x (Collatz-Wielandt); row sums of the
    inverse, which is nonnegative, then bound the effect of rounding.
    """
    m = len(matrix)
    if m == 0 or not matrix.any():
        return 0.0
    sums = matrix.sum(axis=1)
    trace2 = float(np.einsum("ij,ji->", matrix, matrix))
    if trace2 > 2.0 * tolerance:
        return math.inf
    if float(sums.max()) < 1e-3:  # tr M^k <= |M|_F^2 r^(k-2): no determinant needed when tiny
        rest = float((matrix**2).sum()) * float(sums.max())
        return (float(np.trace(matrix)) + trace2 / 2 + rest / 2) * (1 + 1e-9)
    if radius_reaches_one(matrix):
        return math.inf
    factors, pivots, info = dgetrf(np.eye(m) - matrix)
    if info != 0:
        return math.inf
    witness = np.asarray(dgetrs(factors, pivots, np.ones(m))[0])
    if not (np.isfinite(witness).all() and bool((witness > 0).all())):
        return math.inf
    if not bool((matrix @ witness < witness * (1 - 1e-13 * m)).all()):
        return math.inf
    # det(I - M) > 0 below radius 1, so the pivots' signs need no tracking
    return -float(np.log(np.abs(np.diagonal(factors))).sum()) + 4e-16 * m * m * float(witness.max())


def radius_reaches_one(matrix: Array) -> bool:
    """Whether a few power steps show the spectral radius of a nonnegative (m, m) matrix to be at
    least 1.
    """
    vector = np.ones(len(matrix))
    for _ in range(6):
        image = matrix @ vector
        if float((image - vector).min()) >= 0.0:
            return True
        vector = image / max(float(image.max()), 1e-300) + 1e-3
    return False
