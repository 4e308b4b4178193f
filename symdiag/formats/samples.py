"""Posteriors given as draws: ensemble members in several files, a list of state dicts, or a leading sample axis."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array
from symdiag.errors import InputError, UnsupportedError, UsageError
from symdiag.formats.assemble import leftovers
from symdiag.formats.fields import check_finite
from symdiag.formats.inference_data import is_hdf5, read_posterior_group
from symdiag.formats.interface import RawCheckpoint, Tree, to_float64
from symdiag.formats.naming import tidy
from symdiag.formats.quoting import listed
from symdiag.formats.reading import read_raw
from symdiag.formats.state_dict import common_prefix, find_state_dict
from symdiag.posterior import Ignored, Posterior

_FORMS = (
    "draws are several files (one network each), a list of state dicts, or tensors (draw, *shape of the weight); "
    "flat vectors of all weights must be cut into tensors first"
)
_RUNNING = ("running_mean", "running_var")


@dataclass(frozen=True)
class WeightSamples:
    """Draws of one network's weights: tensor name → (S, *shape), float64, in file order.

    ``paths`` and ``sha256`` name the files, in the order of the draws where each file holds one. ``chains``: the draws
    are this many chains of equal length, one after the other; None where nobody said so. ``keys``: tensor name → its
    key in the file, where the two differ. ``buffers``: running statistics (S, *shape), which move with the units.
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


def load_samples(
    paths: str | Path | Sequence[str | Path], *, sample_axes: int = 1
) -> WeightSamples:
    """Read draws of a network's weights; nothing in the files is executed.

    Args:
        paths: several files, each the state dict of one draw; or one file with all of them, as a list of state dicts,
            with ``sample_axes`` leading axes on every tensor, or as ArviZ InferenceData in netCDF (needs h5py).
        sample_axes: 1 for (draw, …); 2 for (chain, draw, …), the order ArviZ uses (its own files always have both).

    Raises:
        InputError: ``shape-mismatch`` when draws differ in names or shapes, ``non-finite``, ``not-samples`` when
            there are fewer than two draws, ``missing-package`` for a netCDF file without h5py, and what reading a file
            raises.
        UsageError: no path, or a number of axes other than 1 or 2.
    """
    files = [Path(paths)] if isinstance(paths, str | Path) else [Path(path) for path in paths]
    if not files or sample_axes not in (1, 2):
        raise UsageError("at least one file, and 1 or 2 sample axes, are needed")
    if len(files) == 1 and is_hdf5(files[0]):
        raws, sample_axes = [read_posterior_group(files[0])], 2
    else:
        raws = [read_raw(path) for path in files]
    chains = None
    if len(raws) == 1:
        members = _listed(raws[0].tree)
        draws, ignored = _stacked(members) if members else _with_axes(raws[0], sample_axes)
        chains = None if members or sample_axes == 1 else _chains(raws[0], draws)
    else:
        draws, ignored = _stacked([raw.tree for raw in raws])
    if not draws or min(len(values) for values in draws.values()) < 2:
        raise UnsupportedError(
            "no stack of two or more draws found",
            code="not-samples",
            hint=_FORMS,
        )
    for name, values in draws.items():
        check_finite(values, name)
    prefix = common_prefix(draws)
    keys = {tidy(name.removeprefix(prefix)): name for name in draws}
    return WeightSamples(
        draws={name: draws[key] for name, key in keys.items() if not name.endswith(_RUNNING)},
        paths=tuple(raw.path for raw in raws),
        sha256=tuple(raw.sha256 for raw in raws),
        ignored=ignored,
        chains=chains,
        keys={name: key for name, key in keys.items() if name != key},
        buffers={name: draws[key] for name, key in keys.items() if name.endswith(_RUNNING)},
    )


def _listed(tree: Tree) -> list[Tree]:
    """The state dicts of a list of them, at the root or as the one list in a dict; empty when there is none."""
    places: Iterator[Any] = iter([tree, *(tree.values() if isinstance(tree, Mapping) else ())])
    for place in places:
        if (
            isinstance(place, list | tuple)
            and len(place) > 1
            and all(isinstance(item, Mapping) for item in place)
        ):
            return list(place)
    return []


def _stacked(trees: Sequence[Tree]) -> tuple[dict[str, Array], tuple[Ignored, ...]]:
    """One state dict per draw → name → (S, *shape)."""
    members, ignored = [], []
    for tree in trees:
        found = find_state_dict(tree)
        plain, buffers, left_out = leftovers(found.arrays, found.paths, ())
        slots = {**{item.name: item.loc for item in plain}, **buffers}
        members.append({name: slot.get(tree) for name, slot in slots.items()})
        ignored = [*left_out, *found.ignored]
    first = {name: values.shape for name, values in members[0].items()}
    for number, member in enumerate(members[1:], start=2):
        if {name: values.shape for name, values in member.items()} != first:
            odd = {name: values.shape for name, values in member.items()}.items() ^ first.items()
            raise InputError(
                f"draw {number} has other tensors than the first: {listed(sorted({name for name, _ in odd}))}",
                code="shape-mismatch",
                hint="all draws must be of one network, saved alike",
            )
    return {
        name: to_float64(np.stack([member[name] for member in members])) for name in first
    }, tuple(ignored)


def _with_axes(
    raw: RawCheckpoint, sample_axes: int
) -> tuple[dict[str, Array], tuple[Ignored, ...]]:
    """Tensors (S, *shape), or (C, S, *shape) flattened to (C * S, *shape); single numbers per draw are left out."""
    found = find_state_dict(raw.tree)
    draws: dict[str, Array] = {}
    ignored = list(found.ignored)
    for key, values in found.arrays.items():
        if values.dtype.kind != "f" or values.ndim <= sample_axes:
            ignored.append(Ignored(key, "no tensor per draw"))
        else:
            draws[key] = _flattened(values, sample_axes)
    if len({len(values) for values in draws.values()}) > 1:
        raise InputError(
            "the leading axes differ: these tensors are not all one number of draws",
            code="shape-mismatch",
            hint=_FORMS,
        )
    if all(values.ndim < 3 for values in draws.values()):
        draws = {}  # no weight matrix per draw: one network's own state dict looks like this
    return draws, tuple(ignored)


def _chains(raw: RawCheckpoint, draws: Mapping[str, Array]) -> int | None:
    """The length of the chain axis, which every tensor must share."""
    arrays = find_state_dict(raw.tree).arrays
    lengths = {arrays[name].shape[0] for name in draws}
    if len(lengths) > 1:
        raise InputError("the chain axes differ in length", code="shape-mismatch")
    return lengths.pop() if lengths else None


def _flattened(values: NDArray[Any], sample_axes: int) -> Array:
    return to_float64(values).reshape(-1, *values.shape[sample_axes:])
