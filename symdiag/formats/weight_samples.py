"""Draws of a network's weights: several files, a list of state dicts, or a leading sample axis."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array
from symdiag.errors import InputError, UnsupportedError, UsageError, listed
from symdiag.formats.assemble import leftovers
from symdiag.formats.fields import check_finite
from symdiag.formats.inference_data import is_hdf5, posterior_group, read_posterior_group
from symdiag.formats.interface import RawCheckpoint, Tree, to_float64
from symdiag.formats.objects import hold, raw_of
from symdiag.formats.reading import read_raw
from symdiag.formats.state_dict import common_prefix, find_state_dict, tidy
from symdiag.posterior import Ignored, Posterior

_FORMS = (
    "draws are several files (one network each), a list of state dicts, or tensors "
    "(draw, *shape of the weight); flat vectors of all weights must be cut into tensors first"
)
_RUNNING = ("running_mean", "running_var")


@dataclass(frozen=True)
class WeightSamples:
    """Draws of one network's weights: tensor name → (S, *shape), float64, in file order.

    ``paths`` and ``sha256`` name the files, in the order of the draws where each file holds one.
    ``chains``: the draws are this many chains of equal length, one after the other; None where
    nobody said so. ``keys``: tensor name → its key in the file, where the two differ. ``buffers``:
    running statistics (S, *shape), which move with the units.
    """

    draws: Mapping[str, Array]
    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    ignored: tuple[Ignored, ...] = ()
    chains: int | None = None
    keys: Mapping[str, str] = field(default_factory=dict)
    buffers: Mapping[str, Array] = field(default_factory=dict)

    @property
    def num_samples(self) -> int:
        """S, the number of draws."""
        return len(next(iter(self.draws.values())))

    @property
    def num_distinct(self) -> int:
        """How many of the draws differ in any weight."""
        seen = set()
        for index in range(self.num_samples):
            # hashes, so that S draws of D weights need S small keys and not a second copy
            digest = hashlib.blake2b()
            for values in self.draws.values():
                digest.update(values[index].tobytes())
            seen.add(digest.digest())
        return len(seen)

    def gaussian(self) -> Posterior:
        """The Gaussian with the draws' means and stds (ddof 1), weights taken as independent.

        Meaningful only for draws from one mode: align them first.
        """
        loc, buffers = (
            {n: v.mean(axis=0) for n, v in part.items()} for part in (self.draws, self.buffers)
        )
        return Posterior(
            loc, {name: values.std(axis=0, ddof=1) for name, values in self.draws.items()}, buffers
        )


def load_samples(source: Any, *, sample_axes: int = 1) -> WeightSamples:
    """Draws of a network's weights, from files or from memory; nothing in files is executed.

    Args:
        source: several files, each the state dict of one draw; or one file with all of them, as a
            list of state dicts, with ``sample_axes`` leading axes on every tensor, or as ArviZ
            InferenceData in netCDF (needs h5py). In memory the same: a list of modules or state
            dicts, a dict of stacked arrays, an InferenceData or DataTree.
        sample_axes: 1 for (draw, …); 2 for (chain, draw, …), the order ArviZ uses (its own files
            always have both).

    Raises:
        InputError: ``shape-mismatch`` when draws differ in names or shapes, ``non-finite``,
            ``not-samples`` when there are fewer than two draws, ``missing-package`` for a netCDF
            file without h5py, and what reading a file raises.
        UsageError: no path, or a number of axes other than 1 or 2.
    """
    if isinstance(source, WeightSamples):
        return source
    if sample_axes not in (1, 2):
        raise UsageError("1 or 2 sample axes are needed")
    group = posterior_group(source)
    if group is not None:
        return _samples([group], _with_axes(group, 2))
    items = list(source) if isinstance(source, list | tuple) else [source]
    if not items:
        raise UsageError("at least one file is needed")
    if len(items) > 1:
        raws = [_raw(item) for item in items]
        return _samples(raws, _stacked([raw.tree for raw in raws]))
    if isinstance(items[0], str | Path) and is_hdf5(Path(items[0])):
        raw, sample_axes = read_posterior_group(Path(items[0])), 2
    else:
        raw = _raw(items[0])
    members = _listed(raw.tree)
    return _samples([raw], _stacked(members) if members else _with_axes(raw, sample_axes))


def _raw(item: Any) -> RawCheckpoint:
    """A file's content, or what a live object holds."""
    if isinstance(item, str | Path):
        return read_raw(Path(item))
    return raw_of(hold(item))


@dataclass(frozen=True)
class _Draws:
    """Draws under the names of the file: key → (S, *shape), and what was left out."""

    values: dict[str, Array]
    ignored: tuple[Ignored, ...]
    chains: int | None = None


