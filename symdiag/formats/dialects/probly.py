"""probly: ``L.weight_mu``, ``L.weight_rho`` with ``L.weight_prior_mu``, ``L.weight_prior_sigma`` of
the same shape.

std = log1p(exp(rho)). The prior is per weight, so permuting units may not leave it as it was.
"""

from __future__ import annotations

from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import SOFTPLUS

DIALECT = KeyedDialect(
    name="probly",
    priority=60,
    transform=SOFTPLUS,
    loc="{layer}{part}_mu",
    scale="{layer}{part}_rho",
    parts={"weight": "weight", "bias": "bias"},
    requires=("{layer}{part}_prior_mu", "{layer}{part}_prior_sigma"),
    prior_loc="{layer}{part}_prior_mu",
    prior_scale="{layer}{part}_prior_sigma",
)
