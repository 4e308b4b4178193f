"""SWAG over one flat vector: the mean of the iterates, of their squares, and the last K of them.

The posterior is SWAG's (Maddox et al. 2019, eq. 1): covariance = diag(|sq_mean - mean^2|) / 2 +
D D^T / (2 (K - 1)), where D holds iterates less the mean. Code differs in what it keeps: ``pre_D``
are the raw iterates (D, K), ``cov_mat_sqrt`` or ``deviations`` the differences, rows or columns.
Shapes come from ``model_shapes`` or a companion state dict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array, Arrays
from symdiag.errors import InputError
from symdiag.formats.assemble import Draft, assemble
from symdiag.formats.covariance import is_as_read, model_shapes, split, with_covariance
from symdiag.formats.fields import Field, check_finite, flat_slots, recovered, written
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree, to_float64
from symdiag.formats.keyed import check_pair
from symdiag.formats.state_dict import find_state_dict, tidy
from symdiag.formats.transforms import Transform
from symdiag.formats.tree import replaced
from symdiag.posterior import Ignored, Posterior

_MEANS = ("w_avg", "w_mean", "mean", "swa_mean", "theta_avg", "theta_swa", "weight_mean")
_SQUARES = ("w2_avg", "w_sq_avg", "w2_mean", "sq_mean", "mean_sq", "theta2_avg", "weight_sq_mean")
_ITERATES = ("pre_D",)
_DEVIATIONS = ("cov_mat_sqrt", "deviations", "D", "D_hat", "dev_matrix")
_FLOOR = 1e-30


@dataclass(frozen=True)
class _Keys:
    """The file's keys; ``low_rank`` where it keeps iterates, ``raw`` if those are not centred."""

    mean: str
    square: str
    low_rank: str | None
    raw: bool


def _keys(arrays: Arrays) -> _Keys | None:
    """The keys of a flat SWAG, if they are there."""
    vectors = {key: key.rpartition(".") for key, array in arrays.items() if array.ndim == 1}
    for key, (prefix, dot, leaf) in vectors.items():
        squares = (f"{prefix}{dot}{word}" for word in _SQUARES)
        square = next((s for s in squares if s in vectors), None)
        if leaf not in _MEANS or square is None:
            continue
        # iterates as they were, or less the mean: the name alone tells
        words = [(w, True) for w in _ITERATES] + [(w, False) for w in _DEVIATIONS]
        places = ((f"{prefix}{dot}{word}", raw) for word, raw in words)
        low_rank, raw = next(((p, r) for p, r in places if p in arrays), (None, False))
        return _Keys(key, square, low_rank, raw)
    return None


def _transform(mean: Array) -> Transform:
    """sq_mean → std around ``mean``. The inverse holds for that mean only."""
    # rounding of the averages leaves differences below 0; the original code takes |.|, too
    return Transform(
        "sqrt(sq_mean-mean^2)",
        lambda square: np.sqrt(np.maximum(np.abs(square - mean**2), _FLOOR)),
        lambda std: np.square(std) + mean**2,
    )


class SwagFlat:
    """Two averages of one flat vector, and possibly iterates."""

    name = "swag-flat"
    priority = 61

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether a flat mean has a mean of squares beside it."""
        return _keys(arrays) is not None

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """The posterior, low rank plus diagonal where the file keeps at least two iterates.

        Raises:
            UnsupportedError: ``needs-model-shapes``.
            InputError: ``shape-mismatch``, ``non-finite``, ``bad-scale``.
        """
        keys, found = _keys(arrays), find_state_dict(raw.tree)
        assert keys is not None
        check_pair(keys.mean, keys.square, arrays)
        given = model_shapes(options, arrays[keys.mean].size, keys.mean)
        shapes = {tidy(name): shape for name, shape in given.items()}
        mean = to_float64(arrays[keys.mean])
        check_finite(mean, keys.mean)
        pieces = split(mean, shapes)
        means, squares = (flat_slots(found.paths[k], shapes) for k in (keys.mean, keys.square))
        fields = [
            Field(name, means[name], squares[name], _transform(pieces[name])) for name in shapes
        ]
        used = {keys.mean, keys.square, keys.low_rank}
        ignored = (Ignored(k, "not part of SWAG's Gaussian") for k in arrays if k not in used)
        draft = Draft(tuple(fields), ignored=(*ignored, *found.ignored), extra=keys)
        posterior = assemble(raw, self.name, draft)
        if keys.low_rank is None:
            return posterior
        deviations = _deviations(arrays, keys, mean)
        rank = deviations.shape[1]
        if rank < 2:  # eq. 1 divides by K - 1
            return posterior
        factor = deviations / np.sqrt(2.0 * (rank - 1))
        diagonal = 0.5 * _flat(posterior.scale, posterior.names) ** 2
        return with_covariance(posterior, posterior.names, factor, diagonal)

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """``raw.tree`` with new averages and, where there are any, new iterates."""
        assert posterior.source is not None
        template = posterior.source.template
        keys: _Keys = template.extra
        found = find_state_dict(raw.tree)
        changes = {found.paths[keys.square]: _squares(posterior, keys, found.arrays)}
        covariance = posterior.covariance
        if covariance is not None and not is_as_read(posterior):
            assert keys.low_rank is not None
            stored = found.arrays[keys.low_rank]
            new = covariance.factor * np.sqrt(2.0 * (covariance.factor.shape[1] - 1))
            if keys.raw:
                new = new + _flat(posterior.loc, posterior.names)[:, None]
            # kept as rows in the file
            if stored.shape != new.shape:
                new = new.T
            changes[found.paths[keys.low_rank]] = recovered(new, to_float64(stored), stored, new)
        return replaced(written(posterior, template, raw.tree), changes)


def _flat(values: Mapping[str, Array], names: tuple[str, ...]) -> Array:
    """Tensors as one vector, in the order of ``names``."""
    return np.concatenate([values[name].reshape(-1) for name in names])


def _deviations(arrays: Arrays, keys: _Keys, mean: Array) -> Array:
    """Iterates less the mean, (D, K). Raises InputError ``shape-mismatch`` or ``non-finite``."""
    assert keys.low_rank is not None
    stored = to_float64(arrays[keys.low_rank])
    check_finite(stored, keys.low_rank)
    if stored.ndim != 2 or mean.size not in stored.shape:
        raise InputError(
            f"{keys.low_rank} has shape {stored.shape}, for {mean.size} weights one axis needs "
            "that size",
            code="shape-mismatch",
            hint="mean, squares and iterates must come from one run",
        )
    # a row per weight; where K = D it is the original's (D, K)
    columns = stored if len(stored) == mean.size else stored.T
    return columns - mean[:, None] if keys.raw else columns


def _squares(posterior: Posterior, keys: _Keys, arrays: Arrays) -> NDArray[Any]:
    """The stored mean of squares for the new mean and variance; unchanged where both are."""
    raw, mean = arrays[keys.square], to_float64(arrays[keys.mean])
    new_mean = _flat(posterior.loc, posterior.names)
    if posterior.covariance is None:
        variance = _flat(posterior.scale, posterior.names) ** 2
    else:  # eq. 1 halves the diagonal
        variance = 2.0 * posterior.covariance.diagonal
    old = np.maximum(np.abs(to_float64(raw) - mean**2), _FLOOR)
    same = (new_mean == mean) & np.isclose(variance, old, rtol=1e-12, atol=0.0)
    return np.where(same, raw, (new_mean**2 + variance).astype(raw.dtype))


DIALECT = SwagFlat()
