"""Options dataclasses as parameters of a typer command."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from symdiag.options import Option, declared, is_options


def command(app: typer.Typer, run: Callable[..., int], *, short_help: str, example: str) -> None:
    """Add ``run`` to the application under its own name.

    A parameter of ``run`` that is an options dataclass becomes one option per declared field, and
    ``run`` gets the dataclass; an option that several of them declare is one option, and each gets
    its value.
    """
    app.command(run.__name__, short_help=short_help, epilog=f"Example: {example}")(_spread(run))


def _spread(run: Callable[..., int]) -> Callable[..., int]:
    plain: dict[str, inspect.Parameter] = {}
    fields: dict[str, inspect.Parameter] = {}
    classes: dict[str, type] = {}
    for name, parameter in inspect.signature(run, eval_str=True).parameters.items():
        if isinstance(parameter.annotation, type) and is_options(parameter.annotation):
            classes[name] = parameter.annotation
            # the first declaration of a name gives its help; all of them get its value
            for field, made in _parameters(parameter.annotation).items():
                fields.setdefault(field, made)
        else:
            # keyword-only, so that what has no default may follow what has one
            plain[name] = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)

    @functools.wraps(run)
    def call(**values: Any) -> int:
        options = {name: _filled(cls, values) for name, cls in classes.items()}
        return run(**{name: values[name] for name in plain}, **options)

    shown = [*plain.values(), *fields.values()]
    # typer reads the signature on some versions and the annotations on others
    call.__signature__ = inspect.Signature(shown)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    return call


def _filled(cls: type, values: dict[str, Any]) -> Any:
    """An instance of ``cls`` from what typer read; no value of a repeatable option is None."""
    # typer gives [] for a repeatable option that was not used
    given = {}
    for name, (_, option) in declared(cls).items():
        value = None if values[name] == [] else values[name]
        given[name] = value if option.parse is None else option.parse(value)
    return cls(**given)


def _parameters(cls: type) -> dict[str, inspect.Parameter]:
    defaults = cls()  # options dataclasses have a default for every field
    found = {}
    for name, (kind, option) in declared(cls).items():
        found[name] = inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=getattr(defaults, name),
            annotation=Annotated[option.kind or kind, _typer_option(name, option)],
        )
    return found


def _typer_option(name: str, option: Option) -> Any:
    return typer.Option(
        *(option.flags or (f"--{name.replace('_', '-')}",)),
        envvar=f"SYMDIAG_{name.upper()}" if option.env else None,
        help=option.help,
        metavar=option.metavar,
        min=option.least,
        max=option.most,
        count=option.counted,
        autocompletion=option.complete,
    )
