"""Options of a task as keywords of the Python call: by name, or a dataclass as a whole."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from symdiag.options import declared, is_options

R = TypeVar("R")


def flat(task: Callable[..., R]) -> Callable[..., R]:
    """``task`` with the fields of its options dataclasses as keywords too.

    A parameter whose default is an options dataclass may be given as a whole or field by field; a
    field that several of them have goes to each. Signature and docstring show the fields.
    """
    signature = inspect.signature(task)
    groups = {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if is_options(parameter.default)
    }
    owners: dict[str, list[str]] = {}
    for group, default in groups.items():
        for field in dataclasses.fields(default):
            owners.setdefault(field.name, []).append(group)

    assert not owners.keys() & signature.parameters.keys(), (
        "a field may not be called like a parameter"
    )

    @functools.wraps(task)
    def call(*arguments: Any, **keywords: Any) -> R:
        given = {name: keywords.pop(name) for name in owners.keys() & keywords.keys()}
        for group, default in groups.items():
            own = {name: value for name, value in given.items() if group in owners[name]}
            if own:
                keywords[group] = dataclasses.replace(keywords.get(group, default), **own)
        return task(*arguments, **keywords)

    shown = {name: groups[found[0]] for name, found in owners.items()}
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(default, name))
        for name, default in shown.items()
    ]
    own = [p for name, p in signature.parameters.items() if name not in groups]
    call.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=sorted([*own, *keywords], key=lambda p: p.kind)
    )
    helps = {
        name: option.help
        for default in groups.values()
        for name, (_, option) in declared(default.__class__).items()
    }
    listed = "\n".join(f"        {name}: {text}" for name, text in helps.items())
    call.__doc__ = (
        f"{task.__doc__}\n    Keywords, or their options dataclasses as a whole:\n{listed}\n"
    )
    return call
