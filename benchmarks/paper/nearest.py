r"""Theorem 3.1: how far is the nearest equivalent mode? Exactly, against the paper's bound.

One hidden layer: ‖ω − gω‖² = Σ_i ‖u_i − u_π(i)‖² with u_i = (incoming, bias, outgoing). A non-identity π moves at least
two units, each by at least the smallest distance, and a transposition of the closest pair attains it: √2·min‖u_i − u_j‖.
"""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import pdist

from benchmarks.paper.plotting import COLOURS, figure
from benchmarks.paper.study import RESULTS, Row, Settings, Study

Array = NDArray[np.float64]


def nearest_mode(units: Array) -> float:
    """min over g ≠ e of ‖ω − gω‖ for unit blocks (n, K)."""
    return math.sqrt(2.0) * float(pdist(units).min())


def nearest_by_enumeration(units: Array) -> float:
    """The same over all n! − 1 permutations."""
    everything = itertools.islice(itertools.permutations(range(len(units))), 1, None)
    return min(float(np.linalg.norm(units - units[list(order)])) for order in everything)


def theorem_bound(sizes: tuple[int, ...]) -> float:
    """2D / log|G|: the theorem's bound on ‖ω − gω‖/‖ω‖ for one hidden layer."""
    inputs, width, outputs = sizes
    size = width * (inputs + 1 + outputs) + outputs
    return 2.0 * size / math.lgamma(width + 1)


def jobs(settings: Settings) -> list[Row]:
    return [
        {"inputs": i, "outputs": o, "width": w}
        for i, o in settings["shapes"]
        for w in settings["widths"]
    ]


def run(job: Row, settings: Settings) -> list[Row]:
    """Random Gaussian weights, variance 1/fan-in, biases 0 (MLPs as initialised)."""
    inputs, width, outputs = job["inputs"], job["width"], job["outputs"]
    rows = []
    for seed in range(settings["seeds"]):
        rng = np.random.default_rng([seed, inputs, width])
        first = rng.standard_normal((width, inputs)) / math.sqrt(inputs)
        second = rng.standard_normal((width, outputs)) / math.sqrt(width)
        units = np.hstack([first, second])
        checked = nearest_by_enumeration(units) if width <= 7 else None
        norm = float(np.linalg.norm(units))
        bound = theorem_bound((inputs, width, outputs))
        rows.append({**job, "seed": seed, "nearest": nearest_mode(units) / norm, "bound": bound,
                     "enumerated": None if checked is None else checked / norm})  # fmt: skip
    return rows


def summarise(rows: list[Row]) -> Row:
    table = []
    for inputs in sorted({r["inputs"] for r in rows}):
        for width in sorted({r["width"] for r in rows}):
            mine = [r for r in rows if (r["inputs"], r["width"]) == (inputs, width)]
            table.append({"inputs": inputs, "width": width, "nearest": float(np.mean([r["nearest"] for r in mine])),
                          "bound": mine[0]["bound"], "looseness": mine[0]["bound"] / max(r["nearest"] for r in mine)})  # fmt: skip
    return {
        "table": table,
        "violations": sum(r["nearest"] > r["bound"] for r in rows),
        "smallest_looseness": min(c["looseness"] for c in table),
        "enumeration_agrees": all(
            abs(r["enumerated"] - r["nearest"]) < 1e-5 for r in rows if r["enumerated"] is not None
        ),
    }


def _trained() -> list[Row]:
    """Means of the posteriors of the digits study, if it has been run."""
    path = RESULTS / "digits.json"
    if not path.exists():
        return []
    return [row for job in json.loads(path.read_text())["jobs"] for row in job["rows"]]


def draw(rows: list[Row], summary: Row, folder: Path) -> None:
    trained = _trained()
    with figure(folder, "nearest", size=3.6) as axes:
        axis = axes[0][0]
        for k, inputs in enumerate(sorted({r["inputs"] for r in rows})):
            mine = [c for c in summary["table"] if c["inputs"] == inputs]
            widths = [c["width"] for c in mine]
            axis.plot(
                widths,
                [c["nearest"] for c in mine],
                "o-",
                ms=3,
                color=f"C{k}",
                label=f"{inputs} inputs, random weights",
            )
            axis.plot(widths, [c["bound"] for c in mine], "--", lw=0.9, color=f"C{k}")
        for name, marker in (("elbo", "x"), ("symmetrized", "+")):
            some = [r for r in trained if r["objective"] == name]
            if some:
                colour = COLOURS[name]
                axis.plot(
                    [r["width"] for r in some],
                    [r["nearest"] for r in some],
                    marker,
                    ms=5,
                    color=colour,
                    label=f"digits, {name}",
                )
        axis.set(
            xscale="log",
            yscale="log",
            xlabel="width",
            ylabel="‖ω − gω‖ / ‖ω‖ (dashed: Theorem 3.1)",
        )
        axis.legend(fontsize=6)


STUDY = Study(
    name="nearest",
    settings={
        "widths": [5, 7, 10, 20, 30, 64, 128, 256, 512, 1024],
        "shapes": [[1, 1], [64, 10], [784, 10]],
        "seeds": 5,
    },
    quick={"widths": [5, 16], "shapes": [[4, 2]], "seeds": 2},
    jobs=jobs,
    run=run,
    summarise=summarise,
    draw=draw,
)
