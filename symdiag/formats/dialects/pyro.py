"""Pyro's AutoNormal: ``locs.SITE``/``scales.SITE``, unconstrained in the parameter store and in
``guide.state_dict()``.

The state dict says ``_unconstrained`` and keeps the constraint in code, where it has been softplus
since Pyro 1.6. The store (``get_param_store().save()``) does not say so in its names, but holds the
constraint objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from symdiag.arrays import Arrays
from symdiag.formats.interface import RawCheckpoint
from symdiag.formats.keyed import KeyedDialect, Pair
from symdiag.formats.state_dict import tidy
from symdiag.formats.transforms import SOFTPLUS, Transform, agreed, constraint_of, transform_of
from symdiag.formats.tree import Path

_LOC = re.compile(r"^(?P<guide>(?:.*\.)?)locs\.(?P<site>.+?)(?P<end>_unconstrained)?$")


ASSUMED = (
    "softplus unless told otherwise: Pyro's own since 1.6; a state dict does not tell the "
    "guide's scale_constraint"
)


class Pyro(KeyedDialect):
    """Keyed, with the guide's own name before the keys and not before the sites."""

    def pairs(self, arrays: Arrays) -> Iterator[Pair]:
        """Sites, in either spelling."""
        for key in arrays:
            if match := _LOC.match(key):
                scale = f"{match['guide']}scales.{match['site']}{match['end'] or ''}"
                yield Pair(match["guide"], match["site"], tidy(match["site"]), key, scale)

    def transform_for(
        self, pair: Pair, raw: RawCheckpoint, place: Path, arrays: Arrays
    ) -> Transform:
        """What the constraint says; softplus in a state dict.

        Raises UnsupportedError when a store lost them.
        """
        constraint = constraint_of(raw.tree, place)
        if constraint is not None:
            return transform_of(constraint)
        if pair.scale.endswith("_unconstrained"):
            return self.transform
        return agreed([pair.scale], arrays)[0]

    def notes(self, arrays: Arrays) -> tuple[str, ...]:
        """The assumption that a state dict forces on us."""
        return (
            (ASSUMED,)
            if any(pair.scale.endswith("_unconstrained") for pair in self.pairs(arrays))
            else ()
        )


DIALECT = Pyro(
    name="pyro",
    priority=60,
    transform=SOFTPLUS,
    loc="{layer}locs.{part}_unconstrained",
    scale="{layer}scales.{part}_unconstrained",
)
