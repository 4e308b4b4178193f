"""torch-uncertainty: ``L.weight_mu``, ``L.weight_sigma``, where "sigma" holds rho: std =
log1p(exp(weight_sigma)).

The samplers repeat each parameter under ``L.weight_sampler.mu``/``.rho``, which gives the library
away. The prior, a mixture of two centred Gaussians for each tensor, is in the file.
"""

from __future__ import annotations

import numpy as np

from symdiag.arrays import Array, Arrays
from symdiag.formats.interface import to_float64
from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import SOFTPLUS
from symdiag.priors import Components, GaussianPrior, Prior, ScaleMixturePrior


class TorchUncertainty(KeyedDialect):
    """Keyed, with a prior of three short vectors per tensor."""

    def prior(self, arrays: Arrays) -> Prior | None:
        """Mixtures of centred Gaussians; a Gaussian where all weight is on one component."""
        loc, scale = {}, {}
        mixed: dict[str, Components] = {}
        for pair in self.pairs(arrays):
            names = (
                f"{pair.layer}{pair.part}_prior_dist.{what}" for what in ("pi", "mus", "sigmas")
            )
            found = [to_float64(arrays[name]) for name in names if name in arrays]
            if len(found) != 3:
                return None
            weights, means, stds = found
            used = weights > 0
            if used.sum() == 1:
                loc[pair.name], scale[pair.name] = means[used][0], stds[used][0]
            elif _is_centred_mixture(*found):
                # stored in single precision: 0.3 and 0.7 add up to 1 + 3e-8
                shares = weights[used] / weights.sum()
                mixed[pair.name] = tuple(zip(shares.tolist(), stds[used].tolist(), strict=True))
            else:
                return None
        rest = GaussianPrior(loc, scale)
        if mixed:
            return ScaleMixturePrior(mixed, rest)
        return rest if loc else None


def _is_centred_mixture(weights: Array, means: Array, stds: Array) -> bool:
    proper = bool(np.all(weights >= 0)) and abs(float(weights.sum()) - 1.0) < 1e-4
    used = weights > 0
    usable = np.isfinite(stds[used]) & (stds[used] > 0)
    return proper and not np.any(means[used]) and bool(np.all(usable))


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
