"""``W_mu``/``W_p``/``b_mu``/``b_p``, from a much copied repository: std = 1e-6 + softplus(p),
weights (in, out).

Its pruning writes p = -1000. The four keys together are the pattern; ``_p`` occurs nowhere else.
"""

from __future__ import annotations

from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import shifted_softplus

DIALECT = KeyedDialect(
    name="handwritten-W_p",
    priority=40,
    transform=shifted_softplus(1e-6),
    loc="{layer}{part}_mu",
    scale="{layer}{part}_p",
    parts={"W": "weight", "b": "bias"},
    requires=("{layer}W_p", "{layer}b_p"),
)
