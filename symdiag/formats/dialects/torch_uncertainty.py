"""torch-uncertainty: ``L.weight_mu``, ``L.weight_sigma``, where "sigma" holds rho: std =
log1p(exp(weight_sigma)).

The samplers repeat each parameter under ``L.weight_sampler.mu``/``.rho``, which gives the library
away. The prior, a mixture of two centred Gaussians, is in the file; it is Gaussian when all its
weight is on one of them.
"""

from __future__ import annotations

import numpy as np

from symdiag.arrays import Arrays
from symdiag.formats.interface import to_float64
from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import SOFTPLUS
from symdiag.posterior import GaussianPrior


class TorchUncertainty(KeyedDialect):
    """Keyed, with a prior of three short vectors per tensor."""

    def prior(self, arrays: Arrays) -> GaussianPrior | None:
        """The prior when every tensor's mixture is a single Gaussian."""
        loc, scale = {}, {}
        for pair in self.pairs(arrays):
            names = (
                f"{pair.layer}{pair.part}_prior_dist.{what}" for what in ("pi", "mus", "sigmas")
            )
            found = [to_float64(arrays[name]) for name in names if name in arrays]
            # two components with weight on both are no Gaussian; then the file's prior is not used
            if len(found) != 3 or not np.any(found[0] == 1.0):
                return None
            which = int(np.argmax(found[0]))
            loc[pair.name], scale[pair.name] = (
                np.asarray(found[1][which]),
                np.asarray(found[2][which]),
            )
        return GaussianPrior(loc, scale) if loc else None


DIALECT = TorchUncertainty(
    name="torch-uncertainty",
    priority=60,
    transform=SOFTPLUS,
    loc="{layer}{part}_mu",
    scale="{layer}{part}_sigma",
    requires=("{layer}{part}_sampler.mu", "{layer}{part}_sampler.rho"),
    loc_copies=("{layer}{part}_sampler.mu",),
    scale_copies=("{layer}{part}_sampler.rho",),
)
