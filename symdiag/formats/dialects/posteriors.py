"""posteriors (Normal Computing): ``params`` and ``log_sd_diag``, both named as the module's
parameters; std = exp.

A pickled ``VIDiagState`` is read as the dict of its fields; what is written is that dict.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from symdiag.arrays import Arrays
from symdiag.errors import InputError
from symdiag.formats.assemble import Draft, assemble
from symdiag.formats.fields import Field, Slot, written
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree
from symdiag.formats.state_dict import tidy
from symdiag.formats.transforms import EXP, transform_named
from symdiag.formats.tree import Path, dotted, walk
from symdiag.posterior import Ignored, Posterior

_SCALE = "log_sd_diag"
_PARALLEL = "params and log_sd_diag hold the same tensors; save both from one state"


def _home(tree: Tree, path: Path = ()) -> Path | None:
    """Where the dict with both entries is."""
    if not isinstance(tree, Mapping):
        return None
    if isinstance(tree.get("params"), Mapping) and isinstance(tree.get(_SCALE), Mapping):
        return path
    # wrapped states of a training checkpoint are found as well
    places = (_home(value, (*path, key)) for key, value in tree.items())
    return next((place for place in places if place is not None), None)


class Posteriors:
    """Two parallel trees."""

    name = "posteriors"
    priority = 70

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether ``params`` and ``log_sd_diag`` stand side by side."""
        return _home(raw.tree) is not None

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """The posterior.

        Raises InputError ``missing-scale`` or ``shape-mismatch`` when the trees differ.
        """
        home = _home(raw.tree)
        assert home is not None
        transform = transform_named(options.scale_transform) if options.scale_transform else EXP
        leaves = dict(walk(raw.tree))
        fields, ignored = [], []
        for path, leaf in leaves.items():
            if path[: len(home) + 1] != (*home, "params"):
                if path[: len(home) + 1] != (*home, _SCALE):
                    ignored.append(Ignored(dotted(path), "outside params and log_sd_diag"))
                continue
            tail = path[len(home) + 1 :]
            partner = leaves.get((*home, _SCALE, *tail))
            if not isinstance(partner, np.ndarray):
                raise InputError(
                    f"{dotted(path)} has no entry in {_SCALE}", code="missing-scale", hint=_PARALLEL
                )
            if partner.shape != leaf.shape:
                raise InputError(
                    f"{dotted(path)} and its {_SCALE} differ in shape",
                    code="shape-mismatch",
                    hint=_PARALLEL,
                )
            slots = Slot(path, leaf.shape), Slot((*home, _SCALE, *tail), leaf.shape)
            fields.append(Field(tidy(dotted(tail)), *slots, transform))
        return assemble(raw, self.name, Draft(tuple(fields), ignored=tuple(ignored)))

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """``raw.tree`` with the posterior's means and log stds."""
        assert posterior.source is not None
        return written(posterior, posterior.source.template, raw.tree)


DIALECT = Posteriors()
