"""Settings from ``symdiag.toml`` or ``[tool.symdiag]``; command line and environment win."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from symdiag.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_NEVER_FROM_FILE = frozenset({"model", "help", "version", "config", "debug", "verbose"})
"""``model`` names code to import: a file that happens to lie in the folder must not choose it."""

_ONE_COMMAND_ONLY = frozenset({"output", "report"})
"""Files to write: what they hold differs between commands."""


def find_config(start: Path) -> Path | None:
    """The nearest ``symdiag.toml``, or ``pyproject.toml`` with ``[tool.symdiag]``, upwards."""
    for folder in (start, *start.parents):
        # our own file first: a pyproject.toml beside it is the project's
        own = folder / "symdiag.toml"
        if own.is_file():
            return own
        shared = folder / "pyproject.toml"
        # a project without our table is passed by: the settings may be in a folder above
        if shared.is_file() and "symdiag" in _read(shared).get("tool", {}):
            return shared
    return None


def load_config(path: Path | None) -> dict[str, Any]:
    """The settings of a file: ``[tool.symdiag]`` of a pyproject.toml, the whole of any other.

    Raises:
        UsageError: The file cannot be read or is not TOML.
    """
    if path is None:
        return {}
    data = _read(path)
    settings = data.get("tool", {}).get("symdiag", {}) if path.name == "pyproject.toml" else data
    if not isinstance(settings, dict):
        raise UsageError(f"{path}: [tool.symdiag] is not a table", code="bad-config")
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {error}", code="bad-config") from error


def default_map(
    settings: Mapping[str, Any], commands: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Command → parameter → value, for click; a top-level key holds for all that have it.

    Raises:
        UsageError: An unknown key, with the nearest known one.
    """
    # keys are checked against what the commands take: a misspelt limit must not pass in silence
    known = {name: _parameters(command) for name, command in commands.items()}
    shared = {k: v for k, v in settings.items() if k not in known}
    sharable = {key for parameters in known.values() for key in parameters} - _ONE_COMMAND_ONLY
    _refuse_unknown(shared, sharable, "config key")
    result = {}
    for name, parameters in known.items():
        own = settings.get(name, {})
        if not isinstance(own, dict):
            raise UsageError(f"config key {name!r} should be a table", code="bad-config")
        _refuse_unknown(own, parameters, f"config key in [{name}]")
        # a command's own table outranks what all commands share
        merged = {**shared, **own}
        result[name] = {parameters[_key(k)]: v for k, v in merged.items() if _key(k) in parameters}
        # TOML has lists, but one value needs none
        repeatable = {p.name for p in commands[name].params if p.multiple}
        result[name] |= {
            k: [v] for k, v in result[name].items() if k in repeatable and not isinstance(v, list)
        }
    return result


def _key(name: str) -> str:
    return name.replace("_", "-")


def _parameters(command: Any) -> dict[str, str]:
    """Key in the file → parameter name, for the long options of a command."""
    options = ((opt[2:], p.name) for p in command.params for opt in p.opts if opt.startswith("--"))
    return {key: name for key, name in options if key not in _NEVER_FROM_FILE}


def _refuse_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    known = sorted(known)
    for name in given:
        if _key(name) not in known:
            near = difflib.get_close_matches(_key(name), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise UsageError(f"unknown {what} {name!r}", code="bad-config", hint=hint)


def check_environment(commands: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> None:
    """Refuse misspelt ``SYMDIAG_*`` variables, which would otherwise be ignored in silence.

    Raises:
        UsageError: An unknown variable, with the nearest known one.
    """
    known = {"SYMDIAG_CONFIG"}
    for command in commands.values():
        for parameter in command.params:
            named = getattr(parameter, "envvar", None)
            known |= {named} if isinstance(named, str) else set(named or ())
    for name in environ:
        # a variable that nobody reads is a setting that somebody believes in
        if name.startswith("SYMDIAG_") and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(sorted(known))}"
            raise UsageError(f"unknown environment variable {name}", code="bad-config", hint=hint)
