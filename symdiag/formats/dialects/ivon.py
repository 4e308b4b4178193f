"""IVON (ivon-opt): an ordinary model state dict; the stds follow from the optimiser's state beside
it.

Each parameter group holds flat ``hess``, and numbers ``ess`` and ``weight_decay``, in the order the
parameters were given to the optimiser (model order for one group): std = 1/sqrt(ess (hess +
weight_decay)). The prior is implied: std = 1/sqrt(ess weight_decay), mean 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from symdiag.arrays import Arrays
from symdiag.errors import InputError, UnsupportedError
from symdiag.formats.assemble import Draft, assemble, leftovers, merge_tied
from symdiag.formats.fields import Field, flat_slots, total_size, written
from symdiag.formats.interface import SHAPES_HINT, RawCheckpoint, ReadOptions, Tree
from symdiag.formats.state_dict import find_state_dict
from symdiag.formats.transforms import precision
from symdiag.formats.tree import Path
from symdiag.posterior import Posterior
from symdiag.priors import GaussianPrior


def _groups(tree: Tree, path: Path = ()) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """Every optimiser parameter group with IVON's entries, and where it is."""
    if isinstance(tree, Mapping):
        if {"hess", "ess", "weight_decay"} <= tree.keys() and isinstance(tree["hess"], np.ndarray):
            yield path, tree
            return
        items = list(tree.items())
    else:
        items = list(enumerate(tree)) if isinstance(tree, list | tuple) else []
    for key, value in items:
        yield from _groups(value, (*path, key))


class Ivon:
    """Means in the model, stds in the optimiser."""

    name = "ivon"
    priority = 70

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether a parameter group holds a ``hess`` vector."""
        return any(True for _ in _groups(raw.tree))

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """The posterior.

        ``model_shapes`` gives the optimiser's tensors where it has several groups or not all
        tensors.

        Raises:
            UnsupportedError: ``order-unknown`` (several groups, frozen tensors),
                ``shape-mismatch``, ``missing-model``.
        """
        found = find_state_dict(raw.tree)
        plain, buffers, ignored = leftovers(arrays, found.paths, ())
        optimised = list(merge_tied(plain, raw)[0])  # an optimiser knows a tied tensor once
        groups = list(_groups(raw.tree))
        fields, prior = [], GaussianPrior({}, {})
        for (path, group), chunk in zip(groups, _shares(groups, optimised, options), strict=True):
            slots = flat_slots((*path, "hess"), {item.name: item.loc.shape for item in chunk})
            ess, decay = _numbers(group)
            transform = precision(ess, ess * decay, "1/sqrt(ess*(hess+weight_decay))")
            fields += [Field(item.name, item.loc, slots[item.name], transform) for item in chunk]
            # weight decay is the negative log of a Gaussian prior, its precision ess * weight_decay
            if decay > 0:
                prior = _extended(prior, chunk, 1.0 / np.sqrt(ess * decay))
        given = {item.name for item in fields}
        fields += [item for item in plain if item.name not in given]
        ignored += found.ignored
        return assemble(
            raw,
            self.name,
            Draft(tuple(fields), buffers, tuple(ignored), prior=prior if prior.loc else None),
        )

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """``raw.tree`` with new means in the model and a new ``hess`` in the optimiser (its
        momentum is kept).
        """
        assert posterior.source is not None
        return written(posterior, posterior.source.template, raw.tree)


def _numbers(group: Mapping[str, Any]) -> tuple[float, float]:
    """Effective sample size and weight decay.

    Raises InputError ``bad-scale`` where they cannot be.
    """
    ess, decay = float(group["ess"]), float(group["weight_decay"])
    if not (0 < ess < np.inf and 0 <= decay < np.inf):
        raise InputError(
            f"the optimiser's ess {ess:g} or weight_decay {decay:g} is out of range",
            code="bad-scale",
            hint="ess is positive and weight_decay not negative in every optimiser state ivon-opt "
            "writes",
        )
    return ess, decay


def _extended(prior: GaussianPrior, fields: list[Field], std: float) -> GaussianPrior:
    names = [item.name for item in fields]
    return GaussianPrior(
        {**prior.loc, **{name: np.zeros(()) for name in names}},
        {**prior.scale, **{name: np.asarray(std) for name in names}},
    )


def _shares(
    groups: list[tuple[Path, Mapping[str, Any]]], plain: list[Field], options: ReadOptions
) -> Iterator[list[Field]]:
    """The tensors of each parameter group, in its order."""
    if not plain:
        raise UnsupportedError(
            "the file holds IVON's state without the model: the stds without the means",
            code="missing-model",
            hint='save both in one file: {"model": model.state_dict(), "optimizer": '
            "optimizer.state_dict()}",
        )
    if options.model_shapes is not None:
        by_name = {item.name: item for item in plain}
        plain = [by_name[name] for name in options.model_shapes if name in by_name]
    elif len(groups) > 1:
        raise UnsupportedError(
            "the optimiser has several parameter groups; the file does not tell which tensors are "
            "in which",
            code="order-unknown",
            hint=SHAPES_HINT,
        )
    rest = list(plain)
    for _, group in groups:
        size = group["hess"].size
        chunk: list[Field] = []
        # groups follow each other in the optimiser, and so do tensors within a group
        while rest and total_size(item.loc.shape for item in chunk) < size:
            chunk.append(rest.pop(0))
        if total_size(item.loc.shape for item in chunk) != size:
            raise UnsupportedError(
                f"the optimiser's hess has {size} entries, which are no whole number of the "
                "tensors given to it",
                code="shape-mismatch",
                hint=SHAPES_HINT,
            )
        yield chunk
    if rest and options.model_shapes is None:
        raise UnsupportedError(
            f"the optimiser has only some of the model's {len(plain)} tensors; the file does not "
            "say which",
            code="order-unknown",
            hint=SHAPES_HINT,
        )


DIALECT = Ivon()
