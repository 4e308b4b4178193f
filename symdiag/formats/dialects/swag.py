"""SWAG: averages ``L.weight_mean``, ``L.weight_sq_mean`` of the iterates; std = sqrt(sq_mean -
mean^2), at least 1e-15.

With ``L.weight_cov_mat_sqrt`` (the last K deviations from the mean, one row each) the posterior is
SWAG's low rank plus diagonal, covariance = D^T D / (2 (K - 1)) + diag(variance) / 2 (Maddox et al.
2019, eq. 1).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array, Arrays
from symdiag.formats.assemble import assemble, draft_from_pairs
from symdiag.formats.covariance import is_as_read, pieces, with_covariance
from symdiag.formats.fields import Field, Slot, check_finite, recovered, written
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree, to_float64
from symdiag.formats.keyed import check_pair
from symdiag.formats.state_dict import find_state_dict, tidy
from symdiag.formats.transforms import Transform
from symdiag.formats.tree import Path, at, dotted, replaced
from symdiag.posterior import Covariance, Posterior

_MEAN, _SQUARE, _DEVIATIONS = "_mean", "_sq_mean", "_cov_mat_sqrt"
_FLOOR = 1e-30


def _bases(arrays: Arrays) -> list[str]:
    """What precedes ``_sq_mean``, for every pair."""
    bases = (key.removesuffix(_SQUARE) for key in arrays if key.endswith(_SQUARE))
    return [base for base in bases if base + _MEAN in arrays]


def _transform(mean: Array) -> Transform:
    """sq_mean → std around ``mean``. The inverse holds for that mean only."""
    return Transform(
        "sqrt(sq_mean-mean^2)",
        # float32 averages can give sq_mean < mean^2 where the iterates hardly moved
        lambda square: np.sqrt(np.maximum(square - mean**2, _FLOOR)),
        lambda std: np.square(std) + mean**2,
    )


class Swag:
    """Two running averages, and possibly deviations."""

    name = "swag"
    priority = 60

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether a mean has a mean of squares beside it."""
        return bool(_bases(arrays))

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """The posterior, low rank plus diagonal where every tensor has its deviations."""
        paths = find_state_dict(raw.tree).paths
        bases = _bases(arrays)
        for base in bases:
            check_pair(base + _MEAN, base + _SQUARE, arrays)
        fields = []
        for base in bases:
            mean, square = (
                Slot(paths[base + end], arrays[base + end].shape) for end in (_MEAN, _SQUARE)
            )
            fields.append(
                Field(tidy(base), mean, square, _transform(to_float64(arrays[base + _MEAN])))
            )
        used = [base + end for base in bases for end in (_MEAN, _SQUARE, _DEVIATIONS)]
        draft = draft_from_pairs(raw, arrays, fields, used)
        posterior = assemble(raw, self.name, draft)
        low_rank = all(
            base + _DEVIATIONS in arrays and len(arrays[base + _DEVIATIONS]) > 1 for base in bases
        )
        return _correlated(posterior, raw.tree) if low_rank else posterior

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """``raw.tree`` with new averages and, for a low-rank posterior, new deviations."""
        assert posterior.source is not None
        fields = [item for item in posterior.source.template.fields if item.scale is not None]
        changes = {item.scale.path: _squares(posterior, item, raw.tree) for item in fields}
        if posterior.covariance is not None and not is_as_read(posterior):
            changes |= _deviations(posterior.covariance, fields, raw.tree)
        return replaced(written(posterior, posterior.source.template, raw.tree), changes)


def _deviations_path(item: Field) -> Path:
    """Where the deviations of a tensor are stored."""
    return (*item.loc.path[:-1], str(item.loc.path[-1]).removesuffix(_MEAN) + _DEVIATIONS)


def _correlated(posterior: Posterior, tree: Tree) -> Posterior:
    """The posterior with its covariance and the marginal stds that follow from it."""
    assert posterior.source is not None
    fields = [item for item in posterior.source.template.fields if item.scale is not None]
    rows = [to_float64(at(tree, _deviations_path(item))) for item in fields]
    for item, values in zip(fields, rows, strict=True):
        check_finite(values, dotted(_deviations_path(item)))
    # K rows per tensor → D^T / sqrt(2 (K - 1)), (D, K)
    factor = np.concatenate([r.reshape(len(r), -1) for r in rows], axis=1).T / np.sqrt(
        2.0 * (len(rows[0]) - 1)
    )
    diagonal = np.concatenate(
        [0.5 * posterior.scale[item.name].reshape(-1) ** 2 for item in fields]
    )
    return with_covariance(posterior, [item.name for item in fields], factor, diagonal)


def _deviations(
    covariance: Covariance, fields: list[Field], tree: Tree
) -> dict[Path, NDArray[Any]]:
    """Path → deviations as stored, one row each."""
    factor = covariance.factor * np.sqrt(2.0 * (covariance.factor.shape[1] - 1))
    slots = pieces(covariance, {item.name: item.loc.shape for item in fields})
    changes = {}
    for item in fields:
        raw = at(tree, path := _deviations_path(item))
        piece = slots[item.name]
        new = factor[piece.start : piece.stop].T.reshape(raw.shape)
        changes[path] = recovered(new, to_float64(raw), raw, new)
    return changes


def _squares(posterior: Posterior, item: Field, tree: Tree) -> NDArray[Any]:
    """The stored mean of squares for the new mean and variance; unchanged where both are."""
    assert item.scale is not None
    raw, old_mean = item.scale.get(tree), to_float64(item.loc.get(tree))
    variance = _own_variance(posterior, item.name)
    old = np.maximum(to_float64(raw) - old_mean**2, _FLOOR)
    new = posterior.loc[item.name] ** 2 + variance
    same = (posterior.loc[item.name] == old_mean) & np.isclose(variance, old, rtol=1e-12, atol=0.0)
    return np.where(same, raw, new.astype(raw.dtype))


def _own_variance(posterior: Posterior, name: str) -> Array:
    """SWAG's diagonal variance of a tensor: all of it, or twice the covariance's diagonal part."""
    if posterior.covariance is None:
        return np.asarray(posterior.scale[name] ** 2)
    # eq. 1 halves both parts of the covariance
    return 2.0 * pieces(posterior.covariance, posterior.shapes)[name].cut(
        posterior.covariance.diagonal
    )


DIALECT = Swag()
