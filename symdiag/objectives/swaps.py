"""Permanental marginals for training: random swaps started from the identity.

Because ω ~ q, the identity is an exact draw of the permutation given ω up to relabelling, so the Metropolis chain
starts stationary and needs only to forget *which* permutation it started from: the first part of it is dropped.
A thousand swaps cost microseconds, and an average of permutation matrices is doubly stochastic by construction,
which makes the Bethe functional at it a certified lower bound on the log-permanent (Gurvits 2011).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array

_MANTISSA = 2.0**-53
_SCRAMBLE = np.uint64(0x2545F4914F6CDD1D)  # xorshift64*: the output is the state times this
_HALF = np.uint64(32)
_LOW = np.uint64(0xFFFFFFFF)


@numba.njit(cache=True, nogil=True, fastmath=False)
def _next(state: np.uint64) -> np.uint64:
    """One step of xorshift64 (Marsaglia 2003)."""
    state ^= state << np.uint64(13)
    state ^= state >> np.uint64(7)
    state ^= state << np.uint64(17)
    return state


@numba.njit(cache=True, nogil=True)
def _pair(bits: np.uint64, n: int) -> tuple[np.int64, np.int64]:
    """Two different indices below n, by multiply and shift (division is slow)."""
    i = np.int64(((bits >> _HALF) * np.uint64(n)) >> _HALF)
    k = np.int64(((bits & _LOW) * np.uint64(n - 1)) >> _HALF)
    return i, k + 1 if k >= i else k


@numba.njit(cache=True, nogil=True)
def _accept(gain: float, state: np.uint64) -> bool:
    """Metropolis for a loss; false below the resolution of the random number and for nan (forbidden twice over)."""
    if not gain > -37.0:
        return False
    return bool(np.float64(state >> np.uint64(11)) * _MANTISSA < np.exp(gain))


@numba.njit(cache=True, nogil=True)
def _swap_occupation(
    log_weights: Array, seeds: NDArray[np.uint64], steps: int, burn: int, occupation: Array
) -> None:
    """Fill ``occupation`` (B, n, n) with the share of time that row i holds column j after ``burn`` of ``steps``."""
    batch, n, _ = log_weights.shape
    held = np.empty(n, dtype=np.int64)
    since = np.empty(n, dtype=np.int64)
    for b in range(batch):
        state = seeds[b]
        for row in range(n):
            held[row] = row
            since[row] = burn
        for t in range(steps):
            state = _next(state)
            i, k = _pair(state * _SCRAMBLE, n)
            a, c = held[i], held[k]
            gain = (
                log_weights[b, i, c]
                + log_weights[b, k, a]
                - log_weights[b, i, a]
                - log_weights[b, k, c]
            )
            if gain < 0.0 or gain != gain:
                state = _next(state)
                if not _accept(gain, state * _SCRAMBLE):
                    continue
            if t > burn:
                occupation[b, i, a] += t - since[i]
                occupation[b, k, c] += t - since[k]
                since[i] = t
                since[k] = t
            held[i], held[k] = c, a
        for row in range(n):
            occupation[b, row, held[row]] += steps - since[row]
        for row in range(n):
            for column in range(n):
                occupation[b, row, column] /= steps - burn


def swap_marginals(
    log_weights: Array, generator: np.random.Generator, *, steps: int | None = None
) -> Array:
    """Doubly stochastic estimates (B, n, n) of P(π(i) = j) ∝ Π exp A[i, π(i)].

    Args:
        log_weights: (B, n, n) relative log densities with the identity typical (ω ~ q); −inf forbids.
        generator: Seeds the chains.
        steps: Proposed swaps per matrix, half of which are burn-in; default ``default_steps(n)``.
    """
    batch, n, _ = log_weights.shape
    if n == 1:
        return np.ones_like(log_weights)
    steps = steps or default_steps(n)
    occupation = np.zeros_like(log_weights)
    seeds = np.asarray(generator.integers(1, 1 << 63, size=(batch,)), dtype=np.uint64)
    _swap_occupation(np.ascontiguousarray(log_weights), seeds, steps, steps // 2, occupation)
    return occupation


def default_steps(width: int) -> int:
    """Proposals per matrix: every pair of units is offered a swap twice (once after burn-in), narrow groups more."""
    return max(1600, width * width)


def bethe_functional(log_weights: Array, marginals: Array) -> Array:
    """Σ P A − Σ P log P + Σ (1 − P) log(1 − P), (B,) nats: a lower bound on log perm exp A for doubly stochastic P."""
    rest = np.maximum(1.0 - marginals, 0.0)
    kept = marginals > 0
    energy = np.where(kept, marginals * np.where(kept, log_weights, 0.0), 0.0)
    entropy = -np.where(kept, marginals * np.log(np.where(kept, marginals, 1.0)), 0.0)
    repulsion = np.where(rest > 0, rest * np.log(np.where(rest > 0, rest, 1.0)), 0.0)
    bound: Array = (energy + entropy + repulsion).sum((1, 2))
    return bound
