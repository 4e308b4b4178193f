"""JSON objects back into the frozen dataclasses they came from, so that every format can re-render them."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from symdiag.errors import UnreadableError

T = TypeVar("T")
_LARGEST = (
    1 << 63
)  # no count of ours comes near; larger integers overflow in arithmetic with floats


def decode(cls: type[T], data: Any, where: str = "report") -> T:
    """An instance of the dataclass ``cls`` from ``data``; unknown keys are ignored (additive schema).

    A null where a number belongs was not finite: minus infinity for a ``lower`` end, else plus infinity.

    Raises:
        UnreadableError: A required key is missing or a value has the wrong type; the message names it.
    """
    if not isinstance(data, Mapping):
        raise _malformed(where, "an object", data)
    hints = typing.get_type_hints(cls)
    values = {}
    for spec in dataclasses.fields(cls):  # type: ignore[arg-type]
        if spec.name in data:
            unbounded = spec.name == "lower" and data["lower"] is None
            raw = -math.inf if unbounded else data[spec.name]
            values[spec.name] = _value(hints[spec.name], raw, f"{where}.{spec.name}")
        elif spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise UnreadableError(f"{where}.{spec.name} is missing", code="bad-report", hint=_HINT)
    return cls(**values)


_HINT = "validate the file against `symdiag schema`, or make it again with `symdiag analyze … --format json`"


def _malformed(where: str, wanted: str, data: Any) -> UnreadableError:
    return UnreadableError(
        f"{where} should be {wanted}, not {type(data).__name__}", code="bad-report", hint=_HINT
    )


def _value(hint: Any, data: Any, where: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return decode(typing.cast("type[Any]", hint), data, where)
    if origin in (typing.Union, types.UnionType):
        return _optional(args, data, where)
    if origin is tuple:
        return _tuple(args, data, where)
    if origin is typing.Literal:
        return _literal(args, data, where)
    if origin is dict:
        return _dict(args, data, where)
    return _scalar(hint, data, where)


def _double(data: float) -> float:
    """A float; integers beyond its range (JSON allows them) count as not finite."""
    try:
        return float(data)
    except OverflowError:
        return math.inf if data > 0 else -math.inf


def _optional(args: tuple[Any, ...], data: Any, where: str) -> Any:
    if data is None and type(None) in args:
        return None
    inner = next(a for a in args if a is not type(None))
    return _value(inner, data, where)


def _tuple(args: tuple[Any, ...], data: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(data, (list, tuple)):
        raise _malformed(where, "a list", data)
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_value(args[0], item, f"{where}[{i}]") for i, item in enumerate(data))
    if len(args) != len(data):
        raise _malformed(where, f"a list of {len(args)}", data)
    return tuple(
        _value(a, item, f"{where}[{i}]") for i, (a, item) in enumerate(zip(args, data, strict=True))
    )


def _literal(args: tuple[Any, ...], data: Any, where: str) -> Any:
    if data not in args:
        raise UnreadableError(
            f"{where} is {data!r}, not one of {', '.join(map(repr, args))}", code="bad-report"
        )
    return data


def _dict(args: tuple[Any, ...], data: Any, where: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise _malformed(where, "an object", data)
    return {
        str(k): data[k] if args[1] is Any else _value(args[1], data[k], f"{where}.{k}")
        for k in data
    }


def _scalar(hint: Any, data: Any, where: str) -> Any:
    if hint is Any:
        return data
    if hint is float and isinstance(data, (int, float)) and not isinstance(data, bool):
        return _double(data)
    if hint is float and data is None:
        return math.inf
    if hint is int and isinstance(data, int) and abs(data) > _LARGEST:
        raise _malformed(where, "a count below 2^63", data)
    if isinstance(data, hint) and not (hint is int and isinstance(data, bool)):
        return data
    raise _malformed(where, hint.__name__, data)
