"""bayesian-torch (Intel Labs): ``L.mu_weight``, ``L.rho_weight``; convolutions say ``kernel``,
LSTMs ``ih``, ``hh``.

std = log1p(exp(rho)), Reparameterization and Flipout layers alike. Files written before July 2021
also hold buffers ``prior_weight_mu``, ``prior_weight_sigma`` and ``eps_weight`` of the weights'
shapes.
"""

from __future__ import annotations

from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import SOFTPLUS

DIALECT = KeyedDialect(
    name="bayesian-torch",
    priority=50,
    transform=SOFTPLUS,
    loc="{layer}mu_{part}",
    scale="{layer}rho_{part}",
    parts={"weight": "weight", "kernel": "weight", "bias": "bias"},
    prior_loc="{layer}prior_{word}_mu",
    prior_scale="{layer}prior_{word}_sigma",
)
