"""A checkpoint file or a live object → its posterior, and a posterior → what it came from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from symdiag.errors import UsageError
from symdiag.formats.dialects import dialect_named
from symdiag.formats.interface import Held, RawCheckpoint, ReadOptions
from symdiag.formats.interpretation import interpret
from symdiag.formats.objects import hold, raw_of
from symdiag.formats.reading import read_raw, write_raw
from symdiag.formats.sidecar import with_sidecar
from symdiag.formats.tree import Path as Location
from symdiag.formats.tree import at, dotted, replaced
from symdiag.posterior import Posterior


def load(
    source: Any,
    *,
    scale_transform: str | None = None,
    companion: Any = None,
    model_shapes: Mapping[str, tuple[int, ...]] | None = None,
    member: str | None = None,
) -> Posterior:
    """Read a posterior from a file or from memory; nothing in a file is executed.

    Args:
        source: the file (any container and dialect of symdiag), or a live object: a module, a state
            dict or dict of arrays, what else ``symdiag.formats.objects`` lists.
        scale_transform: what turns the stored scale into a std, where the file leaves it open. One
            of softplus, exp, identity, exp-half (log variance), sqrt (variance), 1e-06+softplus.
            Overrides what the dialect declares.
        companion: a second file or object that some libraries need (laplace-torch: the model's
            state dict).
        model_shapes: tensor name → shape in model order, for files that hold one flat vector.
        member: the one to read of a file that holds several posteriors.

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
        # what the caller names outranks what the object brings along
        if second is None and found.companion is not None:
            second = raw_of(Held(found.companion, name=found.name))
        model_shapes = model_shapes or found.shapes
    return interpret(raw, ReadOptions(scale_transform, second, model_shapes, member))


def _raw(source: Any) -> RawCheckpoint:
    if isinstance(source, str | Path):
        return read_raw(Path(source))
    return raw_of(hold(source))


def file_of(posterior: Posterior) -> str | None:
    """The file that ``posterior`` was read from; None where it came from memory."""
    source = posterior.source
    # objects carry a path of the form <Module>, which is not to be opened
    in_memory = source is None or source.template is None or source.template.raw.held is not None
    return None if in_memory or source is None else source.path


def network_of(posterior: Posterior) -> Any:
    """The live module that ``posterior`` was read from; None for files, dicts and arrays."""
    template = None if posterior.source is None else posterior.source.template
    held = None if template is None else template.raw.held
    return None if held is None else held.network


def state_dict(posterior: Posterior) -> Any:
    """The values of ``posterior`` as what it was read from would save: ready to be loaded back.

    For a module or a guide its state dict (``load_state_dict``), for a parameter store its state,
    for a dict of arrays such a dict, for a file what torch.load would return of the written one.
    Two for a posterior that was read from two: the second is the model's.

    Raises:
        UsageError: ``no-source`` for a posterior that symdiag did not read.
    """
    first, second = to_raw(posterior), companion_to_raw(posterior)
    filled = [
        _filled(raw.tree if raw.held is None else raw.held.content, raw)
        for raw in (first, second)
        if raw is not None
    ]
    back = None if first.held is None else first.held.back
    own = filled[0] if back is None else back(filled[0])
    return own if second is None else (own, filled[1])


def _filled(origin: Any, raw: RawCheckpoint, path: tuple[Any, ...] = ()) -> Any:
    """``origin`` with the arrays of ``raw`` in the places of its own, each of the kind it was."""
    import torch

    if isinstance(origin, Mapping):
        items = {key: _filled(value, raw, (*path, key)) for key, value in origin.items()}
        return _like(origin, items)
    if isinstance(origin, list | tuple):
        return [_filled(value, raw, (*path, i)) for i, value in enumerate(origin)]
    if isinstance(origin, torch.Tensor):
        # `.to(tensor)` restores both dtype and device
        return torch.as_tensor(at(raw.tree, path)).to(origin.detach())
    if isinstance(origin, np.ndarray):
        array = np.asarray(at(raw.tree, path))
        if raw.held is not None:
            return array.astype(origin.dtype)
        kept = raw.foreign_dtypes.get(dotted(path))
        # from_numpy refuses negative strides, and warns of read-only views of a file's bytes
        tensor = torch.from_numpy(np.require(array, requirements=["C", "W"]))
        return tensor if kept is None else tensor.to(getattr(torch, kept))
    return origin


def _like(origin: Mapping[Any, Any], items: dict[Any, Any]) -> Mapping[Any, Any]:
    if not isinstance(origin, dict):
        return items
    # load_state_dict takes any dict, but an OrderedDict that comes back as a dict loses `_metadata`
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
    # checked before the first file is written: half a pair on disk fits no model
    if second is not None and companion is None:
        raise UsageError(
            "this posterior was read from two files, and both change",
            code="needs-companion",
            hint="say where the second one goes as well",
        )
    if second is not None and companion is not None:
        write_raw(second, Path(companion), overwrite=overwrite)
    write_raw(raw, Path(path), overwrite=overwrite)


def one_each(given: Any, count: int, option: str) -> list[Any]:
    """What ``option`` gives each of ``count`` checkpoints: nothing, one for all, or one each.

    Raises:
        UsageError: ``bad-option`` for any other number of values.
    """
    # a string is a sequence, too: its characters must not be taken for one value each
    if given is None or isinstance(given, str | Path):
        return [given] * count
    if len(given) not in (1, count):
        raise UsageError(
            f"{len(given)} values of --{option} for {count} checkpoints",
            code="bad-option",
            hint=f"give --{option} once for all of them, or once for each, in their order",
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
    # a dialect writes the part it read
    tree = dialect_named(source.dialect).write(posterior, raw)
    if source.template.whole is None:
        return replace(raw, tree=tree)
    whole: tuple[RawCheckpoint, Location] = source.template.whole
    return replace(whole[0], tree=replaced(whole[0].tree, {whole[1]: tree}))


def companion_to_raw(posterior: Posterior) -> RawCheckpoint | None:
    """The second file of a posterior that was read from two, with its present values; None for all
    others.
    """
    source = posterior.source
    # few libraries use two files, so this is no part of what every dialect must have
    write = getattr(dialect_named(source.dialect), "write_companion", None) if source else None
    result: RawCheckpoint | None = write(posterior) if write else None
    return result
