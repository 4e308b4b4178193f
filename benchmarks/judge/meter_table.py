"""The study of the meter as tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

Row = dict


def table(rows: list[Row]) -> str:
    final = [r for r in rows if r["share"] == 1.0]
    flat = [r for r in final if r["flat"]]
    stopped = [r for r in rows if r["share"] < 1.0]
    lines = [_summary("trained to a flat objective", flat)]
    lines.append(_summary("trained to the end, not flat", [r for r in final if not r["flat"]]))
    lines.append(_summary("stopped after a tenth or a third", stopped))
    one = [r for r in rows if r["weight"] == 1.0]
    alarms = sum(r["differs"] for r in one)
    lines.append(
        f"\nFalse alarms at T = 1 (all {len(one)} readings, finished or stopped): {alarms}.\n"
    )
    lines.append(_by("T", sorted({r["weight"] for r in flat}), flat, lambda r: r["weight"]))
    lines.append(_by("case", sorted({r["case"] for r in flat}), flat, lambda r: r["case"]))
    head = "| runs | readings | ok | of them off by > 10 % | largest error of an ok | T inside the interval | median error |"
    return "\n".join([head, "|---|---|---|---|---|---|---|", *lines])


def _error(row: Row) -> float:
    return row["value"] / row["weight"] - 1.0


def _summary(name: str, rows: list[Row]) -> str:
    ok = [r for r in rows if r["status"] == "ok"]
    if not ok:
        return f"| {name} | {len(rows)} | 0 | 0 | – | – | – |"
    errors = sorted(abs(_error(r)) for r in ok)
    wrong = sum(e > 0.1 for e in errors)
    inside = sum(r["lower"] <= r["weight"] <= r["upper"] for r in ok)
    share = f"{len(ok)} ({len(ok) / len(rows):.0%})"
    return (
        f"| {name} | {len(rows)} | {share} | {wrong} | {errors[-1]:.1%} | {inside} of {len(ok)} | "
        f"{errors[len(errors) // 2]:.1%} |"
    )


def _by(title: str, values: Iterable, rows: list[Row], key: Callable) -> str:
    lines = [
        f"\n| {title} (flat) | readings | ok | off by > 10 % | largest error of an ok | T inside | median error |",
        "|---|---|---|---|---|---|---|",
    ]
    for value in values:
        name = f"{value:g}" if isinstance(value, float) and not math.isnan(value) else str(value)
        lines.append(_summary(name, [r for r in rows if key(r) == value]))
    return "\n".join(lines)
