"""The application: assembles the commands, owns exit codes and streams."""

from __future__ import annotations

import importlib
import logging
import os
import pkgutil
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from symdiag import __version__, cli
from symdiag.cli._exits import INTERRUPTED, NO_VERDICT, OK, error_line, explained
from symdiag.cli._streams import StdoutError, write_stderr, write_stdout
from symdiag.errors import SymdiagError, UsageError
from symdiag.workers import is_first

_FIRST = ("analyze", "inspect", "compare", "align", "prune", "retrain", "samples")


def build_app() -> typer.Typer:
    """The application: every command module of this package, in the order users need them."""
    app = typer.Typer(
        name="symdiag",
        help="Tells what weight-space symmetry has done to a trained Bayesian neural network, "
        "and fixes it.",
        rich_markup_mode=None,
        # inherited by every command
        context_settings={"help_option_names": ["-h", "--help"]},
        pretty_exceptions_enable=False,
    )
    app.callback(invoke_without_command=True, epilog="Example: symdiag analyze posterior.pt")(_root)
    names = [
        m.name
        for m in pkgutil.iter_modules(cli.__path__)
        if m.name != "main" and not m.name.startswith("_")
    ]
    for name in sorted(names, key=lambda n: (_FIRST.index(n) if n in _FIRST else len(_FIRST), n)):
        importlib.import_module(f"{cli.__name__}.{name}").register(app)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        write_stdout(f"symdiag {__version__}\n")
        raise typer.Exit(OK)


def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    config: Annotated[
        Path | None,
        typer.Option("--config", envvar="SYMDIAG_CONFIG", help="Settings instead of symdiag.toml."),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    from symdiag.cli._config import check_environment, default_map, find_config, load_config

    if context.invoked_subcommand is None:
        raise UsageError("no command given", hint="see `symdiag --help`")
    commands: dict[str, Any] = context.command.commands  # type: ignore[attr-defined]
    check_environment({"": context.command, **commands})
    context.default_map = default_map(load_config(config or find_config(Path.cwd())), commands)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 1, 2 or 130, never an exception."""
    # threads that spin while they wait cost a busy machine several times the work itself; the
    # variable is read when torch is loaded
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # a copy: callers keep theirs
    args = list(sys.argv[1:] if argv is None else argv)
    with _logging(args):
        try:
            code = _dispatch(_without_debug(args))
        except (Exception, KeyboardInterrupt) as error:
            return _fail(error, args)
    if code == INTERRUPTED:
        return _fail(KeyboardInterrupt(), args)
    return code


def _dispatch(args: list[str]) -> int:
    command: Any = typer.main.get_command(build_app())
    try:
        result = command.main(args=args, prog_name="symdiag", standalone_mode=False)
    except SystemExit as stop:
        # typer exits by itself for completion scripts, and with 1 when --help's reader has gone
        gone = isinstance(stop.__context__, BrokenPipeError)
        return OK if gone or stop.code is None else int(stop.code)
    # flush now: a full disk must show in the exit code
    write_stdout("")
    return result if isinstance(result, int) else OK


def _fail(error: BaseException, args: list[str]) -> int:
    """Say what went wrong in one line on stderr and, in JSON mode, as JSON on stdout."""
    if _debugging(args):
        write_stderr("".join(traceback.format_exception(error)))
    problem = explained(error)
    write_stderr(error_line(problem))
    # of several processes the first alone writes to stdout
    if is_first() and _format_wanted(args) == "json" and not isinstance(problem, StdoutError):
        _print_json(problem)
    return INTERRUPTED if problem.code == "interrupted" else NO_VERDICT


def _print_json(problem: SymdiagError) -> None:
    from symdiag.report import Failure, render

    try:
        write_stdout(render(Failure("", problem), "json"))
    except StdoutError as error:
        write_stderr(error_line(error))


def _debugging(args: list[str]) -> bool:
    return "--debug" in args or "-vv" in args


def _without_debug(args: list[str]) -> list[str]:
    """``--debug`` may stand anywhere before ``--``; commands need not know of it."""
    end = args.index("--") if "--" in args else len(args)
    return [arg for arg in args[:end] if arg != "--debug"] + args[end:]


def _format_wanted(args: list[str]) -> str | None:
    """The format asked for, read without a parser because parsing may be what failed."""
    # environment over file, as the parser has it; the command line below wins over both
    wanted = os.environ.get("SYMDIAG_FORMAT") or _configured_format()
    for position, arg in enumerate(args):
        if arg == "--":
            break
        if arg.startswith("--format="):
            wanted = arg.partition("=")[2]
        elif arg == "--format" and position + 1 < len(args):
            wanted = args[position + 1]
    return wanted


def _configured_format() -> str | None:
    from symdiag.cli._config import find_config, load_config

    try:
        return load_config(find_config(Path.cwd())).get("format")
    except (SymdiagError, OSError):
        return None


@contextmanager
def _logging(args: list[str]) -> Iterator[None]:
    """Send the ``symdiag`` logger, and no other, to stderr for the length of one command."""
    # not the root logger: libraries keep their chatter to themselves
    logger = logging.getLogger("symdiag")
    level = logging.WARNING
    if "-q" in args or "--quiet" in args:
        level = logging.ERROR
    elif "-vv" in args:
        level = logging.DEBUG
    elif "-v" in args or "--verbose" in args:
        level = logging.INFO
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
