"""TyXe: ``net_guide.SITE.loc``/``.scale``, unconstrained; exp, where Pyro's own guides say
softplus.

A state dict does not tell whether ``max_guide_scale`` was set, which makes it a sigmoid; a
parameter store does.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from symdiag.arrays import Arrays
from symdiag.formats.interface import RawCheckpoint
from symdiag.formats.keyed import KeyedDialect, Pair
from symdiag.formats.state_dict import find_state_dict
from symdiag.formats.transforms import EXP, Transform, constraint_of, transform_of
from symdiag.formats.tree import Path

_LOC = re.compile(r"^(?:net_guide\.)?(?P<site>.+)\.loc(?P<end>_unconstrained)?$")

_UNBOUNDED = (
    "exp assumed; had max_guide_scale been set it would be a sigmoid, which a state dict does not "
    "tell"
)
_RADIAL = (
    "read as AutoNormal; an AutoRadial guide has the same keys, and stds smaller by the root of "
    "each tensor's size, which the file does not tell"
)


class Tyxe(KeyedDialect):
    """Keyed by site, in a store (with constraints) or a state dict."""

    def pairs(self, arrays: Arrays) -> Iterator[Pair]:
        """Sites whose mean and scale are spelt alike."""
        for key in arrays:
            if match := _LOC.match(key):
                scale = re.sub(r"\.loc(?=(_unconstrained)?$)", ".scale", key)
                # names are the sites as they are: TyXe's are the network's own parameter names
                yield Pair("", match["site"], match["site"], key, scale)

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether a site's keys end in ``_unconstrained``, or come from a store and are not one
        flat vector.
        """
        paths = find_state_dict(raw.tree).paths
        return any(
            pair.scale in arrays
            and (
                pair.loc.endswith("_unconstrained")
                or _is_tyxe(constraint_of(raw.tree, paths[pair.scale]))
            )
            for pair in self.pairs(arrays)
        )

    def transform_for(
        self, pair: Pair, raw: RawCheckpoint, place: Path, arrays: Arrays
    ) -> Transform:
        """What the constraint says; exp in a state dict."""
        constraint = constraint_of(raw.tree, place)
        return self.transform if constraint is None else transform_of(constraint)

    def notes(self, arrays: Arrays) -> tuple[str, ...]:
        """What neither form of the guide tells."""
        if any(pair.loc.endswith("_unconstrained") for pair in self.pairs(arrays)):
            return (_RADIAL, _UNBOUNDED)
        return (_RADIAL,)


def _is_tyxe(constraint: object) -> bool:
    return isinstance(constraint, dict) and "Softplus" not in str(constraint["__class__"])


DIALECT = Tyxe(
    name="tyxe",
    priority=55,
    transform=EXP,
    loc="{layer}{part}.loc_unconstrained",
    scale="{layer}{part}.scale_unconstrained",
)
