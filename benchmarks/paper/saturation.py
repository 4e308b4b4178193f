"""The paper's estimator against the permanent-based one: value, error and time, widths 5 to 1024.

Synthetic posteriors (10 inputs, 1 output, means N(0, 1), one std) from separated to overlapping units. The reference is
exact up to width 20 and the bracket that holds in expectation beyond; both estimators are the library's own.
"""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np

from benchmarks.paper.nets import Net
from benchmarks.paper.plotting import figure
from benchmarks.paper.study import Row, Settings, Study
from symdiag.estimators import estimate_straddling, infonce
from symdiag.permanents import Effort
from symdiag.posterior import Posterior


def posterior_of(net: Net, scale: float, seed: int) -> Posterior:
    """Random means, one std."""
    import torch

    rng = np.random.default_rng([seed, net.sizes[1]])
    loc = torch.from_numpy(rng.standard_normal(net.size))
    return net.posterior(loc, torch.full_like(loc, scale))


def jobs(settings: Settings) -> list[Row]:
    return [{"width": w, "scale": s} for s in settings["scales"] for w in settings["widths"]]


def run(job: Row, settings: Settings) -> list[Row]:
    net = Net((settings["inputs"], job["width"], 1))
    posterior = posterior_of(net, job["scale"], settings["seed"])
    draws = settings["draws"] if job["width"] <= 30 else settings["draws_wide"]
    rows = [_reference(posterior, net, job, draws, settings)]
    rows += [
        _permanent(posterior, net, job, draws, count, settings) for count in settings["particles"]
    ]
    for elements in settings["elements"]:
        began = time.process_time()
        rng = np.random.default_rng([settings["seed"], elements])
        found = infonce(posterior, net.spec, num_elements=elements, samples=draws, generator=rng)
        seconds = (time.process_time() - began) / draws
        rows.append({**job, "method": "infonce", "effort": elements, "information": found.value, "se": found.std_error,
                     "seconds_per_draw": seconds, "log_K": math.log(elements)})  # fmt: skip
    return rows


def _reference(posterior: Posterior, net: Net, job: Row, draws: int, settings: Settings) -> Row:
    found = estimate_straddling(
        posterior,
        net.spec,
        samples=draws,
        seed=settings["seed"],
        effort=Effort(**settings["reference"]),
        budget=1e4,
    )
    info = found.total_information
    return {
        **job,
        "method": "reference",
        "information": info.value,
        "se": info.std_error,
        "lower": info.lower,
        "upper": info.upper,
        "interval": info.interval,
        "log_order": net.spec.log_order,
        "draws": draws,
    }


def _permanent(
    posterior: Posterior, net: Net, job: Row, draws: int, particles: int, settings: Settings
) -> Row:
    """The same weight draws as the reference, so that the difference is the estimator's error alone."""
    effort = Effort(max_exact=8, particles=particles, runs=2, certify=False)
    began = time.process_time()
    found = estimate_straddling(
        posterior, net.spec, samples=draws, seed=settings["seed"], effort=effort, budget=1e-9
    )
    seconds = (time.process_time() - began) / draws
    return {**job, "method": "permanent", "effort": particles, "information": found.total_information.value,
            "se": found.total_information.std_error, "seconds_per_draw": seconds}  # fmt: skip


def summarise(rows: list[Row]) -> Row:
    table = []
    for truth in (r for r in rows if r["method"] == "reference"):
        here = [r for r in rows if (r["width"], r["scale"]) == (truth["width"], truth["scale"])]
        best = max((r for r in here if r["method"] == "infonce"), key=lambda r: r["effort"])
        ours = max((r for r in here if r["method"] == "permanent"), key=lambda r: r["effort"])
        table.append({
            "width": truth["width"], "scale": truth["scale"], "log_order": truth["log_order"],
            "I": truth["information"], "I_interval": [truth["lower"], truth["upper"]], "H": truth["log_order"] - truth["information"],
            "K": best["effort"], "I_K": best["information"], "infonce_error": best["information"] - truth["information"],
            "infonce_seconds": best["seconds_per_draw"], "permanent_error": ours["information"] - truth["information"],
            "permanent_seconds": ours["seconds_per_draw"],
        })  # fmt: skip
    found = [r for r in rows if r["method"] == "infonce"]
    return {
        "table": table,
        "infonce_above_log_K": sum(r["information"] > r["log_K"] + 1e-5 for r in found),
    }


