"""NumPyro's mean-field guides: ``w1_auto_loc``, ``w1_auto_scale`` in an npz or dict; the stored
scale is the std.

``AutoNormal`` names one pair per site; the names are the user's (``w1``, ``b1``) and weights
usually (in, out).
"""

from __future__ import annotations

from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import IDENTITY

DIALECT = KeyedDialect(
    name="numpyro",
    priority=60,
    transform=IDENTITY,
    loc="{layer}{part}_auto_loc",
    scale="{layer}{part}_auto_scale",
)
