"""JSON reports read back from disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from symdiag.errors import SymdiagError, UnreadableError
from symdiag.report.render import Failure, from_dict

_MAX_BYTES = 512 * 1024 * 1024


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
        if path.stat().st_size > _MAX_BYTES:
            raise UnreadableError(f"{path} is larger than any report", code="bad-report")
        return json.loads(path.read_bytes(), parse_constant=_not_finite)
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"{path} is not a JSON report: {error}", code="bad-report") from error
    except OSError as error:
        raise UnreadableError(f"cannot read {path}: {error.strerror}") from error


def _not_finite(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _item(data: Any) -> Any:
    if isinstance(data, Mapping) and isinstance(data.get("error"), Mapping):
        error = {key: str(data["error"].get(key, "")) for key in ("code", "message", "hint")}
        problem = SymdiagError(error["message"], code=error["code"], hint=error["hint"])
        return Failure(str(data.get("path", "")), problem)
    return from_dict(data)
