"""Gaussian posteriors given by a precision: dense, Kronecker-factored or low rank plus diagonal (laplace-torch's H)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.linalg

from symdiag.arrays import Array
from symdiag.errors import InputError, OutputError

DENSE_LIMIT = 4096
"""Number of weights up to which a D x D factor is built; beyond it only marginals are."""

_KRON_TOLERANCE = 1e-5


def cholesky(matrix: Array, what: str) -> Array:
    """Lower Cholesky factor. Raises InputError ``bad-scale`` when ``what`` is not positive definite."""
    try:
        return np.asarray(scipy.linalg.cholesky(matrix, lower=True))
    except (np.linalg.LinAlgError, ValueError):
        raise InputError(f"{what} is not positive definite", code="bad-scale") from None


def inverse(matrix: Array, what: str) -> Array:
    """Inverse of a symmetric positive definite matrix, symmetric to the bit."""
    result = scipy.linalg.cho_solve((cholesky(matrix, what), True), np.eye(len(matrix)))
    return np.asarray(0.5 * (result + result.T))


def _eigen(factor: Array) -> tuple[Array, Array]:
    """Eigenvalues (not below 0) and vectors of a Kronecker factor, which may be stored as its diagonal."""
    if factor.ndim == 1:
        return factor, np.eye(len(factor))
    values, vectors = np.linalg.eigh(factor)
    return np.maximum(values, 0.0), vectors


def kron_variances(factors: Sequence[Array], scale: float, delta: float) -> Array:
    """Diagonal of (scale * kron(A, B) + delta I)^-1, flat in C order; one factor stands for itself."""
    (left, vectors), *others = (_eigen(factor) for factor in factors)
    right, right_vectors = others[0] if others else (np.ones(1), np.ones((1, 1)))
    inner = 1.0 / (scale * np.outer(left, right) + delta)
    return np.asarray((vectors**2 @ inner @ (right_vectors**2).T).reshape(-1))


def kron_covariance(factors: Sequence[Array], scale: float, delta: float) -> Array:
    """(scale * kron(A, B) + delta I)^-1, dense."""
    (left, vectors), *others = (_eigen(factor) for factor in factors)
    right, right_vectors = others[0] if others else (np.ones(1), np.ones((1, 1)))
    basis = np.kron(vectors, right_vectors)
    return np.asarray((basis / (scale * np.outer(left, right) + delta).reshape(-1)) @ basis.T)


def kron_factors(curvature: Array, old: Sequence[Array]) -> list[Array]:
    """A and B with kron(A, B) = ``curvature``, A with the trace of the old A.

    Raises:
        OutputError: ``cannot-represent`` when the matrix is no such product.
    """
    if len(old) == 1:
        return [curvature]
    rows, columns = len(old[0]), len(old[1])
    blocks = curvature.reshape(rows, columns, rows, columns)
    trace = float(np.trace(old[0] if old[0].ndim > 1 else np.diag(old[0])))
    right = np.einsum("iaib->ab", blocks) / trace
    left = np.einsum("iaja->ij", blocks) / np.trace(right)
    if np.abs(np.kron(left, right) - curvature).max() > _KRON_TOLERANCE * np.abs(curvature).max():
        raise OutputError(
            "the covariance is no longer Kronecker-factored, as the file needs it",
            code="cannot-represent",
        )
    return [left, right]
