"""Named arrays → the posterior they hold: which member, which dialect, or why there is none."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from symdiag.arrays import Arrays
from symdiag.errors import InputError, UnsupportedError, shown
from symdiag.formats.dialects import dialects
from symdiag.formats.interface import Dialect, RawCheckpoint, ReadOptions, Tree
from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.members import Member, chosen, members, part
from symdiag.formats.sidecar import PREFIX, settled
from symdiag.formats.state_dict import find_state_dict, is_matrix
from symdiag.formats.transforms import transform_named
from symdiag.formats.tree import dotted, walk
from symdiag.posterior import Ignored, Posterior

_SCALE_LIKE = re.compile(r"rho|sigma|std|scale|(?<!running_)var|alpha|tril|cov|prec", re.I)
_LONGEST, _COMPARED = 80, 100
_RENAME = (
    "If that is a log variance, name the two keys LAYER.weight_mu and LAYER.weight_logvar; "
    "a std: LAYER.weight_std"
)
_ELSEWHERE = (
    "Scales may be elsewhere: laplace-torch has a file of its own (name that one, and this as "
    "--companion), IVON has them in the optimizer's state (save both in one file); draws of an "
    "ensemble or of HMC are for symdiag samples"
)

_CONTENT_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    np.linalg.LinAlgError,
)
"""What a dialect's arithmetic raises over entries that are not the arrays and numbers its library
writes.
"""


def interpret(raw: RawCheckpoint, options: ReadOptions | None = None) -> Posterior:
    """Recognise the dialect of ``raw`` and read it.

    Raises:
        InputError: ``no-scales-found``, ``several-posteriors``, ``malformed-checkpoint`` (a
            library's keys, but not what it keeps under them), and what dialects raise.
        UsageError: ``unknown-member``, ``unknown-scale-transform``.
    """
    # options of the call win over the sidecar, the sidecar over what the dialect declares
    options = settled(options or ReadOptions(), raw)
    if options.scale_transform is not None:
        transform_named(options.scale_transform)
    # a complex weight would lose its imaginary part in silence
    _refuse_complex(raw.tree)
    found = members(raw, lambda entry: _recognised(entry, _arrays(entry)) is not None)
    member = chosen(found, options.member)
    if member is None:
        return _read(raw, _arrays(raw), options)
    if member.path:
        # read as a file of its own, and put back into the whole when it is written
        inner = part(raw, member.path)
        return _as_member(_read(inner, _arrays(inner), options), member, found, raw)
    # only the others' keys go: plain weights and buffers belong to whichever is chosen
    arrays = {key: v for key, v in _arrays(raw).items() if key not in member.others}
    return _as_member(_read(raw, arrays, options), member, found, raw)


def _as_member(
    posterior: Posterior, member: Member, found: tuple[Member, ...], raw: RawCheckpoint
) -> Posterior:
    """``posterior`` with the other members as ignored, and the file it is put back into."""
    source = posterior.source
    assert source is not None
    others = tuple(
        Ignored(f"{other.name} ({other.what})", "another posterior of the file")
        for other in found
        if other is not member
    )
    whole = (raw, member.path) if member.path else None
    source = replace(
        source,
        ignored=(*source.ignored, *others),
        metadata={**source.metadata, f"{PREFIX}member": member.name},
        template=replace(source.template, whole=whole),
    )
    return posterior.replace(source=source)


def _arrays(raw: RawCheckpoint) -> Arrays:
    return find_state_dict(raw.tree).arrays


def _recognised(raw: RawCheckpoint, arrays: Arrays) -> Dialect | None:
    """The first dialect that claims the arrays."""
    return next((dialect for dialect in dialects() if dialect.matches(raw, arrays)), None)


def _read(raw: RawCheckpoint, arrays: Arrays, options: ReadOptions) -> Posterior:
    """The one posterior in ``arrays``."""
    dialect = _recognised(raw, arrays)
    if dialect is None:
        raise _no_scales(arrays)
    try:
        posterior = dialect.read(raw, arrays, options)
    except _CONTENT_ERRORS as error:
        raise InputError(
            f"the keys are those of {dialect.name}, the contents are not ({type(error).__name__}: "
            f"{error})",
            code="malformed-checkpoint",
            hint="the file was edited, or written by an unknown version; save it anew with the "
            "library",
        ) from error
    posterior = _noting_override(posterior, dialect, options.scale_transform)
    # pairs of keys without a positive std: a dialect matched, but there is no posterior
    if not any(scale.any() for scale in posterior.scale.values()):
        raise _no_scales(arrays)
    return posterior


def _noting_override(posterior: Posterior, dialect: Dialect, chosen: str | None) -> Posterior:
    """A note where the user's transform was not used, or replaced what the library is known to
    mean.
    """
    source = posterior.source
    if chosen is None or source is None:
        return posterior
    # only keyed dialects declare one transform for all of a library's files
    declared = dialect.transform.name if isinstance(dialect, KeyedDialect) else chosen
    if chosen != source.scale_transform:
        note = f"scale transform {chosen!r} not used: {dialect.name} files do not leave it open"
    elif chosen != declared:
        note = f"scale transform {chosen!r} as told, although {dialect.name} means {declared!r}"
    else:
        return posterior
    return posterior.replace(source=replace(source, notes=(*source.notes, note)))


def _refuse_complex(tree: Tree) -> None:
    """Raise UnsupportedError ``unsupported-dtype`` when an array is complex."""
    for path, leaf in walk(tree):
        if isinstance(leaf, np.ndarray) and leaf.dtype.kind == "c":
            raise UnsupportedError(
                f"{dotted(path)} is complex; only real weights are read", code="unsupported-dtype"
            )


def _no_scales(arrays: Arrays) -> UnsupportedError:
    """The refusal of a file without a posterior: what was seen, and what came nearest."""
    if not arrays:
        return UnsupportedError(
            "no arrays found in the file",
            code="no-scales-found",
            hint="save the model's state dict, not its settings",
        )
    keys = list(arrays)
    seen = ", ".join(map(shown, keys[:6])) + (f", … ({len(keys)} keys)" if len(keys) > 6 else "")
    # beside matrices a vector's scale is more likely one of the data; running_var is no weight's
    least = int(any(is_matrix(array) for array in arrays.values()))
    scales = (key for key in keys if _SCALE_LIKE.search(key.rsplit(".", 1)[-1]))
    likely = next((k for k in scales if is_matrix(arrays[k]) >= least), None) or _doubled(arrays)
    what = (
        f"{shown(likely)} fits no known pattern"
        if likely
        else "this looks like a deterministic network"
    )
    return UnsupportedError(
        f"no scales found: {what} (keys: {seen})",
        code="no-scales-found",
        hint="symdiag reads posteriors: a mean and a scale per weight. Nearest known pattern: "
        f"{_nearest(keys)}. {_RENAME if likely else _ELSEWHERE}",
    )


def _doubled(arrays: Arrays) -> str | None:
    """A key of a file whose matrices come in twos: one shape, one layer, two names.

    Means and scales would, under words of the author's own.
    """
    groups: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for key, array in arrays.items():
        if is_matrix(array):
            # fc1.w_m and fc1.w_s, or fc1_w_m and fc1_w_s
            head = re.match(r"(?:.*[._])?", key)
            groups.setdefault((head[0] if head else "", array.shape), []).append(key)
    twos = [keys for keys in groups.values() if len(keys) == 2]
    return twos[0][1] if groups and len(twos) == len(groups) else None


def _nearest(keys: Iterable[str]) -> str:
    """The pattern most like ``keys``, of a dialect that two keys per tensor make up."""
    # difflib is quadratic: only short names, and not all of a large file's
    leaves = list(dict.fromkeys(key.rsplit(".", 1)[-1][:_LONGEST] for key in keys))[:_COMPARED]
    best: tuple[float, str] = (-1.0, "")
    for dialect in dialects():
        if not isinstance(dialect, KeyedDialect) or dialect.requires:
            continue
        part = next(iter(dialect.parts), "weight")
        pair = [text.format(layer="LAYER.", part=part) for text in (dialect.loc, dialect.scale)]
        words = [word.removeprefix("LAYER.") for word in pair]
        ratio = max(
            difflib.SequenceMatcher(None, word, leaf).ratio() for word in words for leaf in leaves
        )
        best = max(best, (ratio, f"{dialect.name} ({', '.join(pair)})"), key=lambda found: found[0])
    return best[1]
