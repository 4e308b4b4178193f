"""The tables of the wide study, and its figure, from the lines of results."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import numpy as np
from scipy import stats

from benchmarks.wide.study import ROUTES

HERE = Path(__file__).parent
CONTROLS = ROUTES[:2]
COMPARED = (("LG", "L^G", ".0f"), ("rmse", "RMSE", ".3f"), ("nll", "NLL", ".2f"))
FIELDS = (
    ("L", ".0f"),
    ("LG", ".0f"),
    ("LG_lower", ".0f"),
    ("H", ".0f"),
    ("active", ".0f"),
    ("rmse", ".3f"),
    ("nll", ".2f"),
    ("seconds", ".0f"),
)
COLOURS = ("#000000", "#56B4E9", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito


def write(rows: list[dict]) -> None:
    """``results.md`` and ``wide.svg`` beside this file."""
    parts = [
        "# Wide networks: figures",
        "",
        "Coker et al.'s one-hidden-layer tasks (standard normal prior, 1/√width in the network, noise "
        "variance .025, 100 points), every route with equally many full-batch steps of 8 draws in all. Means over seeds, their standard deviation in brackets; L^G with H by the certified "
        "estimator on 16 draws (4 above 500 units), `L^G, lower end` with H's upper end. Boston, concrete: 50 points to train on, "
        "the others (up to 1000) for the test, standardised, noise .3, the same prior; a seed is a random split. Gap: no training point and every test point lies in [-2, 2]. `python -m benchmarks.wide tables`.",
        "",
        "Intervals are Student's t over seeds, paired. Splits of one data set share points, which the interval does not know.",
        "",
    ]
    by_cell = cells(rows, "task", "activation", "steps", "rate")
    for (task, activation, steps, rate), group in by_cell.items():
        parts += [
            f"## {task}, {activation}, {steps} steps at a rate of {rate}",
            "",
            *table(group),
            "",
            *gains(group),
            "",
            *shares(group),
        ]
    parts += nuts(rows)
    (HERE / "results.md").write_text("\n".join(parts))
    draw(rows)


def cells(rows: list[dict], *keys: str) -> dict[tuple, list[dict]]:
    """Rows by the values of ``keys``, in order of first appearance."""
    found: dict[tuple, list[dict]] = defaultdict(list)
    for row in rows:
        found[tuple(row[key] for key in keys)].append(row)
    return found


def table(rows: list[dict]) -> list[str]:
    """One line for each width and route."""
    head = ("width", "route", "seeds", "L", "L^G", "L^G, lower end", "H", "active", "test RMSE")
    lines = ["| " + " | ".join((*head, "test NLL", "CPU s")) + " |", "|---" * 11 + "|"]
    by_width = cells(rows, "width", "route")
    for (width, route), group in sorted(by_width.items(), key=_order):
        texts = []
        for field, form in FIELDS:
            values = np.array([row[field] for row in group])
            spread = f" ({values.std(ddof=1):{form}})" if len(values) > 1 else ""
            texts.append(f"{values.mean():{form}}{spread}")
        lines.append(f"| {width} | {route} | {len(group)} | " + " | ".join(texts) + " |")
    return lines


def _order(item: tuple[tuple, list[dict]]) -> tuple[int, int]:
    (width, route), _ = item
    return width, ROUTES.index(route)


def gains(rows: list[dict]) -> list[str]:
    """Each symmetrised route against the best plain one of the same seed, by L^G."""
    lines = ["Against the plain route with the better L^G of the same seed (of those trained):", ""]
    for (width,), group in sorted(cells(rows, "width").items()):
        seeds = cells(group, "seed").values()
        for route in ROUTES[2:]:
            pairs = [pair for pair in (_pair(seed, route) for seed in seeds) if pair]
            if pairs:
                texts = []
                for field, name, form in COMPARED:
                    changes = [new[field] - old[field] for old, new in pairs]
                    each = ", ".join(f"{change:+{form}}" for change in changes[:5])
                    more = ", …" if len(changes) > 5 else ""
                    texts.append(f"{name} {each}{more} ({interval(changes, form)})")
                lines.append(f"- {width}, {route}: " + "; ".join(texts))
    return lines


def _pair(seed: list[dict], route: str) -> tuple[dict, dict] | None:
    by_route = {row["route"]: row for row in seed}
    controls = [by_route[name] for name in CONTROLS if name in by_route]
    if route not in by_route or not controls:
        return None
    return max(controls, key=lambda row: row["LG"]), by_route[route]


def interval(values: list[float], form: str) -> str:
    """Mean and 95 % t interval over seeds."""
    mean, n = np.mean(values), len(values)
    if n == 1:
        return "one seed"
    half = stats.t.ppf(0.975, n - 1) * np.std(values, ddof=1) / n**0.5
    return f"mean {mean:+{form}} [{mean - half:+{form}}, {mean + half:+{form}}]"


def shares(rows: list[dict], base: int = 125) -> list[str]:
    """Of the rise of plain VI's test RMSE from ``base`` units: what each route undoes, paired by seed."""
    found = {(row["width"], row["route"], row["seed"]): row["rmse"] for row in rows}
    widths = sorted({row["width"] for row in rows if row["width"] > base})
    lines = []
    for width in widths:
        for route in ROUTES[1:]:
            seeds = [
                s for s in range(100) if all(key in found for key in _keys(base, width, route, s))
            ]
            if len(seeds) < 2:
                continue
            low, high, new = (
                np.array([found[_keys(base, width, route, seed)[i]] for seed in seeds])
                for i in range(3)
            )
            rise, undone = high - low, high - new
            lines.append(
                f"- {width}, {route}: RMSE rose by {interval(list(rise), '.3f')}, undone "
                f"{interval(list(undone), '.3f')}, share {undone.mean() / rise.mean():.2f} {fieller(undone, rise)}"
            )
    if not lines:
        return []
    head = f"Of the rise of the plain route's test RMSE from {base} units (95 % intervals over seeds, Fieller's for the share):"
    return [head, "", *lines, ""]


