"""A report as flat rows: what a data frame, a CSV file or an experiment tracker takes.

The tables follow from the declaration of the report's kind, as its JSON does: every field that
holds a sequence of dataclasses is one, wherever it stands; so are fields of one dataclass side by
side (``before``, ``control``, ``retrained``).
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Real
from typing import Any

from msgspec import inspect

from symdiag.errors import UsageError
from symdiag.estimate import Estimate

Row = dict[str, Any]
_Path = tuple[str, ...]
SUMMARY = "summary"
_MAX_DEPTH = 6  # of dataclasses in one another; declarations are not recursive
_ESTIMATE = ("std_error", "lower", "upper", "interval", "samples")


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where a table's rows are: the fields on the way, and for fields side by side their names."""

    path: _Path
    beside: tuple[str, ...] = ()


def table_names(report: Any) -> tuple[str, ...]:
    """Names of a report's tables: the main one first, ``summary`` last."""
    names = list(_places(type(report)))
    main = getattr(type(report), "main_table", "")
    return (*sorted(names, key=lambda name: name != main), SUMMARY)


def rows(report: Any, table: str | None = None) -> list[Row]:
    """One flat dict per row of ``table``, all with the same keys where the report has the same.

    Raises:
        UsageError: ``bad-option``: there is no such table; the hint lists those there are.
    """
    names = table_names(report)
    name = names[0] if table is None else table
    if name == SUMMARY:
        return [summary(report)]
    place = _places(type(report)).get(name)
    if place is None:
        hint = f"one of {', '.join(names)}"
        raise UsageError(f"this report has no table {name!r}", code="bad-option", hint=hint)
    if place.beside:
        return [
            {"name": field, **_flat(item)}
            for parent, _ in _items(report, place.path)
            for field in place.beside
            if (item := getattr(parent, field)) is not None
        ]
    return [{**keys, **_flat(item)} for item, keys in _items(report, place.path)]


def summary(report: Any) -> Row:
    """Everything that a report says once: model, verdict, totals, settings."""
    # volatile, or the same in every report
    return _flat(report, without=frozenset({"run", "schema_version"}))


def scalars(report: Any) -> dict[str, float]:
    """The finite numbers of a report by name: of the summary, and of each row that has a name.

    ``total_straddling_entropy``, and ``groups/fc1/straddling_entropy`` for a row.
    """
    found = _numbers(summary(report))
    for name, place in _places(type(report)).items():
        # a tracker wants a line per group: units and layers are legion, fields side by side are in
        # the summary already
        if place.beside or len(place.path) != 1 or name == "findings":
            continue
        for row in rows(report, name):
            label = row.pop("name", row.pop("group", None))
            if label is not None:
                found |= {f"{name}/{label}/{k}": v for k, v in _numbers(row).items()}
    return found


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in row.items()
        if isinstance(value, Real)
        and not isinstance(value, bool)
        and math.isfinite(value)
        # what was chosen is no measurement; nor is the number of draws behind each estimate
        and not key.startswith("settings_")
        and not key.endswith("_samples")
    }


def to_csv(report: Any, table: str | None = None) -> str:
    """A table as CSV text: a header, then its rows; nothing for None, ``inf`` for infinity."""
    return csv_text(rows(report, table))


