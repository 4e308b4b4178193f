"""The common kind of dialect: one key for the mean and one for the scale of each tensor, told apart
by their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from symdiag.arrays import Arrays
from symdiag.errors import InputError
from symdiag.formats.assemble import assemble, draft_from_pairs
from symdiag.formats.fields import Field, Slot, Template, check_finite, written
from symdiag.formats.interface import RawCheckpoint, ReadOptions, Tree, to_float64
from symdiag.formats.state_dict import find_state_dict, tidy
from symdiag.formats.transforms import Transform, stored_transform, transform_named
from symdiag.formats.tree import Path
from symdiag.posterior import Ignored, Posterior
from symdiag.priors import Prior

_ANY = r"[^.]+?"


@dataclass(frozen=True)
class Pair:
    """Where the mean and the scale of one tensor are, by key, and what they were called in the
    file's terms.
    """

    layer: str
    part: str
    name: str
    loc: str
    scale: str


@dataclass(frozen=True)
class KeyedDialect:
    """A library that stores ``loc`` and ``scale`` of each tensor under keys made from templates.

    Templates hold ``{layer}`` (the module's prefix with its trailing dot, or nothing) and
    ``{part}``. A pair counts only when every key of ``requires`` is there as well: that is what
    makes the pattern the *library's*.

    Attributes:
        name: the dialect's name in reports.
        priority: higher is asked first.
        transform: what turns the stored scale into a std.
        loc: template of the mean's key.
        scale: template of the scale's key.
        parts: the file's word for a tensor → parameter name; empty: any word, kept.
        requires: templates of keys that must accompany each pair.
        loc_copies: templates of keys that hold the mean again.
        scale_copies: templates of keys that hold the scale again.
        unpaired: why a pair without its ``requires`` is ignored; empty: it is read like the others.
        prior_loc: template of the key of the prior's mean (of the tensor's shape); ``{word}`` is
            weight or bias.
        prior_scale: the same for the prior's std.
    """

    name: str
    priority: int
    transform: Transform
    loc: str
    scale: str
    parts: Mapping[str, str] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    loc_copies: tuple[str, ...] = ()
    scale_copies: tuple[str, ...] = ()
    unpaired: str = ""
    prior_loc: str = ""
    prior_scale: str = ""

    def pairs(self, arrays: Arrays) -> Iterator[Pair]:
        """Every pair of keys of this dialect, with or without what it ``requires``."""
        # templates become patterns, so that a file's keys need only one pass
        pattern = self._pattern(self.loc)
        for key in arrays:
            if match := pattern.match(key):
                layer, part = match["layer"], match["part"]
                scale = self.scale.format(layer=layer, part=part)
                yield Pair(layer, part, self._name(layer, part), key, scale)

    def complete(self, pair: Pair, arrays: Arrays) -> bool:
        """Whether the scale and everything ``requires`` names is there."""
        needed = (t.format(layer=pair.layer, part=pair.part) for t in self.requires)
        return pair.scale in arrays and all(key in arrays for key in needed)

    def matches(self, raw: RawCheckpoint, arrays: Arrays) -> bool:
        """Whether at least one pair shows the library's full key pattern, and none like it would be
        left unread.
        """
        return any(
            self.complete(pair, arrays) for pair in self.pairs(arrays)
        ) and not self._strangers(arrays)

    def _strangers(self, arrays: Arrays) -> bool:
        """Whether pairs are spelt like the library's but hold tensors its layers do not have (an
        LSTM's, a norm's).

        The file is then somebody's own, whatever some of its keys look like. Keys that must
        accompany a pair settle it.
        """
        # a dialect that takes any word for a part has no strangers
        if not self.parts or self.requires:
            return False
        # any word in the place of {part}, to see what the library's own words leave out
        found = (match for key in arrays if (match := _compiled(self.loc, _ANY).match(key)))
        return any(
            match["part"] not in self.parts
            and self.scale.format(layer=match["layer"], part=match["part"]) in arrays
            for match in found
        )

    def read(self, raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
        """The posterior.

        Raises InputError ``missing-scale``, ``shape-mismatch``, ``non-finite``, ``bad-scale``.
        """
        fields: dict[str, Field] = {}
        used: set[str] = set()
        ignored: list[Ignored] = []
        paths = find_state_dict(raw.tree).paths
        for pair in self.pairs(arrays):
            copies = [self._existing(t, pair, arrays) for t in (self.loc_copies, self.scale_copies)]
            used |= {pair.loc, pair.scale, *copies[0], *copies[1]}
            # blitz keeps a bias it does not use when a layer is made without one
            if self.unpaired and not self.complete(pair, arrays):
                ignored += [
                    Ignored(key, self.unpaired) for key in (pair.loc, pair.scale) if key in arrays
                ]
                continue
            check_pair(pair.loc, pair.scale, arrays)
            # copies that differ mean a tool edited one of them; which one the library would use is
            # unknown
            check_copies(pair.loc, copies[0], arrays)
            check_copies(pair.scale, copies[1], arrays)
            loc, *loc_copies = (
                Slot(paths[key], arrays[key].shape) for key in (pair.loc, *copies[0])
            )
            scale, *scale_copies = (
                Slot(paths[key], arrays[key].shape) for key in (pair.scale, *copies[1])
            )
            transform = self._transform(pair, raw, paths[pair.scale], arrays, options)
            fields[pair.loc] = Field(
                pair.name, loc, scale, transform, tuple(loc_copies), tuple(scale_copies)
            )
            ignored += [
                Ignored(key, "the same numbers once more") for key in (*copies[0], *copies[1])
            ]
        # torch-blue names deterministic weights like means
        fields |= self.deterministic(arrays, paths)
        parts = {
            "ignored": tuple(ignored),
            "notes": self.notes(arrays),
            "priors": self._prior_slots(arrays, paths),
        }
        found = list(fields.values())
        draft = draft_from_pairs(
            raw, arrays, found, used | fields.keys(), prior=self.prior(arrays), **parts
        )
        return assemble(raw, self.name, draft)

    def _transform(
        self, pair: Pair, raw: RawCheckpoint, place: Path, arrays: Arrays, options: ReadOptions
    ) -> Transform:
        """The user's transform, or what the file says."""
        if options.scale_transform:
            return transform_named(options.scale_transform)
        return stored_transform(raw.tree, place) or self.transform_for(pair, raw, place, arrays)

    def transform_for(
        self, pair: Pair, raw: RawCheckpoint, place: Path, arrays: Arrays
    ) -> Transform:
        """The transform of one pair, whose scale is at ``place``; the dialect's, unless the file
        says more.
        """
        return self.transform

    def deterministic(self, arrays: Arrays, paths: Mapping[str, Path]) -> dict[str, Field]:
        """Key → field of deterministic weights that only this library names so; none here."""
        return {}

    def notes(self, arrays: Arrays) -> tuple[str, ...]:
        """What a reader of the report should know of this file; nothing here."""
        return ()

    def prior(self, arrays: Arrays) -> Prior | None:
        """A prior the file holds in a form that cannot be read tensor by tensor; None here."""
        return None

    def _prior_slots(
        self, arrays: Arrays, paths: Mapping[str, Path]
    ) -> dict[str, tuple[Slot, Slot]]:
        """Where the prior of each tensor is, for those whose full-shape prior the file holds."""
        slots = {}
        for pair in self.pairs(arrays) if self.prior_loc else ():
            word = self.parts.get(pair.part, pair.part)
            keys = [
                t.format(layer=pair.layer, part=pair.part, word=word)
                for t in (self.prior_loc, self.prior_scale)
            ]
            # scalars of the whole layer are read by the dialect's own `prior`, if it has one
            if all(key in arrays and arrays[key].shape == arrays[pair.loc].shape for key in keys):
                loc, scale = (Slot(paths[key], arrays[key].shape) for key in keys)
                slots[pair.name] = (loc, scale)
        return slots

    def write(self, posterior: Posterior, raw: RawCheckpoint) -> Tree:
        """``raw.tree`` with the posterior's means and scales, same keys, dtypes and structure."""
        assert posterior.source is not None
        template: Template = posterior.source.template
        return written(posterior, template, raw.tree)

    def _name(self, layer: str, part: str) -> str:
        return layer + self.parts[part] if self.parts else tidy(layer + part)

    def _pattern(self, template: str) -> re.Pattern[str]:
        return _compiled(template, "|".join(map(re.escape, self.parts)) if self.parts else _ANY)

    def _existing(self, templates: tuple[str, ...], pair: Pair, arrays: Arrays) -> list[str]:
        keys = (t.format(layer=pair.layer, part=pair.part) for t in templates)
        return [key for key in keys if key in arrays]