def _keys(base: int, width: int, route: str, seed: int) -> tuple[tuple[int, str, int], ...]:
    return (base, "plain", seed), (width, "plain", seed), (width, route, seed)


def fieller(top: np.ndarray, bottom: np.ndarray) -> str:
    """95 % interval of a ratio of means of pairs; none where the denominator may be zero."""
    n = len(top)
    t = stats.t.ppf(0.975, n - 1)
    (s_tt, s_tb), (_, s_bb) = np.cov(top, bottom) / n
    # the values r at which mean(top − r · bottom) is within t standard errors of zero
    a = bottom.mean() ** 2 - t**2 * s_bb
    b = top.mean() * bottom.mean() - t**2 * s_tb
    c = top.mean() ** 2 - t**2 * s_tt
    if a <= 0:
        return "(no interval: the rise itself is not certain)"
    half = np.sqrt(b**2 - a * c)
    return f"[{(b - half) / a:.2f}, {(b + half) / a:.2f}]"


def nuts(rows: list[dict]) -> list[str]:
    """Test NLL of the routes beside that of the true posterior, where ``reference`` sampled it."""
    found = {(r["task"], r["activation"], r["width"], r["seed"], r["route"]): r for r in rows}
    lines = []
    for row in map(json.loads, (HERE / "reference.jsonl").read_text().splitlines()):
        cell = tuple(row[key] for key in ("task", "activation", "width", "seed"))
        if any((*cell, route) not in found for route in ROUTES):
            continue
        plain, *others = (found[(*cell, route)]["nll"] for route in ROUTES)
        shares = [(plain - nll) / (plain - row["nll"]) for nll in others]
        texts = [f"{plain:.3f}", *(f"{share:.2f}" for share in shares)]
        texts += [f"{row['nll']:.3f}", f"{row['rhat_outputs']:.3f}"]
        lines.append("| " + " | ".join([*map(str, cell), *texts]) + " |")
    head = ("task", "activation", "width", "seed", *ROUTES, "NUTS", "R̂")
    return [
        "## Beside the true posterior",
        "",
        "Test NLL of the plain route and of NUTS, and the share of the gap between them that every other route closes. "
        "R̂: the largest split R̂ of the network's outputs at 50 test inputs, over four chains of 300 draws. `python -m benchmarks.wide.reference`.",
        "",
        "| " + " | ".join(head) + " |",
        "|---" * len(head) + "|",
        *lines,
        "",
    ]


def draw(rows: list[dict]) -> None:
    """L^G, test RMSE and test NLL against width."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "wide"})
    # steps and rate that most cells were trained with: curves need equal ones
    most = max(
        cells([r for r in rows if r["task"] == "two_dim"], "steps", "rate").values(), key=len
    )
    groups = cells(most, "task", "activation")
    figure = Figure(figsize=(10, 2.8 * len(groups)), layout="constrained")
    axes = figure.subplots(len(groups), 3, squeeze=False)
    measures = (("LG", "L^G (nats)"), ("rmse", "test RMSE"), ("nll", "test NLL (nats)"))
    for line, ((task, activation), group) in zip(axes, groups.items(), strict=True):
        for ax, (field, label) in zip(line, measures, strict=True):
            for route, colour in zip(ROUTES, COLOURS, strict=True):
                points = cells([r for r in group if r["route"] == route], "width")
                widths = sorted(width for (width,) in points)
                values = [[r[field] for r in points[(width,)]] for width in widths]
                ax.errorbar(
                    widths,
                    [np.mean(v) for v in values],
                    [np.std(v) for v in values],
                    label=route,
                    color=colour,
                    marker="o",
                    ms=3,
                )
            ax.set(xscale="log", xlabel="units", ylabel=label, title=f"{task}, {activation}")
    axes[0, 0].legend(fontsize=7)
    figure.savefig(HERE / "wide.svg", metadata={"Date": None})
