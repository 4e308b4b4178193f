"""bayesianize (Microsoft): ``L.weight_mean``, ``L._weight_sd``; std = softplus(_weight_sd), though
the key says "sd".

Buffers ``L.prior_weight_mean``, ``L.prior_weight_sd`` hold the prior. An optional cap on the std is
not in the file. Made after the library's source: it is on no package index, so there is no test
against it.
"""

from __future__ import annotations

from symdiag.arrays import Arrays
from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.transforms import SOFTPLUS


class Bayesianize(KeyedDialect):
    """Keyed, with a setting that the file does not hold."""

    def notes(self, arrays: Arrays) -> tuple[str, ...]:
        """The cap that may have been set."""
        return ("stds are taken as uncapped; had the layers a max_sd, the file would not tell",)


DIALECT = Bayesianize(
    name="bayesianize",
    priority=50,
    transform=SOFTPLUS,
    loc="{layer}{part}_mean",
    scale="{layer}_{part}_sd",
    parts={"weight": "weight", "bias": "bias"},
    prior_loc="{layer}prior_{word}_mean",
    prior_scale="{layer}prior_{word}_sd",
)
