"""Options, each declared once for the command line, the Python calls and the range checks.

An options dataclass is frozen; a field that users may set is ``Annotated[type, Option(...)]``.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from symdiag.errors import UsageError


@dataclass(frozen=True)
class Option:
    """How a field is offered.

    Attributes:
        help: One line, for ``--help`` and for the Python signature alike.
        flags: On the command line; ``--field-name`` by default.
        env: Whether ``SYMDIAG_FIELD_NAME`` sets it too.
        metavar: Placeholder of the value.
        kind: The type that the command line reads, where the field takes more than text can say.
        parse: From what the command line read to the field's value.
        least: Smallest number allowed.
        most: Largest number allowed.
        counted: Given without a value, as often as wanted.
        complete: What the shell may complete: the beginning typed → the candidates.
    """

    help: str
    flags: tuple[str, ...] = ()
    env: bool = False
    metavar: str | None = None
    kind: Any = None
    parse: Callable[[Any], Any] | None = None
    least: float | None = None
    most: float | None = None
    counted: bool = False
    complete: Callable[[str], list[str]] | None = None

    @property
    def allowed(self) -> str:
        """The range in words."""
        if self.most is None:
            return f"a finite number of at least {self.least:g}"
        return f"between {self.least:g} and {self.most:g}"


def offers(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """``Option.complete`` for words: ``names`` is called only when the shell asks for them."""
    return lambda incomplete: sorted(name for name in names() if name.startswith(incomplete))


Seed = Annotated[int, Option("Seed of all randomness.", env=True, least=0)]
Samples = Annotated[
    int | None, Option("Weight draws. Default: as --precision needs.", env=True, least=1)
]
Precision = Annotated[
    float | None, Option("Target error, nats. Default: 0.05 + 1 %.", env=True, least=1e-9)
]
Budget = Annotated[
    float | None, Option("Nominal seconds to spend. Default: 5.", env=True, least=1e-9)
]
Device = Annotated[
    str,
    Option(
        "cpu, cuda or cuda:N. Draws are made on the CPU.",
        env=True,
        complete=offers(lambda: ("cpu", "cuda")),
    ),
]


@functools.cache
def declared(cls: Any) -> Mapping[str, tuple[Any, Option]]:
    """Field → (its type, its option), for the fields of an options dataclass that users may set."""
    # include_extras keeps Annotated, which is where the options are
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for field in dataclasses.fields(cls):
        for note in getattr(hints[field.name], "__metadata__", ()):
            if isinstance(note, Option):
                found[field.name] = (hints[field.name].__origin__, note)
    return found


def is_options(value: Any) -> bool:
    """Whether ``value`` is an options dataclass (the class or an instance)."""
    cls = value if isinstance(value, type) else value.__class__
    return dataclasses.is_dataclass(cls) and bool(declared(cls))


def check(options: Any) -> None:
    """Refuse numbers outside their declared range; ``__post_init__`` of options calls it.

    Raises:
        UsageError: ``bad-option``, naming the field and the range.
    """
    for name, (_, option) in declared(options.__class__).items():
        value = getattr(options, name)
        # None and words ("learn") are decided elsewhere
        if option.least is None or not isinstance(value, int | float):
            continue
        most = math.inf if option.most is None else option.most
        # comparisons with nan are false, so it is refused here as well
        if not (option.least <= value <= most and math.isfinite(value)):
            raise UsageError(f"{name} must be {option.allowed}, got {value}", code="bad-option")
