"""Hand-written permutation specs: TOML files, read with checks against the tensors and written for
editing.

See docs/spec-file.md for the format.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from symdiag.errors import UsageError
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, Member, PermutationSpec

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

VERSION = 1
_GROUP_KEYS: dict[str, type] = {"name": str, "width": int, "signed": bool, "members": list}
_MEMBER_KEYS: dict[str, type] = {
    "tensor": str,
    "axis": int,
    "outer": int,
    "inner": int,
    "flips": bool,
    "start": int,
}
_HINT = "docs/spec-file.md describes the format; `symdiag inspect FILE --write-spec spec.toml` writes an example"


def bad_spec(message: str) -> UsageError:
    """The error of every fault in a spec file: code ``bad-spec``."""
    return UsageError(message, code="bad-spec", hint=_HINT)


def read_spec(path: Path, posterior: Posterior | None = None) -> PermutationSpec:
    """The spec in a TOML file.

    Args:
        path: the file.
        posterior: if given, every member is checked against its tensors.

    Raises:
        UsageError: ``bad-spec`` naming the group, the member and what is wrong.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise bad_spec(
            f"cannot read spec file {path}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise bad_spec(f"{path} is not valid TOML: {error}") from error
    unknown = set(data) - {"version", "notes", "group"}
    if unknown:
        raise bad_spec(f"unknown key '{sorted(unknown)[0]}' at the top of {path}")
    if data.get("version") != VERSION:
        raise bad_spec(f"{path} needs the line 'version = {VERSION}'")
    tables = data.get("group", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise bad_spec("groups are written as [[group]] tables")
    spec = PermutationSpec(
        tuple(_group(table, index) for index, table in enumerate(tables)), _notes(data)
    )
    _check_names(spec)
    if posterior is not None:
        check_spec(spec, posterior)
    return spec


def _notes(data: Mapping[str, Any]) -> tuple[str, ...]:
    notes = data.get("notes", [])
    if not isinstance(notes, list) or not all(isinstance(note, str) for note in notes):
        raise bad_spec("notes is a list of strings")
    return tuple(notes)


def _group(table: Mapping[str, Any], index: int) -> Group:
    where = (
        f"group '{table['name']}'"
        if isinstance(table.get("name"), str)
        else f"group number {index + 1}"
    )
    _check_keys(table, _GROUP_KEYS, {"name", "width", "members"}, where)
    if table["width"] < 1:
        raise bad_spec(f"{where}: width must be at least 1")
    if not table["members"]:
        raise bad_spec(f"{where} has no members")
    members = tuple(_member(entry, where) for entry in table["members"])
    return Group(table["name"], table["width"], members, signed=table.get("signed", False))


def _member(entry: Any, where: str) -> Member:
    if not isinstance(entry, dict):
        raise bad_spec(f'{where}: a member is written as {{ tensor = "fc1.weight", axis = 0 }}')
    _check_keys(entry, _MEMBER_KEYS, {"tensor", "axis"}, f"{where}, a member")
    if entry.get("outer", 1) < 1 or entry.get("inner", 1) < 1:
        raise bad_spec(f"{where}, {entry['tensor']}: outer and inner must be at least 1")
    if entry.get("start", 0) < 0:
        raise bad_spec(f"{where}, {entry['tensor']}: start must be at least 0")
    return Member(**entry)


def _check_keys(
    table: Mapping[str, Any], known: Mapping[str, type], needed: set[str], where: str
) -> None:
    for key, value in table.items():
        if key not in known:
            raise bad_spec(f"{where}: unknown key '{key}' (known: {', '.join(known)})")
        # not isinstance: TOML's true is an int to Python
        if type(value) is not known[key]:
            raise bad_spec(f"{where}: {key} must be of type {known[key].__name__}")
    for key in sorted(needed - set(table)):
        raise bad_spec(f"{where}: {key} is missing")


def _check_names(spec: PermutationSpec) -> None:
    names = [group.name for group in spec]
    for name in names:
        if names.count(name) > 1:
            raise bad_spec(f"two groups are called '{name}'")


def check_spec(spec: PermutationSpec, posterior: Posterior) -> None:
    """Raise ``bad-spec`` unless every member fits its tensor and no entry of an axis belongs to two
    of them.
    """
    shapes = {
        **posterior.shapes,
        **{name: value.shape for name, value in posterior.buffers.items()},
    }
    owners: dict[tuple[str, int], list[tuple[range, str]]] = {}
    for group in spec:
        for member in group.members:
            _check_member(group, member, shapes)
            # a range sliced like the axis: its ends are those entries, without listing them
            places = range(shapes[member.tensor][member.axis])[member.span(group.width)]
            claimed = owners.setdefault((member.tensor, member.axis), [])
            for other, owner in claimed:
                # half-open ranges overlap exactly if the later start lies before the earlier stop
                if max(places.start, other.start) < min(places.stop, other.stop):
                    raise bad_spec(
                        f"{member.tensor} axis {member.axis} is claimed twice: by '{owner}', '{group.name}'"
                    )
            claimed.append((places, group.name))


def _check_member(group: Group, member: Member, shapes: Mapping[str, tuple[int, ...]]) -> None:
    where = f"group '{group.name}'"
    if member.tensor not in shapes:
        raise bad_spec(
            f"{where}: the file has no tensor '{member.tensor}' (it has {', '.join(list(shapes)[:6])}, ...)"
        )
    shape = shapes[member.tensor]
    # negative axes would be a second name of one axis, and slip past the check for two owners
    if not 0 <= member.axis < len(shape):
        raise bad_spec(f"{where}: {member.tensor} {shape} has no axis {member.axis}")
    if not member.fits(shape[member.axis], group.width):
        size = member.outer * group.width * member.inner
        product = f"outer {member.outer} x width {group.width} x inner {member.inner} = {size}"
        room = (
            f"is not {product} long"
            if member.start is None
            else f"has no {product} entries from {member.start} on"
        )
        raise bad_spec(f"{where}: axis {member.axis} of {member.tensor} {shape} {room}")


def write_spec(spec: PermutationSpec, path: Path) -> None:
    """Write ``spec`` as TOML that ``read_spec`` reads back equal.

    Raises:
        OSError: the file cannot be written.
    """
    path.write_text(format_spec(spec), encoding="utf-8")


def format_spec(spec: PermutationSpec) -> str:
    """The text of a spec file."""
    lines = [
        "# Which tensor axes move together when units are reordered; see docs/spec-file.md",
        f"version = {VERSION}",
    ]
    lines += ["notes = [", *(f"  {_text(note)}," for note in spec.notes), "]"] if spec.notes else []
    for group in spec:
        lines += ["", "[[group]]", f"name = {_text(group.name)}", f"width = {group.width}"]
        lines += [f"signed = {_flag(group.signed)}", "members = ["]
        lines += [f"  {_format_member(member)}," for member in group.members]
        lines += ["]"]
    return "\n".join(lines) + "\n"


def _format_member(member: Member) -> str:
    parts = [f"tensor = {_text(member.tensor)}", f"axis = {member.axis}"]
    # defaults stay unsaid, as a person would write it; reading gives them back
    parts += [
        f"{key} = {value}"
        for key, value in (("outer", member.outer), ("inner", member.inner))
        if value != 1
    ]
    parts += [] if member.start is None else [f"start = {member.start}"]
    parts += [] if member.flips else ["flips = false"]
    return "{ " + ", ".join(parts) + " }"


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _text(value: str) -> str:
    """A TOML basic string: JSON's escapes are a subset of TOML's, but for DEL and lone surrogates."""
    quoted = json.dumps(value, ensure_ascii=False)
    return re.sub(
        r"[\x7f\ud800-\udfff]", lambda m: f"\\u{ord(m[0]):04x}" if m[0] == "\x7f" else "?", quoted
    )
