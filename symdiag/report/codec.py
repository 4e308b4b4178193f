"""Report dataclasses to JSON objects and back: both directions follow from the declaration alone.

msgspec does the work. It was chosen over pydantic because it reads plain frozen dataclasses as they
are, decodes strictly (no string counts as a number), and imports in 20 ms where pydantic takes 55
to 70 (``import`` of the library with one model, Python 3.11).
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import msgspec
from msgspec import inspect

from symdiag.errors import UnreadableError

T = TypeVar("T")
SCHEMA_VERSION: Final = 1
_FIRST = ("schema_version", "kind", "tool")
_LAST = ("findings", "verdict", "settings", "run")
# No count of ours comes near; larger integers overflow in arithmetic with floats.
_LARGEST = 1 << 63
_HINT = (
    "validate the file against `symdiag schema`, or make it again with "
    "`symdiag analyze … --format json`"
)


def to_object(report: Any) -> dict[str, Any]:
    """A report of any kind as its JSON object: what identifies it first, what is volatile last."""
    plain: dict[str, Any] = to_plain(report)
    # Key order is part of what readers see; dataclass order cannot give it, as defaults come last.
    middle = [key for key in plain if key not in (*_FIRST, *_LAST)]
    return {key: plain[key] for key in (*_FIRST, *middle, *_LAST) if key in plain}


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples and NumPy scalars as JSON types; non-finite floats become None."""
    # NumPy scalars reach reports through estimates; msgspec does not know them.
    return _printable(msgspec.to_builtins(value, enc_hook=lambda scalar: scalar.item()))


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_printable(str(key)): _printable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_printable(item) for item in value]
    if isinstance(value, str):
        # A path may hold bytes that are no text; Python keeps them as lone surrogates.
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def decode(cls: type[T], data: Any) -> T:
    """An instance of the report dataclass ``cls`` from its JSON object; unknown keys are ignored.

    A null where a float belongs was not finite: minus infinity where so declared, else plus
    infinity.

    Raises:
        UnreadableError: A field is missing or has the wrong type; the message names it
        (``bad-report``).
    """
    try:
        # strict: a string that reads as a number is a damaged report, not a number
        return msgspec.convert(_restored(_type_info(cls), data, "report"), cls, strict=True)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        raise UnreadableError(_located(str(error)), code="bad-report", hint=_HINT) from error


_type_info: Callable[[Any], inspect.Type] = functools.cache(inspect.type_info)


def _restored(kind: inspect.Type, data: Any, where: str) -> Any:
    """``data`` with the infinities that JSON could not hold; msgspec refuses what does not fit."""
    if isinstance(kind, inspect.Metadata):
        below = (kind.extra_json_schema or {}).get("null") == "-inf"
        return -math.inf if data is None and below else _restored(kind.type, data, where)
    # Null stands for None here and for infinity below: only the declaration can tell.
    if isinstance(kind, inspect.UnionType):  # of one type and None
        # reports declare no other unions, so that what a value is never depends on trying in turn
        inner = next(t for t in kind.types if not isinstance(t, inspect.NoneType))
        return None if data is None else _restored(inner, data, where)
    if isinstance(kind, inspect.FloatType):
        return math.inf if data is None else _float(data)
    if isinstance(kind, inspect.IntType) and isinstance(data, int) and abs(data) > _LARGEST:
        raise UnreadableError(f"{where} is beyond 2^63", code="bad-report", hint=_HINT)
    if isinstance(data, Mapping):
        return {key: _restored_item(kind, key, item, where) for key, item in data.items()}
    if isinstance(data, (list, tuple)):
        return [
            _restored(_item_type(kind, i), item, f"{where}[{i}]") for i, item in enumerate(data)
        ]
    return data


def _restored_item(kind: inspect.Type, key: Any, item: Any, where: str) -> Any:
    if isinstance(kind, inspect.DictType):
        return _restored(kind.value_type, item, f"{where}.{key}")
    if not isinstance(kind, inspect.DataclassType):
        return item
    # unknown keys pass: a later version of the same schema only adds fields
    found = next((f.type for f in kind.fields if f.encode_name == key), inspect.AnyType())
    return _restored(found, item, f"{where}.{key}")


def _item_type(kind: inspect.Type, position: int) -> inspect.Type:
    if isinstance(kind, inspect.VarTupleType):
        return kind.item_type
    # an excess item is left alone here; msgspec then refuses the length, naming the place
    if isinstance(kind, inspect.TupleType) and position < len(kind.item_types):
        return kind.item_types[position]
    return inspect.AnyType()


def _float(data: Any) -> Any:
    # JSON writers may drop the .0 of a whole float; true is no 1, although Python says so
    if isinstance(data, int) and not isinstance(data, bool):
        try:
            return float(data)
        except OverflowError:  # JSON allows integers beyond any double
            return math.inf if data > 0 else -math.inf
    return data


def _located(message: str) -> str:
    """msgspec's message with the place first: ``report.settings.seed: expected `int`, got `str`."""
    match = re.fullmatch(r"(?P<what>.*?)(?: - at `(?P<where>.*)`)?", message, re.DOTALL)
    assert match is not None
    where = (match["where"] or "$").replace("$", "report", 1)
    missing = re.fullmatch(r"Object missing required field `(.*)`", match["what"])
    if missing:
        return f"{where}.{missing[1]} is missing"
    return f"{where}: {match['what'][:1].lower()}{match['what'][1:]}"
