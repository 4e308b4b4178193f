"""Table 1: one hidden layer on scikit-learn's 8x8 digits; MFVI, the paper's K = 5, 10, 20, and the permanent.

Every run starts from the same random weights as its plain partner and sees the same batches and weight noise.
``MNIST_FOLDER`` in the environment points to MNIST's own idx files, if the user has them.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from benchmarks.paper.measure import Measured, measure, student_interval
from benchmarks.paper.nearest import nearest_mode, theorem_bound
from benchmarks.paper.nets import Net, Schedule, State, Task, initial
from benchmarks.paper.plotting import COLOURS, figure
from benchmarks.paper.problems import bundled, mnist
from benchmarks.paper.study import Row, Settings, Study
from benchmarks.paper.training import train
from symdiag.diagnostics.collapse import weak_units

PAPER = {  # accuracy in %, widths 5, 10, 20, 30, on MNIST
    "elbo": [88.379, 93.217, 94.836, 95.432],
    "infonce-5": [88.423, 93.221, 94.899, 95.534],
    "infonce-10": [88.405, 93.220, 94.896, 95.540],
    "infonce-20": [88.408, 93.221, 94.905, 95.552],
}
NAMES = ("elbo", "infonce-5", "infonce-10", "infonce-20", "symmetrized")


def jobs(settings: Settings) -> list[Row]:
    return [{"seed": s, "width": w} for s in range(settings["seeds"]) for w in settings["widths"]]


def run(job: Row, settings: Settings) -> list[Row]:
    folder = os.environ.get("MNIST_FOLDER")
    task, test = mnist(folder) if folder else bundled("digits", [job["seed"]])[:2]
    net = Net((task.x.shape[-1], job["width"], 10))
    start = initial(net, [job["seed"]])
    rows = []
    for name in NAMES:
        objective, _, elements = name.partition("-")
        plan = Schedule(
            settings["steps"],
            settings["rate"],
            1,
            settings["batch"],
            job["seed"],
            int(elements or 20),
        )
        state = train(net, task, start, objective, plan)
        found = measure(
            net,
            task,
            test,
            state,
            0,
            draws=settings["eval_draws"],
            permanents=settings["permanents"],
        )
        rows.append(
            {
                **job,
                "data": "mnist" if folder else "digits",
                "objective": name,
                **_row(net, state, found, test),
            }
        )
    return rows


def _row(net: Net, state: State, found: Measured, test: Task) -> Row:
    posterior = net.posterior(state.loc[0], state.log_scale[0].exp())
    loc = state.loc[0].numpy()
    units = loc[net.unit_index().numpy()]
    return {
        "accuracy": 100.0 * float((found.outputs.argmax(-1) == test.y[0].numpy()).mean()),
        "nll": found.test_nll,
        "elbo": found.elbo,
        "symmetrized": found.symmetrized,
        "entropy": found.entropy,
        "log_order": found.log_order,
        "collapsed": int(weak_units(posterior, net.spec.groups[0]).sum()),
        "nearest": nearest_mode(units) / float(np.linalg.norm(loc)),
        "bound": theorem_bound(net.sizes),
    }


def summarise(rows: list[Row]) -> Row:
    table = []
    for width in sorted({r["width"] for r in rows}):
        plain = {r["seed"]: r for r in rows if r["width"] == width and r["objective"] == "elbo"}
        for name in NAMES:
            mine = {r["seed"]: r for r in rows if r["width"] == width and r["objective"] == name}
            cell: Row = {"width": width, "objective": name, "seeds": len(mine)}
            for key in ("accuracy", "nll", "elbo", "symmetrized", "entropy", "collapsed"):
                cell[key] = float(np.mean([r[key] for r in mine.values()]))
                if key in ("accuracy", "nll", "symmetrized"):
                    cell[f"{key}_change"] = student_interval(
                        np.array([mine[s][key] - plain[s][key] for s in mine])
                    )
            cell["log_order"] = math.lgamma(width + 1)
            table.append(cell)
    return {"table": table, "paper_accuracy_on_mnist": PAPER}


def draw(rows: list[Row], summary: Row, folder: Path) -> None:
    keys = (
        ("symmetrized", "L^G over MFVI, nats"),
        ("nll", "test NLL over MFVI"),
        ("accuracy", "accuracy over MFVI, %"),
    )
    with figure(folder, "digits", columns=3, size=2.8) as axes:
        for axis, (key, label) in zip(axes[0], keys, strict=True):
            for k, name in enumerate(NAMES[1:]):
                cells = [c for c in summary["table"] if c["objective"] == name]
                centre = np.array([c[f"{key}_change"] for c in cells], dtype=float)
                x = np.arange(len(cells)) + 0.15 * (k - 1.5)
                colour = COLOURS["symmetrized"] if name == "symmetrized" else COLOURS["infonce"]
                axis.errorbar(x, centre[:, 0], [centre[:, 0] - centre[:, 1], centre[:, 2] - centre[:, 0]], fmt="o", ms=4,
                              color=colour, alpha=1.0 if name == "symmetrized" else 0.4 + 0.2 * k, label=name)  # fmt: skip
            axis.axhline(0.0, color="0.4", lw=0.7)
            axis.set(
                xticks=range(len(cells)),
                xticklabels=[c["width"] for c in cells],
                xlabel="width",
                ylabel=label,
            )
        axes[0][0].legend(fontsize=7, loc="lower left")


STUDY = Study(
    name="digits",
    settings={
        "widths": [5, 10, 20, 30],
        "seeds": 3,
        "steps": 10000,
        "rate": 1e-2,
        "batch": 100,
        "eval_draws": 200,
        "permanents": 64,
    },
    quick={
        "widths": [4],
        "seeds": 2,
        "steps": 40,
        "rate": 5e-3,
        "batch": 100,
        "eval_draws": 16,
        "permanents": 8,
    },
    jobs=jobs,
    run=run,
    summarise=summarise,
    draw=draw,
)
