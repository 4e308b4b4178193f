"""A bare pickle of tensors, numpy arrays, dicts and lists, as ``pickle.dump`` writes it.

Interpreted like the pickle inside a torch file. Each tensor's storage is a small torch file of its
own inside the pickle.
"""

from __future__ import annotations

import io
import pickletools
from typing import Any, BinaryIO

from symdiag.formats.containers.torch import legacy
from symdiag.formats.containers.torch._machine import Machine, run_bytes
from symdiag.formats.containers.torch._plain import Plain
from symdiag.formats.containers.torch._writing import pickled
from symdiag.formats.interface import Content, HeaderEntry, RawCheckpoint
from symdiag.formats.limits import Limits

name = "pickle"
_PEEK = 1 << 20
_OF_TENSORS = "symdiag.arrays"


def matches(stream: BinaryIO, limits: Limits) -> bool:
    """Whether the file begins as a pickle of protocol 2 or later, or is one of protocol 0 or 1.

    The early protocols have no mark of their own: the instructions must make sense up to the end,
    or for as long as we look.
    """
    stream.seek(0)
    head = stream.read(_PEEK)
    if legacy.begins(head):
        return False
    if head[:1] == b"\x80":
        return head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    names = 0
    try:
        for steps, (op, _, _) in enumerate(pickletools.genops(head)):
            names += op.name in ("GLOBAL", "INST")
            if op.name == "STOP" or steps > limits.max_pickle_ops:
                return len(head) > 1
    except Exception:  # pickletools raises whatever its argument decoders raise
        return names > 0
    return False


def header(stream: BinaryIO, limits: Limits) -> tuple[tuple[HeaderEntry, ...], dict[str, str]]:
    """Names, shapes and dtypes."""
    plain, root = _interpreted(stream, limits, load=False)
    return plain.header(root)


def read(stream: BinaryIO, limits: Limits) -> Content:
    """The tree, with arrays for tensors and numpy arrays, and plain dicts for objects."""
    plain, root = _interpreted(stream, limits, load=True)
    content = plain.content(root)
    if plain.specs:
        plain.metadata[_OF_TENSORS] = "torch"
    return content


def encode(raw: RawCheckpoint) -> bytes:
    """``raw.tree`` as a pickle, of tensors where it was read from one."""
    # numpy has no bfloat16, so arrays that were read as such came from tensors
    of_tensors = raw.metadata.get(_OF_TENSORS) == "torch" or bool(raw.foreign_dtypes)
    return pickled(raw, as_tensors=of_tensors)


def _interpreted(stream: BinaryIO, limits: Limits, *, load: bool) -> tuple[Plain, Any]:
    stream.seek(0)
    program = stream.getvalue() if isinstance(stream, io.BytesIO) else stream.read()
    # As much is read as the file holds: its tensors are inside the pickle.
    root = run_bytes(Machine(limits, nested=legacy.nested_storage), program)
    return Plain(limits, len(program), load), root
