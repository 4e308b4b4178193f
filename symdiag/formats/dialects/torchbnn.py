"""torchbnn: ``L.weight_mu``, ``L.weight_log_sigma``; std = exp(log_sigma).

After ``freeze()`` also ``L.weight_eps``.
"""

from __future__ import annotations

from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import EXP

DIALECT = KeyedDialect(
    name="torchbnn",
    priority=50,
    transform=EXP,
    loc="{layer}{part}_mu",
    scale="{layer}{part}_log_sigma",
    parts={"weight": "weight", "bias": "bias"},
)