def _samples(raws: Sequence[RawCheckpoint], found: _Draws) -> WeightSamples:
    """The draws under tidy names, once it is certain that they are draws, and finite."""
    if not found.values or min(len(values) for values in found.values.values()) < 2:
        raise UnsupportedError(
            "no stack of two or more draws found", code="not-samples", hint=_FORMS
        )
    for key, values in found.values.items():
        check_finite(values, key)
    prefix = common_prefix(found.values)
    keys = {tidy(key.removeprefix(prefix)): key for key in found.values}
    return WeightSamples(
        draws={n: found.values[key] for n, key in keys.items() if not n.endswith(_RUNNING)},
        paths=tuple(raw.path for raw in raws),
        sha256=tuple(raw.sha256 for raw in raws),
        ignored=found.ignored,
        chains=found.chains,
        keys={name: key for name, key in keys.items() if name != key},
        buffers={n: found.values[key] for n, key in keys.items() if n.endswith(_RUNNING)},
    )


def _listed(tree: Tree) -> list[Tree]:
    """The state dicts of a list of them, at the root or as the one list in a dict; else nothing."""
    places: Iterator[Any] = iter([tree, *(tree.values() if isinstance(tree, Mapping) else ())])
    # one list only: two lists of state dicts in one file would be two ensembles
    for place in places:
        members = place if isinstance(place, list | tuple) else ()
        if len(members) > 1 and all(isinstance(item, Mapping) for item in members):
            return list(members)
    return []


def _stacked(trees: Sequence[Tree]) -> _Draws:
    """One state dict per draw → key → (S, *shape)."""
    members: list[dict[str, NDArray[Any]]] = []
    ignored: list[Ignored] = []
    for tree in trees:
        found = find_state_dict(tree)
        plain, buffers, left_out = leftovers(found.arrays, found.paths, ())
        slots = {**{item.name: item.loc for item in plain}, **buffers}
        members.append({name: slot.get(tree) for name, slot in slots.items()})
        ignored = [*left_out, *found.ignored]  # the members' are alike: the last one's will do
    _check_alike(members)
    # (S, *shape); by the first draw's names, which _check_alike has found to be everyone's
    values = {name: to_float64(np.stack([m[name] for m in members])) for name in members[0]}
    return _Draws(values, tuple(ignored))


def _check_alike(members: Sequence[Mapping[str, NDArray[Any]]]) -> None:
    """Raise InputError ``shape-mismatch`` unless all draws have the first one's tensors."""
    first = {name: values.shape for name, values in members[0].items()}
    for number, member in enumerate(members[1:], start=2):
        shapes = {name: values.shape for name, values in member.items()}
        # symmetric difference of (name, shape) pairs: missing, added and reshaped tensors at once
        if odd := {name for name, _ in shapes.items() ^ first.items()}:
            raise InputError(
                f"draw {number} has other tensors than the first: {listed(sorted(odd))}",
                code="shape-mismatch",
                hint="all draws must be of one network, saved alike",
            )


def _with_axes(raw: RawCheckpoint, sample_axes: int) -> _Draws:
    """Tensors (S, *shape), or (C, S, *shape) flattened to (C * S, *shape).

    Single numbers per draw (a log density, a noise scale) are left out.
    """
    found = find_state_dict(raw.tree)
    ignored = list(found.ignored)
    stored: dict[str, NDArray[Any]] = {}
    for key, values in found.arrays.items():
        if values.dtype.kind != "f" or values.ndim <= sample_axes:
            ignored.append(Ignored(key, "no tensor per draw"))
        else:
            stored[key] = values
    leading = {values.shape[:sample_axes] for values in stored.values()}
    # refused: cutting to the shortest would pair draws of one step with those of another
    if len({int(np.prod(sizes)) for sizes in leading}) > 1:
        raise InputError(
            "the leading axes differ: these tensors are not all one number of draws",
            code="shape-mismatch",
            hint=_FORMS,
        )
    # without a weight matrix per draw it is one network's own state dict
    if all(values.ndim - sample_axes < 2 for values in stored.values()):
        return _Draws({}, tuple(ignored))
    lengths = {sizes[0] for sizes in leading} if sample_axes == 2 else set()
    # equal products are not enough: (2, 6) and (3, 4) both hold twelve draws
    if len(lengths) > 1:
        raise InputError("the chain axes differ in length", code="shape-mismatch")
    flat = {
        # C order keeps a chain's draws together, one chain after the other
        key: to_float64(values).reshape(-1, *values.shape[sample_axes:])
        for key, values in stored.items()
    }
    return _Draws(flat, tuple(ignored), lengths.pop() if lengths else None)
