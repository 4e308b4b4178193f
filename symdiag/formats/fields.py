"""Where a file stores each tensor's mean and scale: read, checked, and put back with new values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Array
from symdiag.errors import InputError, OutputError
from symdiag.formats.interface import RawCheckpoint, Tree, to_float64
from symdiag.formats.transforms import Transform
from symdiag.formats.tree import Path, at, dotted, replaced
from symdiag.posterior import Covariance, Posterior
from symdiag.priors import GaussianPrior


@dataclass(frozen=True)
class Slot:
    """A stored array, or (with ``start``) a tensor's piece of a stored flat vector, in C order."""

    path: Path
    shape: tuple[int, ...]
    start: int | None = None

    def get(self, tree: Tree) -> NDArray[Any]:
        """The stored values, shape ``self.shape``, in the stored dtype."""
        return self.cut(at(tree, self.path))

    @property
    def stop(self) -> int:
        """Where the piece of the flat vector ends."""
        return (self.start or 0) + int(np.prod(self.shape))

    def cut(self, array: NDArray[Any]) -> NDArray[Any]:
        """This slot's values out of the whole stored array."""
        piece = array if self.start is None else array.reshape(-1)[self.start : self.stop]
        return piece.reshape(self.shape)


@dataclass(frozen=True)
class Field:
    """One tensor of the posterior: its name, where its mean is, where and how its std is stored.

    Without ``scale`` it is deterministic, unless it is ``joint``: then its spread is in the
    posterior's covariance. The ``copies`` are further places that hold the same numbers (blitz
    keeps everything twice).
    """

    name: str
    loc: Slot
    scale: Slot | None = None
    transform: Transform | None = None
    loc_copies: tuple[Slot, ...] = ()
    scale_copies: tuple[Slot, ...] = ()
    joint: bool = False


@dataclass(frozen=True)
class Template:
    """What a dialect remembers of a file in ``Source.template`` so that it can write it back.

    The ``covariance`` is the one read: while it is the posterior's, what the file stores of it
    stays as it is. ``whole`` is the file of which ``raw`` is a part, and where in it.
    """

    raw: RawCheckpoint
    fields: tuple[Field, ...]
    buffers: Mapping[str, Slot] = field(default_factory=dict)
    priors: Mapping[str, tuple[Slot, Slot]] = field(default_factory=dict)
    extra: Any = None
    covariance: Covariance | None = None
    whole: tuple[RawCheckpoint, Path] | None = None


def read_finite(slot: Slot, tree: Tree) -> Array:
    """The values of ``slot``, float64.

    Raises InputError ``unsupported-dtype`` (no floats) or ``non-finite``.
    """
    stored = slot.get(tree)
    if stored.dtype.kind != "f":
        raise InputError(
            f"{dotted(slot.path)} holds {stored.dtype} values, not floats",
            code="unsupported-dtype",
            hint="means and scales are floats; save the model before it is quantised or "
            "thresholded",
        )
    values = to_float64(stored)
    check_finite(values, dotted(slot.path))
    return values


def read_scale(item: Field, tree: Tree) -> Array:
    """The stds, float64; zeros for a deterministic tensor.

    Raises InputError ``non-finite`` or ``bad-scale``.
    """
    if item.scale is None or item.transform is None:
        return np.zeros(item.loc.shape)
    key = dotted(item.scale.path)
    stored = read_finite(item.scale, tree)
    scale = np.asarray(
        item.transform.forward(stored)
    )  # numpy gives a scalar for an array without axes
    check_scale(scale, stored, key, item.transform)
    return scale


def check_finite(values: Array, key: str) -> None:
    """Raise InputError ``non-finite`` naming the tensor, the count and the first place."""
    bad = ~np.isfinite(values)
    if bad.any():
        raise InputError(
            f"{key}: {_count(bad)} not finite, the first is {_first(values, bad)}",
            code="non-finite",
            hint="the run that wrote this checkpoint diverged; use an earlier one",
        )


def check_scale(scale: Array, stored: Array, key: str, transform: Transform) -> None:
    """Raise InputError ``bad-scale`` unless every std is positive and finite."""
    # softplus and exp underflow to 0 for a rho below -745: then no density is left to compare
    bad = ~(np.isfinite(scale) & (scale > 0))
    if transform.positive:
        bad |= stored <= 0
    if bad.any():
        raise InputError(
            f"{key}: {_count(bad)} not a positive, finite std under the {transform.name!r} "
            f"transform, the first is stored as {_first(stored, bad)}",
            code="bad-scale",
            hint="if the file stores something else than assumed, name it with --scale-transform",
        )


def _count(bad: NDArray[np.bool_]) -> str:
    number = int(bad.sum())
    return f"{number} of {bad.size} values {'is' if number == 1 else 'are'}"


