"""Pyro's guides over one flat vector: AutoDiagonalNormal, AutoLowRankMultivariateNormal,
AutoMultivariateNormal.

``loc`` and ``scale`` (s = softplus) of size D. Low rank adds ``cov_factor`` F (D, R): (sF)(sF)^T +
diag(s^2) is the covariance. Multivariate adds ``scale_tril`` T, unit lower triangular: (sT)(sT)^T
is the covariance. Neither names nor shapes are in the file: they come from ``model_shapes`` or a
companion state dict.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array, Arrays
from symdiag.errors import InputError
from symdiag.formats.assemble import Draft, assemble
from symdiag.formats.covariance import cholesky, is_as_read, model_shapes, split, with_covariance
from symdiag.formats.dialects._words import meaning
from symdiag.formats.dialects.pyro import ASSUMED
from symdiag.formats.fields import Field, check_finite, flat_slots, recovered, written
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree, to_float64
from symdiag.formats.keyed import check_pair
from symdiag.formats.members import FlatGuide, flat_guides
from symdiag.formats.state_dict import find_state_dict, tidy
from symdiag.formats.transforms import (
    SOFTPLUS,
    Transform,
    constraint_of,
    transform_named,
    transform_of,
)
from symdiag.formats.tree import Path, replaced
from symdiag.posterior import Ignored, Posterior


class PyroFlat:
    """One vector of means, one of scales, and possibly a factor."""

    name = "pyro-flat"
    priority = 58
    transform = SOFTPLUS

    def keys(self, arrays: Arrays) -> FlatGuide | None:
        """The keys of the guide, if there is one."""
        return next(iter(flat_guides(arrays)), None)

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether a flat guide is there, and known for Pyro's.

        That is by a constraint in a store, whichever makes the scale positive, by a name that says
        ``_unconstrained``, or by a factor or triangle under Pyro's name.
        """
        keys = self.keys(arrays)
        if keys is None or keys.scale is None:
            return False
        place = find_state_dict(raw.tree).paths[keys.scale]
        known = keys.scale.endswith("_unconstrained") or keys.factor or keys.tril
        constraint = constraint_of(raw.tree, place) or {"__class__": "._Real"}
        return bool(known) or not str(constraint["__class__"]).endswith("._Real")

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """The posterior.

        Raises UnsupportedError ``needs-model-shapes``, InputError as other dialects.
        """
        found = find_state_dict(raw.tree)
        keys = self.keys(arrays)
        assert keys is not None
        # asked for before anything is read: no shape can be guessed from D alone
        given = model_shapes(options, arrays[keys.loc].size, keys.loc)
        shapes = {tidy(name): shape for name, shape in given.items()}
        means = flat_slots(found.paths[keys.loc], shapes)
        # NumPyro's triangle holds the scales on its diagonal
        if keys.scale is None:
            fields = tuple(Field(name, means[name], joint=True) for name in shapes)
        else:
            check_pair(keys.loc, keys.scale, arrays)
            place = found.paths[keys.scale]
            scales = flat_slots(place, shapes)
            transform = self._transform(raw.tree, place, arrays, keys.scale, options)
            fields = tuple(Field(name, means[name], scales[name], transform) for name in shapes)
        used = set(keys.keys)
        ignored = (
            Ignored(key, "not part of the guide's Gaussian") for key in arrays if key not in used
        )
        notes = (
            (ASSUMED,)
            if (keys.scale or "").endswith("_unconstrained") and not options.scale_transform
            else ()
        )
        draft = Draft(fields, ignored=(*ignored, *found.ignored), notes=notes, extra=keys)
        posterior = assemble(raw, self.name, draft)
        return _correlated(posterior, arrays)

    def _transform(
        self, tree: Tree, place: Path, arrays: Arrays, key: str, options: ReadOptions
    ) -> Transform:
        """The user's, the constraint's, the guide's own; or what a bare ``scale`` can only mean."""
        if options.scale_transform:
            return transform_named(options.scale_transform)
        constraint = constraint_of(tree, place)
        if constraint is not None:
            return transform_of(constraint)
        # values taken with pyro.param are constrained already
        if self.transform is SOFTPLUS and not key.endswith("_unconstrained"):
            return meaning("scale", [key], arrays)[0]
        return self.transform

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """``raw.tree`` with new means, scales and factor."""
        assert posterior.source is not None
        template = posterior.source.template
        if posterior.covariance is None:
            return written(posterior, template, raw.tree)
        stored, changes = _stored_factor(posterior, raw.tree)
        shapes = {name: posterior.loc[name].shape for name in posterior.covariance.order}
        tree = written(posterior.replace(scale=split(stored, shapes)), template, raw.tree)
        return tree if is_as_read(posterior) else replaced(tree, changes)


def _correlated(posterior: Posterior, arrays: Arrays) -> Posterior:
    """The posterior with its covariance; unchanged for a diagonal guide."""
    assert posterior.source is not None
    keys: FlatGuide = posterior.source.template.extra
    scale = np.concatenate([posterior.scale[name].reshape(-1) for name in posterior.names])
    # (sF)(sF)^T + diag(s^2): Pyro multiplies the factor by the scale, too
    if keys.factor is not None:
        matrix = _matrix(arrays, keys.factor, len(scale))
        return with_covariance(posterior, posterior.names, scale[:, None] * matrix, scale**2)
    if keys.tril is not None:
        lower = np.tril(_matrix(arrays, keys.tril, len(scale)))
        if keys.scale is not None:
            # the stored triangle has a unit diagonal, and the scale multiplies its rows
            lower = scale[:, None] * (np.tril(lower, -1) + np.eye(len(lower)))
        return with_covariance(posterior, posterior.names, lower, np.zeros_like(scale))
    return posterior


def _matrix(arrays: Arrays, key: str, rows: int) -> Array:
    """The factor at ``key``, checked. Raises InputError ``shape-mismatch`` or ``non-finite``."""
    matrix = to_float64(arrays[key])
    check_finite(matrix, key)
    if matrix.ndim != 2 or len(matrix) != rows:
        raise InputError(
            f"{key} has shape {matrix.shape}, for {rows} latent variables it needs as many rows",
            code="shape-mismatch",
            hint="loc and covariance must come from one guide",
        )
    return matrix


def _stored_factor(posterior: Posterior, tree: Tree) -> tuple[Array, dict[Path, NDArray[Any]]]:
    """The guide's s (D,), and path → new ``cov_factor`` or ``scale_tril``."""
    source, covariance = posterior.source, posterior.covariance
    assert source is not None
    assert covariance is not None
    found = find_state_dict(tree)
    keys: FlatGuide = source.template.extra
    key = keys.factor or keys.tril
    assert key is not None
    raw = found.arrays[key]
    if keys.factor:
        scale = np.sqrt(covariance.diagonal)
        new = covariance.factor / scale[:, None]
        return scale, {found.paths[key]: recovered(new, to_float64(raw), raw, new)}
    lower = covariance.factor
    # moved units reorder the factor's rows: it must be made triangular again to be stored
    if np.any(np.triu(lower, 1)) or np.any(np.diag(lower) <= 0) or np.any(covariance.diagonal):
        lower = cholesky(lower @ lower.T + np.diag(covariance.diagonal), "the covariance")
    scale, kept = np.diag(lower).copy(), 0
    if keys.scale is not None:
        lower, kept = lower / scale[:, None], -1
    new, old = np.tril(lower, kept), np.tril(to_float64(raw), kept)
    return scale, {found.paths[key]: np.where(new == old, raw, new.astype(raw.dtype))}


DIALECT = PyroFlat()
