"""Per-unit facts: retention, nearest twin, separation, collapse, predicted shift."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from symdiag.diagnostics.model import NeuronInfo
from symdiag.estimators.sensitivity import Sensitivity


def describe_units(
    sensitivity: Sensitivity, separations: NDArray[np.float64], collapsed: NDArray[np.bool_]
) -> tuple[NeuronInfo, ...]:
    """One NeuronInfo per unit; ``separations`` is (n, n) with inf on the diagonal."""
    nearest = separations.argmin(axis=1)
    closest = separations.min(axis=1)
    return tuple(
        NeuronInfo(
            index=i,
            retention=float(np.clip(sensitivity.retention[i], 0.0, 1.0)),
            nearest=int(nearest[i]) if np.isfinite(closest[i]) else None,
            separation=float(closest[i]) if np.isfinite(closest[i]) else None,
            collapsed=bool(collapsed[i]),
            mean_shift=float(sensitivity.mean_shift[i]),
            log_std_shift=float(sensitivity.log_std_shift[i]) + 0.0,  # no negative zero
        )
        for i in range(len(nearest))
    )
