"""Hand-written classes, by the words in their keys: ``weight_mu``/``weight_rho``,
``mu_w``/``std_w``.

``log_sigma`` and its spellings are logs, ``logvar`` a log variance, ``var`` a variance, ``rho``
softplus^-1 of the std, ``std`` and ``scale`` the std itself (if none is negative). ``sigma`` is a
std in some code and a rho in other: there the user has to say, unless it makes no difference. In a
Pyro parameter store the constraint of the scale decides, whatever its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Arrays
from symdiag.formats.assemble import assemble, draft_from_pairs
from symdiag.formats.dialects._words import LOC, SCALE, SCALE_WORDS, meaning, split
from symdiag.formats.fields import Field, Slot, check_finite, written
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree, to_float64
from symdiag.formats.keyed import check_pair
from symdiag.formats.state_dict import find_state_dict, is_weight_like, tidy
from symdiag.formats.transforms import (
    EXP,
    EXP_HALF,
    Transform,
    stored_transform,
    transform_named,
)
from symdiag.posterior import GaussianPrior, Posterior


@dataclass(frozen=True)
class _Found:
    """A mean and a scale that belong together."""

    base: str
    loc: str
    scale: str
    word: str


def _pairs(arrays: Arrays) -> list[_Found]:
    means = {name: key for key in arrays if (name := _base(key, LOC))}
    scales = {name: key for key in arrays if (name := _base(key, SCALE))}
    words = {key: parted[1] for key in scales.values() if (parted := split(key, SCALE))}
    found = [_Found(n, key, scales[n], words[scales[n]]) for n, key in means.items() if n in scales]
    for base, key in scales.items():
        # only a log can stand beside a plain weight: `weight_scale` may well be a layer's gain
        log = SCALE_WORDS[words[key]] in (EXP, EXP_HALF)
        if base not in means and log and base in arrays and arrays[base].shape == arrays[key].shape:
            found.append(_Found(base, base, key, words[key]))
    return found


def _base(key: str, pattern: re.Pattern[str]) -> str:
    """The tensor's name in a key that holds one of the pattern's words; empty where there is none."""
    found = split(key, pattern)
    return found[0] if found else ""


class Handwritten:
    """Pairs of words; see the module's docstring."""

    name = "handwritten"
    priority = 10

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether any mean has a scale beside it."""
        return bool(_pairs(arrays))

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """The posterior.

        Raises:
            UnsupportedError: ``ambiguous-scale-transform`` when the words leave the transform open.
            InputError: ``missing-scale``, ``shape-mismatch``, ``non-finite``, ``bad-scale``.
        """
        found = _pairs(arrays)
        _check_lonely(arrays, found)
        for key in (key for pair in found for key in (pair.loc, pair.scale)):
            check_finite(to_float64(arrays[key]), key)
        paths = find_state_dict(raw.tree).paths
        meanings = _Meanings(found, arrays, options)
        fields = []
        for pair in found:
            check_pair(pair.loc, pair.scale, arrays)
            loc, scale = (Slot(paths[key], arrays[key].shape) for key in (pair.loc, pair.scale))
            # in a store values are unconstrained, whatever the name: the constraint decides, not the word
            stored = None if options.scale_transform else stored_transform(raw.tree, scale.path)
            fields.append(Field(tidy(pair.base), loc, scale, stored or meanings.of(pair.word)))
        used = [key for pair in found for key in (pair.loc, pair.scale)]
        draft = draft_from_pairs(
            raw, arrays, fields, used, prior=_global_prior(arrays, fields), notes=meanings.notes
        )
        return assemble(raw, self.name, draft)

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """``raw.tree`` with the posterior's means and scales, same keys, dtypes and structure."""
        assert posterior.source is not None
        return written(posterior, posterior.source.template, raw.tree)


class _Meanings:
    """What each word of the file means, asked once: the user's answer, or the word's own."""

    def __init__(self, found: list[_Found], arrays: Arrays, options: ReadOptions) -> None:
        self._found, self._arrays, self._options = found, arrays, options
        self._known: dict[str, tuple[Transform, str]] = {}

    def of(self, word: str) -> Transform:
        """The transform. Raises UnsupportedError ``ambiguous-scale-transform``."""
        if self._options.scale_transform:
            return transform_named(self._options.scale_transform)
        if word not in self._known:
            keys = [pair.scale for pair in self._found if pair.word == word]
            self._known[word] = meaning(word, keys, self._arrays)
        return self._known[word][0]

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed of the words asked for so far."""
        return tuple(note for _, note in self._known.values() if note)


def _check_lonely(arrays: Arrays, found: list[_Found]) -> None:
    """Raise InputError ``missing-scale`` for a weight's mean that has no scale."""
    paired = {pair.loc for pair in found}
    for key in arrays:
        base = _base(key, LOC)
        if base and key not in paired and is_weight_like(base):
            check_pair(key, _partner(key, found[0]), arrays)


def _partner(key: str, model: _Found) -> str:
    """The scale key ``key`` should have had, by analogy with a pair that is complete."""
    loc_word = split(model.loc, LOC)
    return (
        re.sub(rf"\b_?{loc_word[1]}\b|(?<=_){loc_word[1]}|{loc_word[1]}(?=_)", model.word, key)
        if loc_word
        else key
    )


def _global_prior(arrays: Arrays, fields: list[Field]) -> GaussianPrior | None:
    """A prior kept as two scalars ``prior_mu`` and ``prior_std`` (or ``prior_sigma``) for all
    weights.
    """
    means = [arrays[k] for k in ("prior_mu", "prior_mean") if k in arrays and arrays[k].size == 1]
    stds = [arrays[k] for k in ("prior_std", "prior_sigma") if k in arrays and arrays[k].size == 1]
    if not stds:
        return None
    loc = to_float64(means[0]).reshape(()) if means else np.zeros(())
    scale = to_float64(stds[0]).reshape(())
    return (
        GaussianPrior({f.name: loc for f in fields}, {f.name: scale for f in fields})
        if scale > 0
        else None
    )


DIALECT = Handwritten()