def draw(rows: list[Row], summary: Row, folder: Path) -> None:
    scales = sorted({r["scale"] for r in rows})
    with figure(folder, "saturation", columns=len(scales) + 1, size=2.9) as axes:
        for axis, scale in zip(axes[0], scales, strict=False):
            _draw_values(axis, [r for r in rows if r["scale"] == scale], scale)
        _draw_errors(axes[0][-1], rows, scales[-1])


def _draw_values(axis, rows: list[Row], scale: float) -> None:
    widths = sorted({r["width"] for r in rows})
    truth = [
        next(r for r in rows if r["width"] == w and r["method"] == "reference") for w in widths
    ]
    axis.plot(widths, [r["log_order"] for r in truth], ":", color="0.5", label="log|G|")
    axis.fill_between(
        widths, [r["lower"] for r in truth], [r["upper"] for r in truth], color="#2a6f97", alpha=0.3
    )
    axis.plot(
        widths,
        [r["information"] for r in truth],
        "o-",
        ms=3,
        color="#2a6f97",
        label="I, exact or bracketed",
    )
    for elements, colour in zip(
        sorted({r["effort"] for r in rows if r["method"] == "infonce"}), _reds(), strict=False
    ):
        mine = [
            next(
                r
                for r in rows
                if r["width"] == w and r["method"] == "infonce" and r["effort"] == elements
            )
            for w in widths
        ]
        axis.plot(
            widths,
            [r["information"] for r in mine],
            ".-",
            lw=0.8,
            ms=3,
            color=colour,
            label=f"K = {elements}",
        )
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="width",
        ylabel="mutual information, nats",
        title=f"std {scale:g}",
        ylim=(0.3, 8000),
    )
    axis.legend(fontsize=6)


def _reds() -> list[str]:
    return ["#f4c7ab", "#eda781", "#e58a5b", "#d9703c", "#c25a27", "#9c4519", "#75320f"]


def _draw_errors(axis, rows: list[Row], scale: float) -> None:
    for width, marker in ((20, "o"), (256, "s"), (1024, "^")):
        here = [r for r in rows if (r["width"], r["scale"]) == (width, scale)]
        if not here:
            continue
        truth = next(r for r in here if r["method"] == "reference")
        for method, colour in (("infonce", "#d08770"), ("permanent", "#2a6f97")):
            mine = sorted((r for r in here if r["method"] == method), key=lambda r: r["effort"])
            error = [max(abs(r["information"] - truth["information"]), 1e-4) for r in mine]
            axis.plot(
                [r["seconds_per_draw"] for r in mine],
                error,
                marker + "-",
                ms=4,
                lw=0.8,
                color=colour,
                label=f"{method}, n = {width}",
            )
    axis.set(
        xscale="log",
        yscale="log",
        xlabel="CPU seconds per weight draw",
        ylabel="error, nats",
        title=f"std {scale:g}",
    )
    if axis.lines:
        axis.legend(fontsize=5, loc="lower left")


STUDY = Study(
    name="saturation",
    settings={
        "seed": 0,
        "inputs": 10,
        "widths": [5, 10, 20, 30, 64, 128, 256, 512, 1024],
        "scales": [0.3, 1.0],
        "draws": 64,
        "draws_wide": 8,
        "elements": [2, 5, 20, 100, 1000],
        "particles": [16, 64, 256],
        "reference": {"max_exact": 20, "particles": 512, "runs": 4, "certify": False},
    },
    quick={
        "seed": 0,
        "inputs": 3,
        "widths": [4, 12],
        "scales": [0.5],
        "draws": 8,
        "draws_wide": 4,
        "elements": [2, 10],
        "particles": [16],
        "reference": {"max_exact": 12, "particles": 64, "runs": 2, "certify": False},
    },
    jobs=jobs,
    run=run,
    summarise=summarise,
    draw=draw,
)
