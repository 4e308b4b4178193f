"""Reports back from JSON: objects, and files of one report or several."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from symdiag.errors import SymdiagError, UnreadableError
from symdiag.report.codec import SCHEMA_VERSION, decode
from symdiag.report.kinds import kind_class, kind_names

_MAX_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True)
class Failure:
    """An input that could not be reported on, in a run that went on with the others."""

    path: str
    error: SymdiagError


def from_dict(data: Mapping[str, Any]) -> Any:
    """The report dataclass that a JSON object describes.

    Raises:
        UnreadableError: Another schema version, an unknown kind, or a malformed object
        (``bad-report``).
    """
    version = data.get("schema_version") if isinstance(data, Mapping) else None
    if version != SCHEMA_VERSION:
        raise UnreadableError(
            f"the report has schema_version {version!r}; this symdiag reads {SCHEMA_VERSION}",
            code="bad-report",
            hint="re-render it with the symdiag that made it, or analyse the checkpoint again",
        )
    kind = data.get("kind", "analyze")  # the first reports had none
    # kinds name modules to import, so a name from a file is looked up before it is used
    if kind not in kind_names():
        raise UnreadableError(f"unknown kind of report {kind!r}", code="bad-report")
    return decode(kind_class(kind), data)


def looks_like_json(path: Path) -> bool:
    """Whether a file starts as a JSON object does (a safetensors header holds zero bytes by then).

    Raises:
        UnreadableError: The file cannot be opened.
    """
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise UnreadableError(f"cannot read {path}: {error.strerror}") from error
    # A safetensors file opens with a binary length and then `{`: zero bytes tell it apart.
    return head.lstrip().startswith(b"{") and b"\0" not in head


def read_reports(path: Path) -> list[Any]:
    """Every report in a JSON file, as dataclasses; failed inputs of a list as ``Failure``.

    Raises:
        UnreadableError: Not a JSON report this version can read.
    """
    data = _parse(path)
    if isinstance(data, dict) and "reports" in data and isinstance(data["reports"], list):
        return [_item(item) for item in data["reports"]]
    return [_item(data)]


def _parse(path: Path) -> Any:
    try:
        if not path.is_file():
            raise UnreadableError(f"{path} is not a file", code="not-a-file")
        # before it is read: json would take several times the file's size in memory
        if path.stat().st_size > _MAX_BYTES:
            raise UnreadableError(f"{path} is larger than any report", code="bad-report")
        # Python would accept NaN and Infinity, which no other reader of the contract does.
        return json.loads(path.read_bytes(), parse_constant=_not_finite)
    # a file of brackets nests beyond Python's stack; a JSONDecodeError is a ValueError
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path} is not a JSON report: {error}", code="bad-report") from error
    except OSError as error:
        raise UnreadableError(f"cannot read {path}: {error.strerror}") from error


def _not_finite(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _item(data: Any) -> Any:
    # an item without a verdict goes on as what it is: one bad file must not hide the others'
    # reports
    if isinstance(data, Mapping) and isinstance(data.get("error"), Mapping):
        # Whatever was saved there is shown: it may come from a later version.
        error = {key: str(data["error"].get(key, "")) for key in ("code", "message", "hint")}
        problem = SymdiagError(error["message"], code=error["code"], hint=error["hint"])
        return Failure(str(data.get("path", "")), problem)
    return from_dict(data)