def _first(values: Array, bad: NDArray[np.bool_]) -> str:
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(bad)), bad.shape))
    return f"{values[index]:g} at index {list(index)}"


def written(posterior: Posterior, template: Template, tree: Tree) -> Tree:
    """``tree`` with the posterior's values in the template's slots; unchanged ones keep their bits.

    A value that the tensor held before (a neuron that moved) gets the very bits it was stored with.

    Raises:
        OutputError: ``cannot-represent`` when a std has no stored form (a deterministic weight made
            random).
    """
    old = template.raw.tree
    changes: dict[Path, NDArray[Any]] = {}
    for item in template.fields:
        loc = posterior.loc[item.name]
        put(changes, tree, (item.loc, *item.loc_copies), _stored(loc, item.loc, old))
        scale = posterior.scale[item.name]
        if item.scale is not None:
            put(changes, tree, (item.scale, *item.scale_copies), _stored_scale(scale, item, old))
        # there is no place in the file for its std
        elif not item.joint and np.any(scale != 0):
            raise OutputError(
                f"{item.name}: deterministic in the file, cannot be given a std",
                code="cannot-represent",
            )
    for name, slot in template.buffers.items():
        put(changes, tree, (slot,), _stored(posterior.buffers[name], slot, old))
    # one tensor by tensor is what dialects store at full shape
    if isinstance(posterior.prior, GaussianPrior):
        for name, slots in template.priors.items():
            for values, slot in zip(
                (posterior.prior.loc[name], posterior.prior.scale[name]), slots, strict=True
            ):
                put(changes, tree, (slot,), _stored(np.broadcast_to(values, slot.shape), slot, old))
    return replaced(tree, changes)


def _stored(values: Array, slot: Slot, tree: Tree) -> NDArray[Any]:
    """``values`` as they are stored without a transform."""
    raw = slot.get(tree)
    return recovered(values, to_float64(raw), raw, values)


def _stored_scale(scale: Array, item: Field, tree: Tree) -> NDArray[Any]:
    assert item.scale is not None
    assert item.transform is not None
    # compared as stds, not as stored numbers: several rhos may give one std in float16
    raw = item.scale.get(tree)
    result = recovered(
        scale, item.transform.forward(to_float64(raw)), raw, item.transform.inverse(scale)
    )
    if not np.all(np.isfinite(result.astype(np.float64))):
        raise OutputError(
            f"{item.name}: a std has no stored form in {dotted(item.scale.path)}",
            code="cannot-represent",
        )
    return result


def recovered(new: Array, old: Array, raw: NDArray[Any], computed: Array) -> NDArray[Any]:
    """What to store for the values ``new``: bits that the tensor held before, wherever it can be.

    A transform and its inverse do not give back the last bit, so a unit that only moved must find
    the bits it was stored with: first at its own place, else at any place with the same value.

    Args:
        new: the values to store, any shape.
        old: what ``raw`` stands for, as many values.
        raw: the stored numbers behind ``old``.
        computed: stored form of ``new``, for values the tensor did not hold.
    """
    with np.errstate(over="ignore"):  # float16 may overflow; the caller checks what it stores
        result = computed.astype(raw.dtype)
    if old.size:
        order = np.argsort(old, axis=None, kind="stable")
        held = old.reshape(-1)[order]  # (N,), ascending
        place = np.minimum(np.searchsorted(held, new), held.size - 1)  # like new
        result = np.where(held[place] == new, raw.reshape(-1)[order][place], result)
    return np.where(new == old, raw, result).astype(raw.dtype, copy=False)


def put(
    changes: dict[Path, NDArray[Any]], tree: Tree, slots: Sequence[Slot], values: NDArray[Any]
) -> None:
    """Note in ``changes`` that ``values`` go into ``slots``; pieces of one flat vector add up."""
    for slot in slots:
        array = changes.get(slot.path)
        if array is None:
            # a copy, in C order, because pieces of a flat vector are put through reshape(-1), a
            # view then
            array = changes[slot.path] = np.array(at(tree, slot.path), order="C")
        if slot.start is None:
            array[...] = values.reshape(array.shape)
        else:
            array.reshape(-1)[slot.start : slot.start + values.size] = values.reshape(-1)


def flat_slots(
    path: Path, shapes: Mapping[str, tuple[int, ...]], start: int = 0
) -> dict[str, Slot]:
    """One slot per tensor of ``shapes`` (in that order) in the flat vector at ``path``."""
    slots: dict[str, Slot] = {}
    for name, shape in shapes.items():
        slots[name] = Slot(path, tuple(shape), start)
        start += int(np.prod(shape))
    return slots


def total_size(shapes: Iterable[tuple[int, ...]]) -> int:
    """Number of scalars in tensors of these shapes."""
    return sum(int(np.prod(shape)) for shape in shapes)
