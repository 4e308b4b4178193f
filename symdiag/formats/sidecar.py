"""What a user says of a checkpoint in ``CHECKPOINT.symdiag.json`` beside it."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from symdiag.errors import InputError
from symdiag.formats.interface import RawCheckpoint, ReadOptions

PREFIX = "symdiag."
"""Metadata keys of ours: ``symdiag.scale_transform``, ``symdiag.activation``, …"""


def with_sidecar(raw: RawCheckpoint) -> RawCheckpoint:
    """``raw`` with the entries of ``<checkpoint>.symdiag.json``, where there is one, added to its
    metadata.

    Keys are ``scale_transform``, ``activation`` and the like (strings), and ``model_shapes``
    (tensor name → list of sizes, in model order); they appear as ``symdiag.scale_transform``, ….
    Raises InputError ``bad-sidecar``.
    """
    sidecar = Path(f"{raw.path}.symdiag.json")
    # most checkpoints have none, and need none
    if not sidecar.is_file():
        return raw
    try:
        content = json.loads(sidecar.read_text(encoding="utf-8"))
    # json nests by recursion: a file of open brackets ends in a RecursionError
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
    # the user's word outranks what the file's own metadata say
    return replace(raw, metadata={**raw.metadata, **ours})


def parsed_shapes(text: str) -> dict[str, tuple[int, ...]]:
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
    # bool is an int to Python, and no size
    sizes = isinstance(value, list) and all(type(size) is int and size >= 0 for size in value)
    # beyond 2^63 no array exists; caught here, where the message can name the sidecar
    return sizes and math.prod(max(size, 1) for size in value) < 1 << 63


def settled(options: ReadOptions, raw: RawCheckpoint) -> ReadOptions:
    """The options with what the file's metadata say filled in; those given win.

    Raises:
        InputError: ``bad-sidecar``.
    """
    said = raw.metadata.get
    shapes = said(f"{PREFIX}model_shapes")
    if options.model_shapes is None and shapes:
        options = replace(options, model_shapes=parsed_shapes(shapes))
    return replace(
        options,
        scale_transform=options.scale_transform or said(f"{PREFIX}scale_transform"),
        member=options.member or said(f"{PREFIX}member"),
    )
