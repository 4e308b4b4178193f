"""torch-blue: ``L._weight_mean``, ``L._weight_log_std``; std = exp(log_std). A non-Bayesian variable has a mean only.

Its Student-t posterior (``_weight_mean``, ``_weight_log_scale``) is no Gaussian and refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from symdiag.errors import UnsupportedError
from symdiag.formats.fields import Field, Slot
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.formats.keyed import Arrays, KeyedDialect, Pair
from symdiag.formats.state_dict import Path
from symdiag.formats.transforms import EXP
from symdiag.posterior import Posterior


class TorchBlue(KeyedDialect):
    """Keyed, with means that stand alone."""

    def pairs(self, arrays: Arrays) -> Iterator[Pair]:
        """The pairs; a mean without ``log_std`` belongs to a deterministic variable and is no pair."""
        return (pair for pair in super().pairs(arrays) if pair.scale in arrays)

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """As for every keyed dialect. Raises UnsupportedError ``not-gaussian`` for Student-t variables."""
        for key in arrays:
            if key.rpartition(".")[2].startswith("_") and key.endswith("_log_scale"):
                raise UnsupportedError(f"{key}: a Student-t posterior is not a Gaussian", code="not-gaussian")
        return super().read(raw, arrays, options)

    def deterministic(self, arrays: Arrays, paths: Mapping[str, Path]) -> dict[str, Field]:
        """Deterministic variables: ``_weight_mean`` alone."""
        return {
            pair.loc: Field(pair.name, Slot(paths[pair.loc], arrays[pair.loc].shape))
            for pair in super().pairs(arrays)
            if pair.scale not in arrays
        }


DIALECT = TorchBlue(
    name="torch-blue", priority=50, transform=EXP, loc="{layer}_{part}_mean", scale="{layer}_{part}_log_std"
)
