"""blitz-bayesian-pytorch: ``L.weight_mu``, ``L.weight_rho``, each again in ``L.weight_sampler``;
std = log1p(exp(rho)).

The sampler's copies tell the library from the many hand-written ``weight_mu``/``weight_rho``
classes.
"""

from __future__ import annotations

import numpy as np

from symdiag.arrays import Arrays
from symdiag.formats.interface import to_float64
from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import SOFTPLUS


class Blitz(KeyedDialect):
    """Keyed, with biases that may be in the file although the layer has none."""

    def notes(self, arrays: Arrays) -> tuple[str, ...]:
        """Linear and LSTM layers made with ``bias=False`` keep untouched bias parameters: say where
        it looks so.
        """
        layers = [
            p.layer.rstrip(".")
            for p in self.pairs(arrays)
            if p.part == "bias" and p.scale in arrays and _untouched(arrays[p.scale])
        ]
        if not layers:
            return ()
        return (
            f"the bias of {', '.join(layers)} still has its initial rho: it is unused if made "
            "with bias=False",
        )


def _untouched(rho: np.ndarray) -> bool:
    """Whether rho looks as blitz initialises it, N(-7, 0.1)."""
    # six standard deviations: training that moved the rho at all moves it further
    return bool(np.all(np.abs(to_float64(rho) + 7.0) < 0.6))


DIALECT = Blitz(
    name="blitz",
    priority=60,
    transform=SOFTPLUS,
    loc="{layer}{part}_mu",
    scale="{layer}{part}_rho",
    requires=("{layer}{part}_sampler.mu", "{layer}{part}_sampler.rho"),
    loc_copies=("{layer}{part}_sampler.mu",),
    scale_copies=("{layer}{part}_sampler.rho",),
    unpaired="kept by the layer but not used",
)
