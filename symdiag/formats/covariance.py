"""Correlated posteriors: low rank, triangle or precision (dense, Kronecker) → covariance,
marginals, and back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import scipy.linalg

from symdiag.arrays import Array
from symdiag.errors import InputError, OutputError, UnsupportedError
from symdiag.formats.assemble import leftovers
from symdiag.formats.fields import Slot, flat_slots, total_size
from symdiag.formats.interface import SHAPES_HINT, RawCheckpoint, ReadOptions
from symdiag.formats.state_dict import find_state_dict, tidy
from symdiag.posterior import Covariance, Posterior

DENSE_LIMIT = 4096
"""Number of weights up to which a D x D factor is built; beyond it only marginals are."""

_KRON_TOLERANCE = 1e-5


def with_covariance(
    posterior: Posterior, order: Sequence[str], factor: Array, diagonal: Array
) -> Posterior:
    """``posterior``, just read, with covariance factor factor^T + diag(diagonal) over ``order``,
    and its marginal stds.

    Args:
        posterior: its scales over ``order`` are replaced.
        order: names of the tensors, as they follow each other in the flat vector of size D.
        factor: (D, R).
        diagonal: (D,).
    """
    # the diagonal of factor factor^T, without the (D, D) product
    marginal = np.sqrt(np.einsum("dr,dr->d", factor, factor) + diagonal)
    scale = {
        **posterior.scale,
        **split(marginal, {name: posterior.loc[name].shape for name in order}),
    }
    covariance = Covariance(tuple(order), factor, diagonal)
    source = posterior.source
    assert source is not None
    source = replace(source, template=replace(source.template, covariance=covariance))
    return posterior.replace(scale=scale, covariance=covariance, source=source)


def split(flat: Array, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Array]:
    """Name → its piece of a flat vector, in the order of ``shapes``."""
    return {name: slot.cut(flat) for name, slot in flat_slots((), shapes).items()}


def pieces(covariance: Covariance, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Slot]:
    """Name → where its rows are in the covariance."""
    return flat_slots((), {name: shapes[name] for name in covariance.order})


def is_as_read(posterior: Posterior) -> bool:
    """Whether the covariance is, to the bit, the one that was in the file (or there is none, as in
    the file).
    """
    # a posterior changed in memory compares with what its template remembers
    assert posterior.source is not None
    first: Covariance | None = posterior.source.template.covariance
    second = posterior.covariance
    if first is None or second is None:
        return first is second
    return (
        first.order == second.order
        and np.array_equal(first.factor, second.factor)
        and np.array_equal(first.diagonal, second.diagonal)
    )


def model_shapes(options: ReadOptions, size: int, what: str) -> dict[str, tuple[int, ...]]:
    """The shapes behind a flat vector of ``size``, as given by the user or a companion state dict.

    Raises:
        UnsupportedError: ``needs-model-shapes`` when nobody gave them.
        InputError: ``shape-mismatch`` when they do not add up to ``size``.
    """
    shapes = options.model_shapes
    if shapes is None and options.companion is not None:
        _check_ordered(options.companion)
        shapes = companion_shapes(options.companion)
    if shapes is None:
        raise UnsupportedError(
            f"{what} is one flat vector of {size} values; the file does not say which tensors "
            "they are",
            code="needs-model-shapes",
            hint=f"name the model's state dict with --companion, or {SHAPES_HINT}",
        )
    # one wrong shape would shift every tensor behind it, in silence
    if total_size(shapes.values()) != size:
        raise InputError(
            f"{what} has {size} values, the given tensors {total_size(shapes.values())}",
            code="shape-mismatch",
            hint="every latent variable counts, in the order of the model, a noise scale too: "
            f"{SHAPES_HINT}",
        )
    return {name: tuple(shape) for name, shape in shapes.items()}


def _check_ordered(companion: RawCheckpoint) -> None:
    """Raise UnsupportedError ``order-unknown`` for a container that sorts its tensors by name."""
    if companion.container == "safetensors":
        raise UnsupportedError(
            "a safetensors file does not keep the model's order, which a flat vector needs",
            code="order-unknown",
            hint=f"use a state dict saved with torch.save, or {SHAPES_HINT}",
        )


def companion_shapes(companion: RawCheckpoint) -> dict[str, tuple[int, ...]]:
    """Name → shape of the parameters of a companion state dict, in file order."""
    found = find_state_dict(companion.tree)
    plain, _, _ = leftovers(found.arrays, found.paths, ())
    return {tidy(item.name): item.loc.shape for item in plain}


def cholesky(matrix: Array, what: str) -> Array:
    """Lower Cholesky factor.

    Raises InputError ``bad-scale`` when ``what`` is not positive definite.
    """
    try:
        return np.asarray(scipy.linalg.cholesky(matrix, lower=True))
    except (np.linalg.LinAlgError, ValueError):
        raise InputError(f"{what} is not positive definite", code="bad-scale") from None


def inverse(matrix: Array, what: str) -> Array:
    """Inverse of a symmetric positive definite matrix, symmetric to the bit."""
    result = scipy.linalg.cho_solve((cholesky(matrix, what), True), np.eye(len(matrix)))
    return np.asarray(0.5 * (result + result.T))


def _eigen(factor: Array) -> tuple[Array, Array]:
    """Eigenvalues (not below 0) and vectors of a Kronecker factor, which may be stored as its
    diagonal.
    """
    if factor.ndim == 1:
        return factor, np.eye(len(factor))
    values, vectors = np.linalg.eigh(factor)  # (n,), (n, n): columns are vectors
    # a sum of outer products has none below 0; rounding to float32 may have made some
    return np.maximum(values, 0.0), vectors


def kron_variances(factors: Sequence[Array], scale: float, delta: float) -> Array:
    """Diagonal of (scale * kron(A, B) + delta I)^-1, flat in C order; or of A alone."""
    (left, vectors), *others = (_eigen(factor) for factor in factors)
    right, right_vectors = others[0] if others else (np.ones(1), np.ones((1, 1)))
    # (Q_A x Q_B) diagonalises kron(A, B), and delta I is the same in every basis, so the diagonal
    # of
    # the inverse is a contraction with squared eigenvectors: O(n^3 + m^3), never (nm, nm)
    inner = 1.0 / (scale * np.outer(left, right) + delta)
    return np.asarray((vectors**2 @ inner @ (right_vectors**2).T).reshape(-1))


def log_det_of(matrix: Array) -> float:
    """log det of a positive definite matrix (n, n), or of a diagonal one given as (n,)."""
    return float(np.log(matrix).sum() if matrix.ndim == 1 else np.linalg.slogdet(matrix)[1])


def kron_log_det(factors: Sequence[Array], scale: float, delta: float) -> float:
    """log det(scale * kron(A, B) + delta I); or of A alone."""
    (left, _), *others = (_eigen(factor) for factor in factors)
    right = others[0][0] if others else np.ones(1)
    return float(np.log(scale * np.outer(left, right) + delta).sum())


def kron_covariance(factors: Sequence[Array], scale: float, delta: float) -> Array:
    """(scale * kron(A, B) + delta I)^-1, dense."""
    (left, vectors), *others = (_eigen(factor) for factor in factors)
    right, right_vectors = others[0] if others else (np.ones(1), np.ones((1, 1)))
    basis = np.kron(vectors, right_vectors)  # (nm, nm)
    return np.asarray((basis / (scale * np.outer(left, right) + delta).reshape(-1)) @ basis.T)


def kron_factors(curvature: Array, old: Sequence[Array]) -> list[Array]:
    """A and B with kron(A, B) = ``curvature``, A with the trace of the old A.

    Raises:
        OutputError: ``cannot-represent`` when the matrix is no such product.
    """
    if len(old) == 1:
        return [curvature]
    rows, columns = len(old[0]), len(old[1])
    # partial traces give the factors up to a scalar, which the old trace of A settles
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
