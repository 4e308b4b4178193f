"""From located fields to a Posterior: the tensors no dialect claimed are sorted, everything is read and checked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.errors import InputError
from symdiag.formats.fields import Field, Slot, Template, check_scale, read_finite, read_scale
from symdiag.formats.interface import RawCheckpoint, to_float64
from symdiag.formats.naming import tidy
from symdiag.formats.state_dict import Path, common_prefix, dotted, find_state_dict
from symdiag.formats.transforms import IDENTITY
from symdiag.formats.tying import merge_tied
from symdiag.posterior import Covariance, GaussianPrior, Ignored, Posterior, Source

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
)


@dataclass(frozen=True)
class Draft:
    """What a dialect found: fields in file order, buffers, ignored keys and notes, prior and correlations."""

    fields: tuple[Field, ...]
    buffers: Mapping[str, Slot] = field(default_factory=dict)
    ignored: tuple[Ignored, ...] = ()
    notes: tuple[str, ...] = ()
    prior: GaussianPrior | None = None
    priors: Mapping[str, tuple[Slot, Slot]] = field(default_factory=dict)
    covariance: Covariance | None = None
    extra: Any = None


def leftovers(
    arrays: Mapping[str, NDArray[Any]], paths: Mapping[str, Path], used: Iterable[str]
) -> tuple[list[Field], dict[str, Slot], list[Ignored]]:
    """Sort the arrays no pair claimed: deterministic weights, buffers, and keys to ignore with a reason."""
    taken = set(used)
    fields: list[Field] = []
    buffers: dict[str, Slot] = {}
    ignored: list[Ignored] = []
    for key, array in arrays.items():
        if key in taken:
            continue
        slot = Slot(paths[key], array.shape)
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
    if array.dtype.kind != "f":
        return f"{array.dtype} values, not a weight"
    if array.ndim == 0:
        return "a single number, not a weight"
    return "" if _PLAIN_WEIGHT.match(key.rsplit(".", 1)[-1]) else "not recognised as a weight"


def in_file_order(
    fields: Iterable[Field], arrays: Mapping[str, Any], paths: Mapping[str, Path]
) -> tuple[Field, ...]:
    """Fields sorted by where their means stand in the file."""
    position = {paths[key]: i for i, key in enumerate(arrays)}
    return tuple(sorted(fields, key=lambda item: position[item.loc.path]))


def assemble(raw: RawCheckpoint, dialect: str, draft: Draft) -> Posterior:
    """Read every field of ``draft`` from ``raw``. Raises InputError (``non-finite``, ``bad-scale``, …)."""
    draft = _without_prefix(draft)
    _check_names(draft.fields)
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
    prior = draft.prior or _read_prior(raw, draft)
    return Posterior(loc, scale, buffers, prior, draft.covariance, source)


def _read_prior(raw: RawCheckpoint, draft: Draft) -> GaussianPrior | None:
    """The prior that the file holds tensor by tensor."""
    loc = {name: read_finite(slots[0], raw.tree) for name, slots in draft.priors.items()}
    scale = {name: read_finite(slots[1], raw.tree) for name, slots in draft.priors.items()}
    for name, values in scale.items():
        check_scale(values, values, dotted(draft.priors[name][1].path), IDENTITY)
    return GaussianPrior(loc, scale) if loc else None


def _check_names(fields: Sequence[Field]) -> None:
    seen: dict[str, Field] = {}
    for item in fields:
        if item.name in seen:
            raise InputError(
                f"two tensors of the file would both be called {item.name}",
                code="duplicate-tensor",
                hint="the file holds the same parameter under two conventions; keep one of them",
            )
        seen[item.name] = item


def _without_prefix(draft: Draft) -> Draft:
    """Names without the ``module.`` and the like that a wrapper put before all of them."""
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
        prior=prior and GaussianPrior(short(prior.loc), short(prior.scale)),
        covariance=covariance
        and replace(covariance, order=tuple(n.removeprefix(prefix) for n in covariance.order)),
    )


def _transform_names(fields: Iterable[Field]) -> str:
    names = dict.fromkeys(item.transform.name for item in fields if item.transform is not None)
    return ", ".join(names)


def _notes(raw: RawCheckpoint, draft: Draft) -> list[str]:
    notes = []
    plain = [item.name for item in draft.fields if item.scale is None and not item.joint]
    if plain:
        shown = ", ".join(plain[:4]) + (", …" if len(plain) > 4 else "")
        notes.append(f"{len(plain)} deterministic tensors (std 0): {shown}")
    arrays = [
        slot.get(raw.tree) for f in draft.fields for slot in (f.loc, f.scale) if slot is not None
    ]
    half = {str(a.dtype) for a in arrays if a.dtype == np.float16} | set(
        raw.foreign_dtypes.values()
    )
    if half:
        notes.append(f"stored in {', '.join(sorted(half))}: means and stds carry its rounding")
    unknown = [item.key for item in draft.ignored if item.reason == "not recognised as a weight"]
    if unknown:
        notes.append(
            f"{len(unknown)} tensors not recognised as weights were left out: {', '.join(unknown[:4])}"
        )
    return notes


def _tied_note(names: Sequence[str]) -> str:
    return f"{', '.join(names)} are tied: one tensor, counted once, as {names[0]}"


def draft_from_pairs(
    raw: RawCheckpoint,
    arrays: Mapping[str, NDArray[Any]],
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
