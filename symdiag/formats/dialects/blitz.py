"""blitz-bayesian-pytorch: ``L.weight_mu``, ``L.weight_rho``, each again in ``L.weight_sampler``; std = log1p(exp(rho)).

The sampler's copies tell the library from the many hand-written ``weight_mu``/``weight_rho`` classes.
"""

from __future__ import annotations

from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import SOFTPLUS

DIALECT = KeyedDialect(
    name="blitz",
    priority=60,
    transform=SOFTPLUS,
    loc="{layer}{part}_mu",
    scale="{layer}{part}_rho",
    requires=("{layer}{part}_sampler.mu", "{layer}{part}_sampler.rho"),
    loc_copies=("{layer}{part}_sampler.mu",),
    scale_copies=("{layer}{part}_sampler.rho",),
    unpaired="kept by the layer but not used (bias=False)",
)