def _compiled(template: str, part: str) -> re.Pattern[str]:
    """The pattern of a template whose ``{part}`` matches ``part``."""
    text = (
        re.escape(template)
        .replace(r"\{layer\}", r"(?P<layer>(?:.*\.)?)")
        .replace(r"\{part\}", f"(?P<part>{part})")
    )
    return re.compile(f"^{text}$")


def check_pair(loc: str, scale: str, arrays: Arrays) -> None:
    """Raise InputError unless ``scale`` is there and shaped like ``loc``."""
    if scale not in arrays:
        raise InputError(
            f"{loc} has no scale: {scale} is missing", code="missing-scale",
            hint="the file is incomplete, or mixes conventions; a deterministic weight must not "
            "be named like a mean",
        )  # fmt: skip
    if arrays[loc].shape != arrays[scale].shape:
        raise InputError(
            f"{loc} {arrays[loc].shape} and {scale} {arrays[scale].shape} differ in shape",
            code="shape-mismatch",
            hint="the two must match entry by entry; the file was edited or mixes two models",
        )


def check_copies(key: str, copies: Sequence[str], arrays: Arrays) -> None:
    """Raise InputError unless each of ``copies`` holds the very numbers of ``key``."""
    for copy in copies:
        check_pair(key, copy, arrays)
        for either in (key, copy):
            check_finite(to_float64(arrays[either]), either)
        if not np.array_equal(arrays[key], arrays[copy]):
            raise InputError(
                f"{key} and {copy} are one parameter to the library, but differ in the file",
                code="copies-differ",
                hint="a tool changed one and not the other; save the model anew",
            )