def csv_text(found: Sequence[Row]) -> str:
    """Rows as CSV text, with a column for every key that any of them has."""
    columns = list(dict.fromkeys(key for row in found for key in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([_cell(column) for column in columns])
    writer.writerows([_cell(row.get(column)) for column in columns] for row in found)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    # a name from a file must not be a formula to the spreadsheet that opens this one
    return (
        f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value
    )


def to_dataframe(report: Any, table: str | None = None) -> Any:
    """A table as a pandas DataFrame.

    Raises:
        UsageError: ``missing-extra`` without pandas; ``bad-option`` for an unknown table.
    """
    try:
        import pandas
    except ImportError as error:
        raise UsageError(
            "to_dataframe needs pandas",
            code="missing-extra",
            hint="pip install pandas, or use to_csv, which needs nothing",
        ) from error
    return pandas.DataFrame(rows(report, table))


# ------------------------------------------------------------------ rows


def _flat(value: Any, prefix: str = "", without: frozenset[str] = frozenset()) -> Row:
    """Every scalar of a dataclass by its underscored path; sequences of dataclasses are tables."""
    found: Row = {}
    for field in dataclasses.fields(value):
        if field.name not in without:
            found |= _entry(f"{prefix}{field.name}", getattr(value, field.name))
    return found


def _entry(name: str, value: Any) -> Row:
    if isinstance(value, Estimate):
        # the value under the quantity's own name: that is the column people plot
        return {name: value.value, **{f"{name}_{part}": getattr(value, part) for part in _ESTIMATE}}
    if dataclasses.is_dataclass(value):
        return _flat(value, f"{name}_")
    if isinstance(value, Mapping):
        return {
            k: v for key, item in value.items() for k, v in _entry(f"{name}_{key}", item).items()
        }
    if isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
        return {}
    return {name: value}


def _items(report: Any, path: _Path) -> Iterator[tuple[Any, Row]]:
    """What stands at ``path``, each with the names of the items it stands in."""
    current: list[tuple[Any, Row]] = [(report, {})]
    for depth, step in enumerate(path):
        last = depth == len(path) - 1
        following: list[tuple[Any, Row]] = []
        for parent, keys in current:
            value = getattr(parent, step)
            if value is None:
                continue
            if not isinstance(value, tuple):
                following.append((value, keys))
                continue
            for index, item in enumerate(value):
                own = getattr(item, "name", index)
                following.append((item, keys if last else {**keys, step.removesuffix("s"): own}))
        current = following
    return iter(current)


# ------------------------------------------------------------------ tables of a kind


def _find_places(cls: Any) -> dict[str, _Place]:
    """Table name → where its rows are; a short name belongs to the place nearest to the top."""
    found: dict[str, _Place] = {}
    every = _walk(inspect.type_info(cls), (), _MAX_DEPTH)
    # nearest to the top first; of those, sequences before fields that merely stand side by side
    places = sorted(every, key=lambda p: (len(p[1].path) + bool(p[1].beside), bool(p[1].beside)))
    for name, place in places:
        long = "_".join((*place.path, *((name,) if place.beside else ())))
        found.setdefault(name if name not in found else long, place)
    return found


_places: Callable[[Any], dict[str, _Place]] = functools.cache(_find_places)


def _walk(kind: Any, path: _Path, depth: int) -> Iterator[tuple[str, _Place]]:
    """Sequences of dataclasses below a declared type, and fields of one dataclass side by side."""
    kind = _plain(kind)
    if not isinstance(kind, inspect.DataclassType) or kind.cls is Estimate or depth == 0:
        return
    inner = [(field.encode_name, _plain(field.type)) for field in kind.fields]
    classes: dict[type, list[str]] = {}
    for name, found in inner:
        if isinstance(found, inspect.DataclassType) and found.cls is not Estimate:
            classes.setdefault(found.cls, []).append(name)
    for cls, names in classes.items():
        if len(names) > 1:
            yield _words(cls.__name__), _Place(path, tuple(names))
    for name, found in inner:
        if isinstance(found, inspect.VarTupleType):
            item = _plain(found.item_type)
            if isinstance(item, inspect.DataclassType):
                yield name, _Place((*path, name))
                yield from _walk(item, (*path, name), depth - 1)
        else:
            yield from _walk(found, (*path, name), depth - 1)


def _plain(kind: Any) -> Any:
    """A declared type without its annotations, and without the None of what may be absent."""
    if isinstance(kind, inspect.Metadata):
        return _plain(kind.type)
    if isinstance(kind, inspect.UnionType):
        return _plain(next(t for t in kind.types if not isinstance(t, inspect.NoneType)))
    return kind


def _words(name: str) -> str:
    """``PathReport`` → ``path``: a table is named by what it holds."""
    return name.removesuffix("Report").lower()
