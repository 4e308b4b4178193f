"""Hand-written classes, by the words in their keys: ``weight_mu``/``weight_rho``,
``mu_w``/``log_sigma_w``, ….

Words settle the transform only where everybody means the same by them: ``log_sigma`` and its
spellings are logs, ``logvar`` a log variance, ``var`` a variance, ``std`` and ``scale`` a std (if
all positive). ``rho`` is softplus in most code and exp in some; ``sigma`` is a std in some and a
rho in other: for these the user has to say. In a Pyro parameter store the constraint of the scale
decides, whatever its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from symdiag.arrays import Arrays
from symdiag.formats.assemble import assemble, draft_from_pairs
from symdiag.formats.fields import Field, Slot, check_finite, written
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree, to_float64
from symdiag.formats.keyed import check_pair
from symdiag.formats.state_dict import find_state_dict, is_weight_like, tidy
from symdiag.formats.transforms import (
    EXP,
    EXP_HALF,
    IDENTITY,
    SQRT,
    Transform,
    ambiguous,
    stored_transform,
    transform_named,
)
from symdiag.posterior import GaussianPrior, Posterior

_LOC_WORDS = ("mu", "mean", "loc")
_SCALE_WORDS: dict[str, Transform | None] = {
    **dict.fromkeys(
        ("log_sigma", "logsigma", "log_std", "logstd", "log_sd", "logsd", "log_scale", "logscale"),
        EXP,
    ),
    **dict.fromkeys(("log_var", "logvar", "log_variance", "logvariance"), EXP_HALF),
    **dict.fromkeys(("std", "stddev", "sd", "scale"), IDENTITY),
    **dict.fromkeys(("var", "variance"), SQRT),
    **dict.fromkeys(("rho", "sigma", "p"), None),
}
_NOT_A_POSTERIOR = re.compile(r"prior|running_(mean|var)$|_sampler\.|(^|[._])eps([._]|$)", re.I)


def _splitter(words: tuple[str, ...]) -> re.Pattern[str]:
    either = "|".join(sorted(words, key=len, reverse=True))
    before, after = (
        rf"(?P<pre>{either})_(?P<rest>[^.]+)",
        rf"(?:(?P<base>[^.]+?)_)??(?P<post>{either})",
    )
    return re.compile(rf"^(?P<head>(?:.*\.)?)_?(?:{before}|{after})$")


_LOC = _splitter(_LOC_WORDS)
_SCALE = _splitter(tuple(_SCALE_WORDS))


def _split(key: str, pattern: re.Pattern[str]) -> tuple[str, str] | None:
    """(name of the tensor, word) of a key such as ``fc1.weight_mu`` or ``fc1.mu_weight``."""
    match = pattern.match(key)
    if match is None or _NOT_A_POSTERIOR.search(key):
        return None
    if match["pre"]:
        return match["head"] + match["rest"], match["pre"]
    base = f"{match['head']}{match['base'] or ''}".rstrip("._")
    return (base, match["post"]) if base else None


@dataclass(frozen=True)
class _Found:
    """A mean and a scale that belong together."""

    base: str
    loc: str
    scale: str
    word: str


def _pairs(arrays: Arrays) -> list[_Found]:
    means = {split[0]: key for key in arrays if (split := _split(key, _LOC))}
    scales = {split[0]: (key, split[1]) for key in arrays if (split := _split(key, _SCALE))}
    found = [_Found(base, key, *scales[base]) for base, key in means.items() if base in scales]
    for base, (key, word) in scales.items():
        # only a log can stand beside a plain weight: `weight_scale` may well be a layer's gain
        log = _SCALE_WORDS[word] in (EXP, EXP_HALF)
        if base not in means and log and base in arrays and arrays[base].shape == arrays[key].shape:
            found.append(
                _Found(base, base, key, word)
            )  # a plain ``weight`` beside ``weight_logvar``
    return found


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
        paths = find_state_dict(raw.tree).paths
        fields = []
        for key in (key for pair in found for key in (pair.loc, pair.scale)):
            check_finite(to_float64(arrays[key]), key)
        for pair in found:
            check_pair(pair.loc, pair.scale, arrays)
            loc, scale = (Slot(paths[key], arrays[key].shape) for key in (pair.loc, pair.scale))
            transform = None if options.scale_transform else stored_transform(raw.tree, scale.path)
            fields.append(
                Field(
                    tidy(pair.base),
                    loc,
                    scale,
                    transform or _transform(pair, found, arrays, options),
                )
            )
        used = [key for pair in found for key in (pair.loc, pair.scale)]
        prior = _global_prior(arrays, fields)
        return assemble(raw, self.name, draft_from_pairs(raw, arrays, fields, used, prior=prior))

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """``raw.tree`` with the posterior's means and scales, same keys, dtypes and structure."""
        assert posterior.source is not None
        return written(posterior, posterior.source.template, raw.tree)


def _transform(
    pair: _Found, found: list[_Found], arrays: Arrays, options: ReadOptions
) -> Transform:
    if options.scale_transform:
        return transform_named(options.scale_transform)
    transform = _SCALE_WORDS[pair.word]
    if transform is None:
        raise ambiguous([f.scale for f in found if f.word == pair.word], arrays)
    return transform


def _check_lonely(arrays: Arrays, found: list[_Found]) -> None:
    """Raise InputError ``missing-scale`` for a weight's mean that has no scale."""
    paired = {pair.loc for pair in found}
    for key in arrays:
        split = _split(key, _LOC)
        if split and key not in paired and is_weight_like(split[0]):
            check_pair(key, _partner(key, found[0]), arrays)


def _partner(key: str, model: _Found) -> str:
    """The scale key ``key`` should have had, by analogy with a pair that is complete."""
    loc_word = _split(model.loc, _LOC)
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
