r"""The bound without draws over a whole group that is small enough to visit: Σ_g ∫ q(g⁻¹ω)^s q(ω)^{1−s} dω itself.

Closed for every Gaussian and every g, so correlated posteriors, recurrent weights and groups that share tensors are
all covered. Proof: docs/theory/chernoff.md, 1 and 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import scipy.linalg
from scipy.special import logsumexp

from symdiag.arrays import Array
from symdiag.estimators.chernoff import POWERS, ChernoffBound, concave_bound
from symdiag.estimators.joint import every_element, size
from symdiag.estimators.log_ratio import MAX_DENSE
from symdiag.posterior import Covariance, Posterior
from symdiag.symmetry.elements import Element, act
from symdiag.symmetry.spec import PermutationSpec

_ELEMENTS = 20_000
_WORK = 2e8  # multiply-adds for all elements and one power
_BATCH = 1 << 20  # numbers of the weights that a batch of elements moves


def enumerated_bound(posterior: Posterior, spec: PermutationSpec) -> ChernoffBound | None:
    """Upper bound on the joint H(g | ω) of all groups of ``spec``; None where the group is too large to visit."""
    count = size(spec.groups)
    cost = float(sum(posterior.loc[n].size for n in touched(spec)))
    if posterior.covariance is not None:
        cost += float(posterior.covariance.factor.shape[0]) ** 3
    if count > _ELEMENTS or count * cost > _WORK:
        return None
    best = ChernoffBound(spec.log_order, 1.0)
    for power in POWERS:
        logs = element_overlaps(posterior, spec, power)
        value = concave_bound(float(logsumexp(logs[1:])), power)  # the identity comes first
        if value < best.value:
            best = ChernoffBound(value, power)
    return best


def touched(spec: PermutationSpec) -> list[str]:
    """Names of the tensors that any group touches, each once."""
    return list(dict.fromkeys(m.tensor for g in spec for m in g.members))


def element_overlaps(posterior: Posterior, spec: PermutationSpec, power: float) -> Array:
    """log ∫ q(g⁻¹ω)^s q(ω)^{1−s} dω for every g of the product group, the identity first; (|G|,)."""
    elements = every_element(spec.groups)
    names = touched(spec)
    step = max(1, _BATCH // sum(posterior.loc[n].size for n in names))
    correlated = posterior.covariance is not None and bool(
        set(names) & set(posterior.covariance.order)
    )
    parts = []
    for part in _batches(elements, step):
        # (K,): log overlaps of independent tensors add, correlated ones come as one block
        total = np.zeros(len(next(iter(part.values()))))
        for name in names:
            if not (correlated and name in _order(posterior)):
                total += _independent(posterior, spec, part, name, power)
        if correlated and posterior.covariance is not None:
            total += _dense(posterior, posterior.covariance, spec, part, power)
        parts.append(total)
    return np.concatenate(parts)


def _order(posterior: Posterior) -> tuple[str, ...]:
    return posterior.covariance.order if posterior.covariance is not None else ()


def _batches(elements: dict[str, Element], step: int) -> Iterator[dict[str, Element]]:
    count = len(next(iter(elements.values())))
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        yield {name: batch.take(rows) for name, batch in elements.items()}


def _independent(
    posterior: Posterior, spec: PermutationSpec, part: dict[str, Element], name: str, power: float
) -> Array:
    """Sum over the weights of one tensor, (K,); −inf where a deterministic weight would have to change."""
    loc, scale = posterior.loc[name], posterior.scale[name]
    moved = act(spec, part, {name: loc[None]})[name] + 0.0
    spread = act(spec, part, {name: scale[None]}, flip=False)[name]
    random = (spread > 0) & (scale > 0)
    own, other = np.where(random, scale, 1.0), np.where(random, spread, 1.0)
    # the overlap of two Gaussians, one to the power s, the other 1 − s: variances mix crosswise
    mixed = power * own**2 + (1.0 - power) * other**2
    gap = np.where(random, moved - loc, 0.0)
    logs = (1.0 - power) * np.log(other) + power * np.log(own) - 0.5 * np.log(mixed)
    logs -= 0.5 * power * (1.0 - power) * gap**2 / mixed
    impossible = ((spread > 0) != (scale > 0)) | (~random & (moved != loc))
    total: Array = np.where(impossible, -np.inf, logs).reshape(len(moved), -1).sum(1)
    return total


def _dense(
    posterior: Posterior,
    covariance: Covariance,
    spec: PermutationSpec,
    part: dict[str, Element],
    power: float,
) -> Array:
    """The same over the correlated weights together: determinants of s Σ + (1−s) gΣgᵀ, (K,)."""
    sizes = [posterior.loc[n].size for n in covariance.order]
    total = sum(sizes)
    assert total <= MAX_DENSE
    dense = covariance.factor @ covariance.factor.T + np.diag(covariance.diagonal)
    where, starts = {}, np.cumsum([0, *sizes])
    for name, start in zip(covariance.order, starts, strict=False):
        shape = posterior.loc[name].shape
        where[name] = np.arange(start, start + math.prod(shape)).reshape(1, *shape)
    signs = {n: np.ones(w.shape) for n, w in where.items()}
    # moving the positions themselves tells which row and column of Σ each entry takes
    moved = act(spec, part, where, flip=False)
    flips = act(spec, part, signs)
    count = len(next(iter(part.values())))

    def flat(arrays: dict[str, Array]) -> Array:
        rows = [arrays[n].reshape(len(arrays[n]), -1) for n in covariance.order]
        return np.concatenate([np.broadcast_to(r, (count, r.shape[1])) for r in rows], 1)

    index, sign = flat(moved).astype(np.intp), flat(flips)
    loc = np.concatenate([posterior.loc[n].reshape(-1) for n in covariance.order])
    own = 2.0 * np.log(np.diagonal(np.linalg.cholesky(dense))).sum()
    result = np.empty(count)
    for k in range(count):
        other = dense[np.ix_(index[k], index[k])] * np.outer(sign[k], sign[k])
        factor = np.linalg.cholesky(power * dense + (1.0 - power) * other)
        gap = scipy.linalg.solve_triangular(factor, sign[k] * loc[index[k]] - loc, lower=True)
        result[k] = 0.5 * own - np.log(np.diagonal(factor)).sum()
        result[k] -= 0.5 * power * (1.0 - power) * float(gap @ gap)
    # Hölder: no overlap exceeds 1, but rounding may
    return np.minimum(result, 0.0)
