"""Hand-written classes, by the words in their keys: ``weight_mu``/``weight_rho``,
``mu_w``/``std_w``.

``log_sigma`` and its spellings are logs, ``logvar`` a log variance, ``var`` a variance, ``rho``
softplus^-1 of the std, ``std`` and ``scale`` the std itself (if none is negative). ``sigma`` is a
std in some code and a rho in other: there the user has to say, unless it makes no difference. In a
Pyro parameter store the constraint of the scale decides, whatever its name.
"""

from __future__ import annotations

import math
import re
from collections.abc import Set
from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Arrays
from symdiag.formats.assemble import assemble, draft_from_pairs
from symdiag.formats.dialects._words import LOC, SCALE, SCALE_WORDS, meaning, split
from symdiag.formats.fields import Field, Slot, check_finite, written
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree, to_float64
from symdiag.formats.keyed import check_pair
from symdiag.formats.state_dict import find_state_dict, is_matrix, is_weight_like, tidy
from symdiag.formats.transforms import (
    EXP,
    EXP_HALF,
    IDENTITY,
    SQRT,
    Transform,
    stored_transform,
    transform_named,
)
from symdiag.posterior import Ignored, Posterior
from symdiag.priors import GaussianPrior

_GAINS = ("scale", "var", "variance")
"""Words that stand beside a plain weight for other things: a layer's gain, a running square."""

_DATA = re.compile(
    r"(^|[._])(x|y|in|out|inputs?|outputs?|features?|targets?|labels?|data|obs|state|scaler|norm\w*)$",
    re.IGNORECASE,
)
"""Names of mean and std of what goes into a network or comes out of it."""


@dataclass(frozen=True)
class _Found:
    """A mean and a scale that belong together."""

    base: str
    loc: str
    scale: str
    word: str
    loc_word: str = ""  # empty where the mean is a plain weight

    @property
    def layer(self) -> str:
        """The part of the name before the tensor's own."""
        return tidy(self.base).rpartition(".")[0]


def _pairs(arrays: Arrays) -> tuple[list[_Found], list[_Found]]:
    """Pairs of weights, and pairs that describe the data."""
    means, scales = _named(arrays, LOC), _named(arrays, SCALE)
    found = [
        _Found(base, key, *scales[base], word)
        for base, (key, word) in means.items()
        if base in scales
    ]
    beside = [
        _Found(base, base, key, word)
        for base, (key, word) in scales.items()
        if base not in means and word not in _GAINS
        if base in arrays and arrays[base].shape == arrays[key].shape
    ]
    # a vector beside a vector may be anything; one for each entry of a matrix is its scale
    matrices = {pair.word for pair in beside if arrays[pair.loc].ndim > 1}
    found += [pair for pair in beside if pair.word in matrices or _is_log(pair.word)]
    weights = [pair for pair in found if is_matrix(arrays[pair.loc])]
    # where no matrix is random, vectors belong to a plain network, or else are all that there is
    if not weights and not any(is_matrix(array) for array in arrays.values()):
        return found, []
    parted: tuple[list[_Found], list[_Found]] = [], []
    layers = {pair.layer for pair in weights}
    words = {(pair.loc_word, pair.word) for pair in weights}
    for pair in found:
        parted[_describes_data(pair, arrays[pair.loc].shape, layers, words)].append(pair)
    return parted


def _named(arrays: Arrays, pattern: re.Pattern[str]) -> dict[str, tuple[str, str]]:
    """Tensor's name → (key, word) of the keys that hold one of the pattern's words beside a name."""
    parted = ((key, split(key, pattern)) for key in arrays)
    return {named[0]: (key, named[1]) for key, named in parted if named and named[0]}


def _describes_data(
    pair: _Found, shape: tuple[int, ...], layers: Set[str], words: Set[tuple[str, str]]
) -> bool:
    """Whether these are the mean and std of inputs or targets, kept beside the network.

    They are vectors or numbers, of none of the weights' ``layers``, and spelt otherwise than the
    weights are (``words``) or called after what they describe.
    """
    plain = SCALE_WORDS[pair.word] in (IDENTITY, SQRT, None)  # nobody stores the log of a data std
    if not plain or is_weight_like(pair.base) or math.prod(shape) != max(shape, default=1):
        return False
    # a layer's own bias, also where its weight is called like the layer
    if tidy(pair.base) in layers or (pair.layer and pair.layer in layers):
        return False
    called = len(shape) < 2 and _DATA.search(pair.base) is not None
    return called or (pair.loc_word, pair.word) not in words


def _is_log(word: str) -> bool:
    return SCALE_WORDS[word] in (EXP, EXP_HALF)


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
        return bool(_pairs(arrays)[0])

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """The posterior.

        Raises:
            UnsupportedError: ``ambiguous-scale-transform`` when the words leave the transform open.
            InputError: ``missing-scale``, ``shape-mismatch``, ``non-finite``, ``bad-scale``.
        """
        found, data = _pairs(arrays)
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
        known = [key for pair in data for key in (pair.loc, pair.scale)]
        draft = draft_from_pairs(
            raw,
            arrays,
            fields,
            [*used, *known],
            prior=_global_prior(arrays, fields),
            notes=meanings.notes,
            ignored=tuple(Ignored(key, "mean or std of the data, no weight") for key in known),
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
    found = split(key, LOC)
    assert found is not None
    word = found[1]
    return re.sub(rf"{word}(?!.*{word})", model.word, key, flags=re.IGNORECASE)


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
