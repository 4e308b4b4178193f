"""torchbayesian: ``L.reparametrizations.weight.variational_posterior.mu``/``.rho``; std =
softplus(rho).

Any parameter can be Bayesian, a norm's scale too.
"""

from __future__ import annotations

from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import SOFTPLUS

DIALECT = KeyedDialect(
    name="torchbayesian",
    priority=60,
    transform=SOFTPLUS,
    loc="{layer}reparametrizations.{part}.variational_posterior.mu",
    scale="{layer}reparametrizations.{part}.variational_posterior.rho",
)
