"""Shows the fields of options dataclasses as keywords in the API reference, as the calls take them.

A griffe extension: ``tasks/keywords.py:flat`` does at import what static analysis cannot see.
"""

import dataclasses
import inspect
import re
import sys
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import griffe

sys.path.insert(0, str(Path(__file__).parents[2]))

from symdiag.options import declared
from symdiag.tasks import options
from symdiag.training import config


class Keywords(griffe.Extension):
    """Spreads parameters whose default is an options dataclass into its fields."""

    def on_function(self, *, func: griffe.Function, **_: Any) -> None:
        """Called for every function that griffe has read."""
        if not any(str(d.value) == "flat" for d in func.decorators):
            return
        groups = {p.name: _options_class(str(p.annotation)) for p in func.parameters}
        parameters: list[griffe.Parameter] = []
        for parameter in func.parameters:
            cls = groups[parameter.name]
            parameters += [parameter] if cls is None else _keywords(cls)
        # a field that two dataclasses have (seed) is one keyword
        func.parameters = griffe.Parameters(*{p.name: p for p in parameters}.values())
        if func.docstring is not None:
            func.docstring.value = _documented(inspect.cleandoc(func.docstring.value), groups)


def _options_class(name: str) -> type | None:
    found = getattr(options, name, None) or getattr(config, name, None)
    return found if dataclasses.is_dataclass(found) else None


def _keywords(cls: type) -> list[griffe.Parameter]:
    named = declared(cls)
    return [
        griffe.Parameter(
            field.name,
            annotation=_type_name(named[field.name][0]),
            kind=griffe.ParameterKind.keyword_only,
            default=repr(field.default),
        )
        for field in dataclasses.fields(cls)
        if field.name in named
    ]


def _type_name(kind: object) -> str:
    if get_origin(kind) in (Union, UnionType):
        return " | ".join(map(_type_name, get_args(kind))).replace("NoneType", "None")
    text = kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)
    return re.sub(r"\b(?:typing|collections\.abc|pathlib|_local)\.", "", text)


def _documented(text: str, groups: dict) -> str:
    """The docstring with a line per field in the place of the line of its dataclass."""
    lines = []
    seen: set = set()
    for line in text.splitlines():
        found = re.match(r"    (\w+): ", line)
        cls = groups.get(found[1]) if found else None
        if cls is None:
            lines.append(line)
            continue
        for name, (_, option) in declared(cls).items():
            if name not in seen:
                lines.append(f"    {name}: {option.help}")
                seen.add(name)
    return "\n".join(lines)
