"""Options of the command line: its own, and options dataclasses as typer's parameters."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

from symdiag.errors import UsageError
from symdiag.options import Option, declared, is_options, offers
from symdiag.report.renderers import format_names


def _themes() -> tuple[str, ...]:
    from symdiag.report.figures import theme_names

    return theme_names()


@dataclass(frozen=True)
class ShownOptions:
    """How the report is shown."""

    format: Annotated[
        str | None,
        Option(
            f"On stdout: {', '.join(format_names())}. Console on a terminal, else text.",
            env=True,
            metavar="FORMAT",
            complete=offers(format_names),
        ),
    ] = None
    color: Annotated[
        str,
        Option(
            "auto, always or never.",
            env=True,
            metavar="WHEN",
            complete=offers(lambda: ("always", "auto", "never")),
        ),
    ] = "auto"
    theme: Annotated[
        str,
        Option("Of figures: light or dark.", env=True, metavar="THEME", complete=offers(_themes)),
    ] = "light"
    quiet: Annotated[bool, Option("The verdict and errors only.", flags=("--quiet", "-q"))] = False
    verbose: Annotated[
        int,
        Option("More detail; -vv logs each step as well.", flags=("--verbose", "-v"), counted=True),
    ] = 0

    @property
    def files(self) -> tuple[str, ...]:
        """Files to write the report to, each as FILE or FORMAT=FILE."""
        return ()


@dataclass(frozen=True)
class OutputOptions(ShownOptions):
    """Where a command whose only output is its report writes it."""

    output: Annotated[
        list[str] | None,
        Option(
            "Also write FILE, FORMAT=FILE, or figures to FILE.svg, .pdf, .png or FOLDER/.",
            flags=("--output", "-o"),
            metavar="FILE",
        ),
    ] = None

    @property
    def files(self) -> tuple[str, ...]:
        """Files to write the report to, each as FILE or FORMAT=FILE."""
        return tuple(self.output or ())


@dataclass(frozen=True)
class ReportOptions(ShownOptions):
    """Where a command that also writes weights (to ``--output``) writes its report."""

    report: Annotated[
        list[str] | None,
        Option("Also write the report, or its figures to FILE.svg or FOLDER/.", metavar="FILE"),
    ] = None

    @property
    def files(self) -> tuple[str, ...]:
        """Files to write the report to, each as FILE or FORMAT=FILE."""
        return tuple(self.report or ())


@dataclass(frozen=True)
class FindingOptions:
    """Whether a finding shows in the exit code."""

    exit_zero: Annotated[bool, Option("A finding exits 0, not 1.", env=True)] = False


@dataclass(frozen=True)
class VerdictOptions(FindingOptions):
    """Whether an inconclusive verdict shows in it as well."""

    strict: Annotated[bool, Option("An inconclusive verdict exits 1.", env=True)] = False


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
    try:
        return cls(**given)
    except UsageError as error:
        # what Python calls by the field's name has a flag here
        name, _, rest = error.message.partition(" ")
        if name in declared(cls):
            error.message = f"{_flags(name, declared(cls)[name][1])[0]} {rest}"
        raise


def _flags(name: str, option: Option) -> tuple[str, ...]:
    return option.flags or (f"--{name.replace('_', '-')}",)


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
        *_flags(name, option),
        envvar=f"SYMDIAG_{name.upper()}" if option.env else None,
        help=option.help,
        metavar=option.metavar,
        min=option.least,
        max=option.most,
        count=option.counted,
        autocompletion=option.complete,
    )
