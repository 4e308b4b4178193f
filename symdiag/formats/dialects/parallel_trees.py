"""Means and scales side by side: ``{"loc": {…}, "scale": {…}}``, also mean/std, mu/sigma, mu/rho.

Both are dicts (or lists) of tensors under the same keys, or both one flat vector, whose shapes
come from ``model_shapes`` or a companion state dict. The words say what the scale is, as in
hand-written classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Arrays
from symdiag.errors import InputError
from symdiag.formats.assemble import Draft, assemble
from symdiag.formats.covariance import model_shapes
from symdiag.formats.dialects._words import LOC, SCALE, meaning, split
from symdiag.formats.fields import Field, Slot, check_finite, flat_slots, written
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree, to_float64
from symdiag.formats.state_dict import is_training_state, is_weight_like, tidy
from symdiag.formats.transforms import transform_named
from symdiag.formats.tree import Path, at, dotted, walk
from symdiag.posterior import Ignored, Posterior

_BUFFERS = ("running_mean", "running_var")


@dataclass(frozen=True)
class _Pair:
    """Where the two trees are, and the word the scale goes by."""

    loc: Path
    scale: Path
    word: str


def _pairs(tree: Tree, path: Path = ()) -> Iterator[_Pair]:
    """Every pair of entries of one dict that are named as mean and scale and built alike."""
    if not isinstance(tree, Mapping):
        return
    words = {key: split(key, SCALE) for key in tree if isinstance(key, str)}
    scales = {named[0]: (key, named[1]) for key, named in words.items() if named}
    for key, value in tree.items():
        if not isinstance(key, str) or is_training_state(key):
            continue
        named = split(key, LOC)
        if named and named[0] in scales:
            scale, word = scales[named[0]]
            if _is_tree(value) and _is_tree(tree[scale]):
                yield _Pair((*path, key), (*path, scale), word)
                continue
            # a layer's bias is a vector with a scale, too: its name or the matrix beside it tells
            if not is_weight_like(named[0]) and _is_flat(value, tree[scale], tree):
                yield _Pair((*path, key), (*path, scale), word)
                continue
        yield from _pairs(value, (*path, key))


def _is_tree(node: Any) -> bool:
    """Whether a dict or list holds arrays."""
    return isinstance(node, Mapping | list | tuple) and any(
        isinstance(leaf, np.ndarray) for _, leaf in walk(node)
    )


def _is_flat(loc: Any, scale: Any, beside: Mapping[Any, Any]) -> bool:
    """Whether these are vectors of all weights: of one length, with no matrix of weights beside."""
    vectors = all(isinstance(v, np.ndarray) and v.ndim == 1 for v in (loc, scale))
    matrices = any(isinstance(v, np.ndarray) and v.ndim > 1 for v in beside.values())
    return vectors and loc.shape == scale.shape and not matrices


def _found(tree: Tree) -> _Pair | None:
    """The pair that holds the file's weights; None where the most of them are elsewhere.

    A checkpoint of any network may hold the mean and std of its inputs.
    """
    sizes = {path: leaf.size for path, leaf in walk(tree) if isinstance(leaf, np.ndarray)}
    weights = {p: n for p, n in sizes.items() if not any(map(is_training_state, p[:-1]))}
    for pair in _pairs(tree):
        starts = [(place, len(place)) for place in (pair.loc, pair.scale)]
        inside = sum(n for p, n in weights.items() if any(p[:k] == place for place, k in starts))
        # half, because a checkpoint may hold the plain network's weights as well
        if 2 * inside >= sum(weights.values()):
            return pair
    return None


class ParallelTrees:
    """Two trees or two vectors, told apart by their names."""

    name = "parallel-trees"
    priority = 45

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether two entries named as mean and scale hold most of the file."""
        return _found(raw.tree) is not None

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """The posterior.

        Raises:
            UnsupportedError: ``ambiguous-scale-transform``, ``needs-model-shapes``.
            InputError: ``missing-scale``, ``shape-mismatch``, ``non-finite``, ``bad-scale``.
        """
        pair = _found(raw.tree)
        assert pair is not None
        leaves = {p: v for p, v in walk(raw.tree) if isinstance(v, np.ndarray)}
        slots, buffers = _slots(pair, leaves, raw.tree, options)
        stored = {dotted(s.path): at(raw.tree, s.path) for _, s in slots.values()}
        for key, values in stored.items():
            check_finite(to_float64(values), key)
        if options.scale_transform:
            transform, note = transform_named(options.scale_transform), ""
        else:
            # one word for all tensors, so all of them decide what it can mean
            transform, note = meaning(pair.word, list(stored), stored)
        used = {slot.path for both in slots.values() for slot in both}
        used |= {slot.path for slot in buffers.values()}
        draft = Draft(
            tuple(Field(name, loc, scale, transform) for name, (loc, scale) in slots.items()),
            buffers,
            tuple(Ignored(dotted(p), _why(p, pair)) for p in leaves if p not in used),
            notes=(note,) if note else (),
        )
        return assemble(raw, self.name, draft)

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """``raw.tree`` with the posterior's means and scales."""
        assert posterior.source is not None
        return written(posterior, posterior.source.template, raw.tree)


def _why(path: Path, pair: _Pair) -> str:
    inside = path[: len(pair.loc)] == pair.loc or path[: len(pair.scale)] == pair.scale
    return "no float, not a weight" if inside else "outside the means and scales"


def _slots(
    pair: _Pair, leaves: Mapping[Path, NDArray[Any]], tree: Tree, options: ReadOptions
) -> tuple[dict[str, tuple[Slot, Slot]], dict[str, Slot]]:
    """Name → where mean and scale are; and the running statistics among the means."""
    if pair.loc in leaves:  # one vector
        size = leaves[pair.loc].size
        shapes = model_shapes(options, size, dotted(pair.loc))
        names = {tidy(name): shape for name, shape in shapes.items()}
        means, scales = flat_slots(pair.loc, names), flat_slots(pair.scale, names)
        return {name: (means[name], scales[name]) for name in names}, {}
    slots: dict[str, tuple[Slot, Slot]] = {}
    buffers: dict[str, Slot] = {}
    for path, loc in leaves.items():
        tail = path[len(pair.loc) :]
        if path[: len(pair.loc)] != pair.loc or loc.dtype.kind != "f":
            continue
        name, place = tidy(dotted(tail)), (*pair.scale, *tail)
        scale = leaves.get(place)
        # running statistics are no random variables: they have no scale to miss
        if name.endswith(_BUFFERS):
            buffers[name] = Slot(path, loc.shape)
        elif scale is None or scale.shape != loc.shape:
            raise InputError(
                f"{dotted(path)} {loc.shape} has no scale of its shape in {dotted(pair.scale)}",
                code="missing-scale" if scale is None else "shape-mismatch",
                hint=f"{pair.loc[-1]} and {pair.scale[-1]} hold the same tensors; save both anew",
            )
        else:
            slots[name] = (Slot(path, loc.shape), Slot(place, loc.shape))
    return slots, buffers


DIALECT = ParallelTrees()
