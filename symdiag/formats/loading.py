"""A checkpoint file or a live object → its posterior, and a posterior → what it came from."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from symdiag.errors import InputError, UnsupportedError, UsageError, shown
from symdiag.formats.dialects import dialect_named, dialects
from symdiag.formats.interface import Dialect, Held, RawCheckpoint, ReadOptions, Tree
from symdiag.formats.keyed import KeyedDialect
from symdiag.formats.objects import hold, raw_of
from symdiag.formats.reading import read_raw, write_raw
from symdiag.formats.state_dict import find_state_dict
from symdiag.formats.transforms import transform_named
from symdiag.formats.tree import at, dotted, walk
from symdiag.posterior import Posterior

PREFIX = "symdiag."
"""Metadata keys of ours: ``symdiag.scale_transform``, ``symdiag.activation``, …"""

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


def load(
    source: Any,
    *,
    scale_transform: str | None = None,
    companion: str | Path | None = None,
    model_shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> Posterior:
    """Read a posterior from a file or from memory; nothing in a file is executed.

    Args:
        source: the file (any container and dialect of symdiag), or a live object: a module, a state
            dict or dict of arrays, what else ``symdiag.formats.objects`` lists.
        scale_transform: what turns the stored scale into a std, where the file leaves it open. One
            of softplus, exp, identity, exp-half (log variance), sqrt (variance), 1e-06+softplus.
            Overrides what the dialect declares.
        companion: a second file that some libraries need (laplace-torch: the model's state dict).
        model_shapes: tensor name → shape in model order, for files that hold one flat vector.

    Raises:
        InputError: unreadable, unsafe, too large, or not a posterior symdiag can vouch for;
            ``code`` says which.
        UsageError: ``unknown-object``.
    """
    if isinstance(source, Posterior):
        return source
    second = None if companion is None else _raw(companion)
    if isinstance(source, str | Path):
        raw = with_sidecar(read_raw(Path(source)))
    else:
        found = hold(source)
        raw = raw_of(found)
        if second is None and found.companion is not None:
            second = raw_of(Held(found.companion, name=found.name))
        model_shapes = model_shapes or found.shapes
    return interpret(raw, ReadOptions(scale_transform, second, model_shapes))


def _raw(source: Any) -> RawCheckpoint:
    if isinstance(source, str | Path):
        return read_raw(Path(source))
    return raw_of(hold(source))


def file_of(posterior: Posterior) -> str | None:
    """The file that ``posterior`` was read from; None where it came from memory."""
    source = posterior.source
    in_memory = source is None or source.template is None or source.template.raw.held is not None
    return None if in_memory or source is None else source.path


def network_of(posterior: Posterior) -> Any:
    """The live module that ``posterior`` was read from; None for files, dicts and arrays."""
    template = None if posterior.source is None else posterior.source.template
    held = None if template is None else template.raw.held
    return None if held is None else held.network


def state_dict(posterior: Posterior) -> Any:
    """The values of ``posterior`` as what it was read from would save: ready to be loaded back.

    For a module its state dict (``module.load_state_dict``), for a parameter store its state, for a
    dict of arrays such a dict, for a file what torch.load would return of the written one. Two for
    a posterior that was read from two: the second is the model's.

    Raises:
        UsageError: ``no-source`` for a posterior that symdiag did not read.
    """
    first, second = to_raw(posterior), companion_to_raw(posterior)
    filled = [
        _filled(raw.tree if raw.held is None else raw.held.content, raw)
        for raw in (first, second)
        if raw is not None
    ]
    return filled[0] if second is None else tuple(filled)


def _filled(origin: Any, raw: RawCheckpoint, path: tuple[Any, ...] = ()) -> Any:
    """``origin`` with the arrays of ``raw`` in the places of its own, each of the kind it was."""
    import torch

    if isinstance(origin, Mapping):
        items = {key: _filled(value, raw, (*path, key)) for key, value in origin.items()}
        return _like(origin, items)
    if isinstance(origin, list | tuple):
        return [_filled(value, raw, (*path, i)) for i, value in enumerate(origin)]
    if isinstance(origin, torch.Tensor):
        return torch.as_tensor(at(raw.tree, path)).to(origin.detach())
    if isinstance(origin, np.ndarray):
        array = np.asarray(at(raw.tree, path))
        if raw.held is not None:
            return array.astype(origin.dtype)
        kept = raw.foreign_dtypes.get(dotted(path))
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor if kept is None else tensor.to(getattr(torch, kept))
    return origin


def _like(origin: Mapping[Any, Any], items: dict[Any, Any]) -> Mapping[Any, Any]:
    if not isinstance(origin, dict):
        return items
    made = type(origin)(items)
    if hasattr(origin, "_metadata"):  # versions of modules, which loading looks at
        made._metadata = origin._metadata  # type: ignore[attr-defined]
    return made


def save(
    posterior: Posterior,
    path: str | Path,
    *,
    overwrite: bool = False,
    companion: str | Path | None = None,
) -> None:
    """Write ``posterior`` in the dialect and container it was read from: the library's own keys,
    shapes and dtypes.

    Values that did not change keep their bits.

    Args:
        posterior: one that was read from a file, with any values.
        path: where to.
        overwrite: replace an existing file.
        companion: where to put the second file, for a posterior that was read from two
            (laplace-torch's model).

    Raises:
        UsageError: ``no-source`` for a posterior that was not read from a file; ``needs-companion``
            when it was read from two and ``companion`` is not given.
        OutputError: it cannot be written.
    """
    raw, second = to_raw(posterior), companion_to_raw(posterior)
    if second is not None and companion is None:
        raise UsageError(
            "this posterior was read from two files, and both change",
            code="needs-companion",
            hint="say where the second one goes as well",
        )
    if second is not None and companion is not None:
        write_raw(second, Path(companion), overwrite=overwrite)
    write_raw(raw, Path(path), overwrite=overwrite)


def companions_of(
    given: str | Path | Sequence[str | Path | None] | None, count: int
) -> list[str | Path | None]:
    """The companion of each of ``count`` checkpoints: none, one for all of them, or one each.

    Raises:
        UsageError: ``bad-option`` for any other number of companions.
    """
    if given is None or isinstance(given, str | Path):
        return [given] * count
    if len(given) not in (1, count):
        raise UsageError(
            f"{len(given)} companions for {count} checkpoints",
            code="bad-option",
            hint="give --companion once for all of them, or once for each, in their order",
        )
    return list(given) if len(given) == count else [given[0]] * count


def to_raw(posterior: Posterior) -> RawCheckpoint:
    """The checkpoint ``posterior`` came from, with its present values."""
    source = posterior.source
    if source is None or source.template is None:
        raise UsageError(
            "this posterior was not read from a file",
            code="no-source",
            hint="only a loaded one can be saved",
        )
    raw: RawCheckpoint = source.template.raw
    return replace(raw, tree=dialect_named(source.dialect).write(posterior, raw))


def companion_to_raw(posterior: Posterior) -> RawCheckpoint | None:
    """The second file of a posterior that was read from two, with its present values; None for all
    others.
    """
    source = posterior.source
    write = getattr(dialect_named(source.dialect), "write_companion", None) if source else None
    result: RawCheckpoint | None = write(posterior) if write else None
    return result


def interpret(raw: RawCheckpoint, options: ReadOptions | None = None) -> Posterior:
    """Recognise the dialect of ``raw`` and read it.

    Raises:
        InputError: ``no-scales-found``, ``malformed-checkpoint`` (a library's keys, but not what it
            keeps under them), and what dialects raise.
    """
    options = options or ReadOptions()
    # options of the call win over the sidecar, the sidecar over what the dialect declares
    declared = raw.metadata.get(f"{PREFIX}scale_transform")
    if options.scale_transform is None and declared:
        options = replace(options, scale_transform=declared)
    shapes = raw.metadata.get(f"{PREFIX}model_shapes")
    if options.model_shapes is None and shapes:
        options = replace(options, model_shapes=_parsed_shapes(shapes))
    if options.scale_transform is not None:
        transform_named(options.scale_transform)
    _refuse_complex(raw.tree)
    arrays = find_state_dict(raw.tree).arrays
    dialect = next((d for d in dialects() if d.matches(raw, arrays)), None)
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


def with_sidecar(raw: RawCheckpoint) -> RawCheckpoint:
    """``raw`` with the entries of ``<checkpoint>.symdiag.json``, where there is one, added to its
    metadata.

    Keys are ``scale_transform``, ``activation`` and the like (strings), and ``model_shapes``
    (tensor name → list of sizes, in model order); they appear as ``symdiag.scale_transform``, ….
    Raises InputError ``bad-sidecar``.
    """
    sidecar = Path(f"{raw.path}.symdiag.json")
    if not sidecar.is_file():
        return raw
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            f"{sidecar.name}: not readable as JSON ({error})", code="bad-sidecar"
        ) from None
    if not isinstance(content, dict):
        raise InputError(f"{sidecar.name}: not a JSON object", code="bad-sidecar")
    ours = {
        PREFIX + key.removeprefix(PREFIX): value if isinstance(value, str) else json.dumps(value)
        for key, value in content.items()
    }
    return replace(raw, metadata={**raw.metadata, **ours})


def _parsed_shapes(text: str) -> dict[str, tuple[int, ...]]:
    """``{"fc1.weight": [10, 1], …}``. Raises InputError ``bad-sidecar``."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or not all(_is_shape(shape) for shape in found.values()):
        raise InputError(
            "model_shapes is not an object of tensor names and lists of sizes",
            code="bad-sidecar",
            hint='for example {"fc1.weight": [16, 1], "fc1.bias": [16]}',
        )
    return {name: tuple(shape) for name, shape in found.items()}


def _is_shape(value: Any) -> bool:
    """Whether ``value`` is a list of sizes that an array can have."""
    sizes = isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
    return sizes and math.prod(max(size, 1) for size in value) < 1 << 63


def _no_scales(arrays: Mapping[str, NDArray[Any]]) -> UnsupportedError:
    """The refusal of a file without a posterior: what was seen, and what came nearest."""
    if not arrays:
        return UnsupportedError(
            "no arrays found in the file",
            code="no-scales-found",
            hint="save the model's state dict, not its settings",
        )
    keys = list(arrays)
    seen = ", ".join(map(shown, keys[:6])) + (f", … ({len(keys)} keys)" if len(keys) > 6 else "")
    # running_var is no scale of a weight
    likely = next((key for key in keys if _SCALE_LIKE.search(key.rsplit(".", 1)[-1])), None)
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
