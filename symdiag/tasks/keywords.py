"""Options of a task as keywords of the Python call: by name, or a dataclass as a whole."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from symdiag.errors import SymdiagError
from symdiag.options import declared, is_options
from symdiag.tasks import options
from symdiag.training.config import EvaluationConfig, ModelConfig, TrainingConfig

R = TypeVar("R")


def flat(task: Callable[..., R]) -> Callable[..., R]:
    """``task`` with the fields of its options dataclasses as keywords too.

    A parameter whose default is an options dataclass may be given as a whole or field by field; a
    field that several of them have goes to each. Signature and docstring show the fields.
    """
    # read once, at import: defaults are the dataclasses' own
    signature = inspect.signature(task)
    groups = {
        name: parameter.default
        for name, parameter in signature.parameters.items()
        if is_options(parameter.default)
    }
    owners: dict[str, list[str]] = {}
    for group, default in groups.items():
        for field in dataclasses.fields(default):
            # seed, for one, belongs to training and evaluation: both get it
            owners.setdefault(field.name, []).append(group)

    paths = {
        name
        for default in groups.values()
        for name, (kind, _) in declared(default.__class__).items()
        if kind == Path | None
    }
    assert not owners.keys() & signature.parameters.keys(), (
        "a field may not be called like a parameter"
    )

    @functools.wraps(task)
    def call(*arguments: Any, **keywords: Any) -> R:
        given = {name: keywords.pop(name) for name in owners.keys() & keywords.keys()}
        # the command line makes a Path of what it reads; callers write files as strings
        given |= {k: Path(v) for k, v in given.items() if k in paths and isinstance(v, str)}
        for group, default in groups.items():
            own = {name: value for name, value in given.items() if group in owners[name]}
            # a group that was given whole is refined, not replaced
            if own:
                keywords[group] = dataclasses.replace(keywords.get(group, default), **own)
        return task(*arguments, **keywords)

    shown = {name: groups[found[0]] for name, found in owners.items()}
    keywords = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=getattr(default, name))
        for name, default in shown.items()
    ]
    own = [p for name, p in signature.parameters.items() if name not in groups]
    # what help() and notebooks show
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


def in_python(function: Callable[..., R]) -> Callable[..., R]:
    """``function`` with errors that name its keywords where they would name the command's flags."""

    @functools.wraps(function)
    def call(*arguments: Any, **keywords: Any) -> R:
        try:
            return function(*arguments, **keywords)
        except SymdiagError as error:
            error.message, error.hint = as_keywords(error.message), as_keywords(error.hint)
            raise

    return call


def as_keywords(text: str) -> str:
    """``text`` with ``keyword=`` for ``--flag``; whole commands stay commands."""
    # a command to paste needs its flags as the shell takes them
    return text if _COMMAND.search(text) else _FLAG.sub(_keyword, text)


_COMMAND = re.compile(r"\bsymdiag [a-z]+ ")
# a flag, and what behind it is clearly its value and no word of the sentence: a number, PLACEHOLDER,
# package.module:name, file.toml, a quoted name, or a value that some option is known to take
_FLAG = re.compile(
    r"(?<![\w-])(?P<flag>--[A-Za-z][A-Za-z-]*|-o\b)"
    r"(?: (?:(?P<many>[A-Z\d.]+(?:,[A-Z\d.]*[A-Z\d])+)|(?P<bare>[\d.]*\d|[A-Z]{2,}\b)|(?P<text>\w[\w.]*:\w+|\w+\.[a-z]+\b|'[^']*'"
    r"|(?:cpu|cuda|relu|tanh|softplus|gaussian|categorical|poisson|bernoulli)\b)))?"
)


def _keyword(found: re.Match[str]) -> str:
    flag, names = found["flag"], _names()
    name = names.get(flag, flag.lstrip("-").replace("-", "_"))
    if found["many"]:
        return f"{name}=({found['many'].replace(',', ', ')})"
    if found["bare"]:
        return f"{name}={found['bare']}"
    if found["text"]:
        return f'{name}="{found["text"].strip(chr(39))}"'
    # a flag alone switches something on, or off
    if flag.startswith("--no-") and flag not in _switches():
        return f"{flag[5:].replace('-', '_')}=False"
    return f"{name}={_switches().get(flag, '')}"


def _options() -> Iterator[tuple[str, Any, str]]:
    """(keyword, its type, flag) of every option that a task takes."""
    concerns = [getattr(options, name) for name in options.__all__]
    for cls in (*concerns, ModelConfig, TrainingConfig, EvaluationConfig):
        for name, (kind, option) in declared(cls).items():
            for flags in option.flags or (f"--{name.replace('_', '-')}",):
                yield from ((name, kind, flag) for flag in flags.split("/"))


@functools.cache
def _names() -> dict[str, str]:
    """Flag → keyword."""
    return {flag: name for name, _, flag in _options()}


@functools.cache
def _switches() -> dict[str, str]:
    """Flag of a switch → the value that it gives."""
    return {flag: str(not flag.startswith("--no-")) for _, kind, flag in _options() if kind is bool}
