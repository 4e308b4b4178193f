"""torch-blue: ``L._weight_mean``, ``L._weight_log_std``; std = exp(log_std).

A non-Bayesian variable has a mean only.

Its Student-t posterior (``_weight_mean``, ``_weight_log_scale``) is no Gaussian and refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from symdiag.arrays import Arrays
from symdiag.errors import UnsupportedError
from symdiag.formats.fields import Field, Slot
from symdiag.formats.interface import RawCheckpoint, ReadOptions
from symdiag.formats.keyed import KeyedDialect, Pair
from symdiag.formats.transforms import EXP
from symdiag.formats.tree import Path
from symdiag.posterior import Posterior


class TorchBlue(KeyedDialect):
    """Keyed, with means that stand alone."""

    def pairs(self, arrays: Arrays) -> Iterator[Pair]:
        """The pairs; a mean without ``log_std`` is a deterministic variable's and no pair."""
        return (pair for pair in super().pairs(arrays) if pair.scale in arrays)

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether there are such pairs, or the library's Student-t variables (to refuse them)."""
        return super().matches(raw, arrays) or bool(_student_t(arrays))

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """As for every keyed dialect.

        Raises UnsupportedError ``not-gaussian`` for Student-t variables.
        """
        if found := _student_t(arrays):
            raise UnsupportedError(
                f"{found[0]}: a Student-t posterior is not a Gaussian", code="not-gaussian"
            )
        return super().read(raw, arrays, options)

    def deterministic(self, arrays: Arrays, paths: Mapping[str, Path]) -> dict[str, Field]:
        """Deterministic variables: ``_weight_mean`` alone."""
        return {
            pair.loc: Field(pair.name, Slot(paths[pair.loc], arrays[pair.loc].shape))
            for pair in super().pairs(arrays)
            if pair.scale not in arrays
        }


def _student_t(arrays: Arrays) -> list[str]:
    """The keys of Student-t scales."""
    ends = [(key, key.rpartition(".")[2]) for key in arrays]
    return [key for key, leaf in ends if leaf.startswith("_") and leaf.endswith("_log_scale")]


DIALECT = TorchBlue(
    name="torch-blue",
    priority=50,
    transform=EXP,
    loc="{layer}_{part}_mean",
    scale="{layer}_{part}_log_std",
)
