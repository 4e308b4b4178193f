"""From located fields to a Posterior: the tensors no dialect claimed are sorted, everything is read
and checked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.arrays import Arrays
from symdiag.errors import InputError
from symdiag.formats.fields import Field, Slot, Template, check_scale, read_finite, read_scale
from symdiag.formats.interface import RawCheckpoint, to_float64
from symdiag.formats.state_dict import common_prefix, find_state_dict, tidy
from symdiag.formats.transforms import IDENTITY
from symdiag.formats.tree import Path, dotted
from symdiag.posterior import Covariance, Ignored, Posterior, Source
from symdiag.priors import GaussianPrior, Prior

_PLAIN_WEIGHT = re.compile(
    r"^(weight|bias|w|b|kernel|gamma|beta|alpha|scale|embedding"
    r"|(in_proj|out_proj|q_proj|k_proj|v_proj)_(weight|bias)|bias_[kv]|cls_token|pos_\w+"
    r"|(weight|bias)_[ih]h(_l\d+)?(_reverse)?|(weight|bias|w|b)_?\d+|weight_[gv])$",
    re.I,
)
_RUNNING = re.compile(r"running_(mean|var)$")
_NOT_WEIGHTS = (
    (re.compile(r"(^|[._])eps(ilon)?([._]|$)"), "a noise draw, not a weight"),
    (re.compile(r"_sampler\."), "a copy or noise draw kept by a sampler, not a weight"),
    (re.compile(r"prior", re.I), "belongs to the prior, not a weight"),
    (re.compile(r"^AutoDelta\."), "a point estimate of another guide, not a weight"),
)


@dataclass(frozen=True)
class Draft:
    """What a dialect found: fields in file order, buffers, ignored keys and notes, prior and
    correlations.
    """

    fields: tuple[Field, ...]
    buffers: Mapping[str, Slot] = field(default_factory=dict)
    ignored: tuple[Ignored, ...] = ()
    notes: tuple[str, ...] = ()
    prior: Prior | None = None
    priors: Mapping[str, tuple[Slot, Slot]] = field(default_factory=dict)
    covariance: Covariance | None = None
    extra: Any = None


def leftovers(
    arrays: Arrays, paths: Mapping[str, Path], used: Iterable[str]
) -> tuple[list[Field], dict[str, Slot], list[Ignored]]:
    """Sort the arrays no pair claimed: deterministic weights, buffers, and keys to ignore with a
    reason.
    """
    taken = set(used)
    fields: list[Field] = []
    buffers: dict[str, Slot] = {}
    ignored: list[Ignored] = []
    for key, array in arrays.items():
        if key in taken:
            continue
        slot = Slot(paths[key], array.shape)
        # running statistics move with the units of their layer but carry no uncertainty: they are
        # no weights, and yet must be permuted with them
        if _RUNNING.search(key):
            buffers[key] = slot
        elif reason := _why_ignored(key, array):
            ignored.append(Ignored(key, reason))
        else:
            fields.append(Field(tidy(key), slot))
    return fields, buffers, ignored


def _why_ignored(key: str, array: NDArray[Any]) -> str:
    """Why ``key`` is not read as a deterministic weight; empty when it is one."""
    for pattern, reason in _NOT_WEIGHTS:
        if pattern.search(key):
            return reason
    # step counters, masks and quantised tensors have weights' shapes, too
    if array.dtype.kind != "f":
        return f"{array.dtype} values, not a weight"
    if array.ndim == 0:
        return "a single number, not a weight"
    # by its last name only: layers may be called anything
    return "" if _PLAIN_WEIGHT.match(key.rsplit(".", 1)[-1]) else "not recognised as a weight"


def in_file_order(
    fields: Iterable[Field], arrays: Mapping[str, Any], paths: Mapping[str, Path]
) -> tuple[Field, ...]:
    """Fields sorted by where their means stand in the file."""
    # dialects find pairs first and plain weights later; networks are read in file order
    position = {paths[key]: i for i, key in enumerate(arrays)}
    return tuple(sorted(fields, key=lambda item: position[item.loc.path]))


def assemble(raw: RawCheckpoint, dialect: str, draft: Draft) -> Posterior:
    """Read every field of ``draft`` from ``raw``.

    Raises InputError (``non-finite``, ``bad-scale``, …).
    """
    # before anything is named in a message or a report
    draft = _without_prefix(draft)
    _check_names(draft.fields)
    # merged before anything is read: a tied tensor listed twice would be counted as two layers
    fields, tied = merge_tied(draft.fields, raw)
    draft = replace(draft, fields=fields)
    loc = {item.name: read_finite(item.loc, raw.tree) for item in draft.fields}
    scale = {item.name: read_scale(item, raw.tree) for item in draft.fields}
    source = Source(
        path=raw.path,
        sha256=raw.sha256,
        container=raw.container,
        dialect=dialect,
        scale_transform=_transform_names(draft.fields),
        metadata=dict(raw.metadata),
        ignored=draft.ignored,
        notes=(*draft.notes, *_notes(raw, draft), *(_tied_note(names) for names in tied)),
        template=Template(raw, draft.fields, draft.buffers, draft.priors, draft.extra),
        tied=tied,
    )
    buffers = {name: to_float64(slot.get(raw.tree)) for name, slot in draft.buffers.items()}
    # a dialect's own reading of the prior outranks one tensor by tensor
    prior = draft.prior or _read_prior(raw, draft)
    return Posterior(loc, scale, buffers, prior, draft.covariance, source)


def _read_prior(raw: RawCheckpoint, draft: Draft) -> GaussianPrior | None:
    """The prior that the file holds tensor by tensor."""
    loc = {name: read_finite(slots[0], raw.tree) for name, slots in draft.priors.items()}
    scale = {name: read_finite(slots[1], raw.tree) for name, slots in draft.priors.items()}
    # a file's prior is held to the posterior's rules: a std of 0 or below would make every density
    # ratio against it infinite
    for name, values in scale.items():
        check_scale(values, values, dotted(draft.priors[name][1].path), IDENTITY)
    return GaussianPrior(loc, scale) if loc else None


def _check_names(fields: Sequence[Field]) -> None:
    seen: dict[str, Field] = {}
    for item in fields:
        # refused, not renamed: who asks for the name later could not know which of the two it gets
        if item.name in seen:
            raise InputError(
                f"two tensors of the file would both be called {item.name}",
                code="duplicate-tensor",
                hint="the file holds the same parameter under two conventions; keep one of them",
            )
        seen[item.name] = item


def _without_prefix(draft: Draft) -> Draft:
    """Names without the ``module.`` and the like that a wrapper put before all of them."""
    # buffers count, too: a prefix that the running statistics lack is part of a layer's name
    prefix = common_prefix([*(item.name for item in draft.fields), *draft.buffers])
    if not prefix:
        return draft

    def short(names: Mapping[str, Any]) -> dict[str, Any]:
        return {name.removeprefix(prefix): value for name, value in names.items()}

    prior, covariance = draft.prior, draft.covariance
    return replace(
        draft,
        fields=tuple(replace(item, name=item.name.removeprefix(prefix)) for item in draft.fields),
        buffers=short(draft.buffers),
        priors=short(draft.priors),
        notes=(*draft.notes, f"wrapper prefix {prefix!r} left out of the names"),
        prior=prior and prior.renamed(lambda name: name.removeprefix(prefix)),
        covariance=covariance
        and replace(covariance, order=tuple(n.removeprefix(prefix) for n in covariance.order)),
    )


def _transform_names(fields: Iterable[Field]) -> str:
    names = dict.fromkeys(item.transform.name for item in fields if item.transform is not None)
    return ", ".join(names)


def _notes(raw: RawCheckpoint, draft: Draft) -> list[str]:
    notes = []
    # joint ones have no scale of their own because a covariance over all of them holds it
    plain = [item.name for item in draft.fields if item.scale is None and not item.joint]
    if plain:
        shown = ", ".join(plain[:4]) + (", …" if len(plain) > 4 else "")
        notes.append(f"{len(plain)} deterministic tensors (std 0): {shown}")
    arrays = [
        slot.get(raw.tree) for f in draft.fields for slot in (f.loc, f.scale) if slot is not None
    ]
    # a std of 1e-8 is 0 in float16: whoever reads a precision from it should know
    half = {str(a.dtype) for a in arrays if a.dtype == np.float16} | set(
        raw.foreign_dtypes.values()
    )
    if half:
        notes.append(f"stored in {', '.join(sorted(half))}: means and stds carry its rounding")
    unknown = [item.key for item in draft.ignored if item.reason == "not recognised as a weight"]
    if unknown:
        notes.append(
            f"{len(unknown)} tensors not recognised as weights were left out: "
            f"{', '.join(unknown[:4])}"
        )
    return notes


def _tied_note(names: Sequence[str]) -> str:
    return f"{', '.join(names)} are tied: one tensor, counted once, as {names[0]}"


def draft_from_pairs(
    raw: RawCheckpoint,
    arrays: Arrays,
    fields: Sequence[Field],
    used: Iterable[str],
    **parts: Any,
) -> Draft:
    """A draft of the given Bayesian fields plus everything else the state dict holds."""
    found = find_state_dict(raw.tree)
    plain, buffers, ignored = leftovers(arrays, found.paths, used)
    return Draft(
        fields=in_file_order([*fields, *plain], arrays, found.paths),
        buffers=buffers,
        ignored=(*parts.pop("ignored", ()), *ignored, *found.ignored),
        **parts,
    )


def merge_tied(
    fields: Sequence[Field], raw: RawCheckpoint
) -> tuple[tuple[Field, ...], tuple[tuple[str, ...], ...]]:
    """``fields`` with every repeated tensor once, its other places as copies to write to; and the
    sets of names.

    A tensor repeats another if both means are one tensor in the file, and both stds too, or only
    one has a std (an optimiser keeps one for each parameter, a state dict lists the parameter under
    all its names). Counted twice, its units would seem farther apart than they are; counted once as
    deterministic, they could not move at all.
    """
    kept: list[Field] = []
    names: dict[str, list[str]] = {}
    # storage, not equality, makes tensors one: zeros of two biases are equal and not tied
    sharing = {key: number for number, group in enumerate(raw.tied) for key in group}
    candidates: dict[int, list[int]] = {}
    for item in fields:
        group = sharing.get(dotted(item.loc.path))
        earlier = [] if group is None else candidates.setdefault(group, [])
        # within a group of one storage only: a view of another shape is no second name for the
        # tensor
        position = next((i for i in earlier if _same(item, kept[i], raw)), None)
        if position is None:
            earlier.append(len(kept))
            kept.append(item)
            continue
        known = kept[position]
        names.setdefault(known.name, [known.name]).append(item.name)
        kept[position] = _joined(known, item)
    return tuple(kept), tuple(tuple(group) for group in names.values())


def _joined(known: Field, again: Field) -> Field:
    """``known`` with the places of ``again`` as copies, and its std if only ``again`` has one."""
    # every place is written to, or the library would load one new and one old tensor
    copies = (*known.loc_copies, again.loc, *again.loc_copies)
    if known.scale is None and again.scale is not None:
        known = replace(
            known, scale=again.scale, transform=again.transform, scale_copies=again.scale_copies
        )
    elif again.scale is not None:
        known = replace(known, scale_copies=(*known.scale_copies, again.scale, *again.scale_copies))
    return replace(known, loc_copies=copies, joint=known.joint or again.joint)


def _same(one: Field, other: Field, raw: RawCheckpoint) -> bool:
    # equal stds do not tie two means
    if not _one_tensor(one.loc, other.loc, raw):
        return False
    return one.scale is None or other.scale is None or _one_tensor(one.scale, other.scale, raw)


def _one_tensor(one: Slot, other: Slot, raw: RawCheckpoint) -> bool:
    """Whether two slots are whole tensors, of one shape and storage, with the same numbers."""
    if one.start is not None or other.start is not None or one.shape != other.shape:
        return False
    keys = {dotted(one.path), dotted(other.path)}
    shared = any(keys <= set(group) for group in raw.tied)
    return shared and np.array_equal(one.get(raw.tree), other.get(raw.tree), equal_nan=True)
