"""Per-unit facts, and clusters: sets of units that exchange labels under the posterior."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from symdiag.diagnostics.diagnosis import MAX_CONFUSION, Cluster, NeuronInfo
from symdiag.estimators.sensitivity import Sensitivity
from symdiag.permanents import Effort, log_permanent

LINK = 0.05
"""Two units belong together when one takes the other's place with at least this probability.

Of many units that take one another's places none does so this often with any one of the others: a unit
that loses its label this often is linked to its commonest partners, too.
"""

_EFFORT = Effort(particles=64, runs=2)  # a side figure: the group's own entropy is worked on harder


def describe_units(
    sensitivity: Sensitivity,
    separations: NDArray[np.float64],
    collapsed: NDArray[np.bool_],
    signals: NDArray[np.float64],
) -> tuple[NeuronInfo, ...]:
    """One NeuronInfo per unit; ``separations`` is (n, n) with inf on the diagonal, ``signals``
    (n, 2).
    """
    nearest = separations.argmin(axis=1)
    closest = separations.min(axis=1)
    return tuple(
        NeuronInfo(
            index=i,
            # Marginals of a Monte Carlo permanent may leave [0, 1] by rounding.
            retention=float(np.clip(sensitivity.retention[i], 0.0, 1.0)),
            nearest=int(nearest[i]) if np.isfinite(closest[i]) else None,
            separation=float(closest[i]) if np.isfinite(closest[i]) else None,
            collapsed=bool(collapsed[i]),
            mean_shift=float(sensitivity.mean_shift[i]),
            # Adding zero turns −0.0 into 0.0, which JSON would otherwise show.
            log_std_shift=float(sensitivity.log_std_shift[i]) + 0.0,  # no negative zero
            signal_in=_finite(signals[i, 0]),
            signal_out=_finite(signals[i, 1]),
        )
        for i in range(len(nearest))
    )


def reported_confusion(
    confusion: NDArray[np.float64], limit: int = MAX_CONFUSION
) -> tuple[tuple[float, ...], ...] | None:
    """The matrix (n, n) in a report's precision; None where it would be large."""
    if len(confusion) > limit:
        return None
    # four decimals are finer than its Monte Carlo error, and a third of the bytes
    rounded = np.round(np.clip(confusion, 0.0, 1.0), 4) + 0.0
    return tuple(tuple(float(p) for p in row) for row in rounded)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def components(confusion: NDArray[np.float64]) -> list[tuple[int, ...]]:
    """Connected sets of two or more units, largest first, from P(π(i) = j | ω), (n, n)."""
    others = np.array(confusion, dtype=float)
    np.fill_diagonal(others, 0.0)
    lost, common = others.sum(1) >= LINK, others.max(1, initial=0.0)
    often = lost[:, None] & (others > 0.0) & (others >= 0.5 * common[:, None])
    # (n, n); symmetric, because one unit in the other's place is a link whichever way round.
    linked = (others >= LINK) | often
    linked |= linked.T
    count, labels = connected_components(csr_matrix(linked.astype(np.int8)), directed=False)
    sets = [tuple(int(i) for i in np.flatnonzero(labels == k)) for k in range(count)]
    return sorted((s for s in sets if len(s) > 1), key=lambda s: (-len(s), s))


def find_clusters(
    confusion: NDArray[np.float64],
    matrices: NDArray[np.float64],
    signs: NDArray[np.float64],
    *,
    generator: np.random.Generator,
    effort: Effort = _EFFORT,
) -> tuple[Cluster, ...]:
    """Clusters with the entropy each holds when only its own units may exchange, nats.

    Whether their units are collapsed is decided for the whole network at once, by ``diagnose``.

    Args:
        confusion: P(π(i) = j | ω) averaged over draws, (n, n).
        matrices: Relative log-density matrices of some draws, (S, n, n).
        signs: Entropy of the sign within each entry, nats, (S, n, n).
        generator: Randomness of the permanents.
        effort: How hard they are worked on.
    """
    result = []
    for units in components(confusion):
        # (S, k, k): the cluster's own rows and columns; everyone else keeps their label.
        block, inner = (np.ascontiguousarray(a[:, units][:, :, units]) for a in (matrices, signs))
        # Few draws: each one's own entropy of labels scatters less than its log permanent, and
        # cannot exceed log k!.
        entropy = log_permanent(
            block, generator=generator, effort=effort, bounds=False, inner_entropy=inner
        ).rao_blackwellised.mean()
        # H ≥ 0 holds for the expectation; a mean over few draws may fall below.
        result.append(Cluster(units, False, float(max(entropy, 0.0))))
    return tuple(result)
