"""Where symmetrised retraining pays, and whether a checkpoint tells beforehand (beyond the paper).

One row per posterior: plain variational inference to convergence ("base"), then equally many further steps of the plain
ELBO (control) and of the symmetrised one from the same checkpoint with the same noise. H(g|ω) and the predicted shift
are read off the base alone, without data.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp
from scipy.stats import pearsonr, rankdata, spearmanr

from benchmarks.paper.measure import Measured, measure, paired, reported
from benchmarks.paper.nets import Net, Schedule, State, Task, initial
from benchmarks.paper.plotting import COLOURS, figure
from benchmarks.paper.problems import bundled, wave
from benchmarks.paper.study import Row, Settings, Study
from benchmarks.paper.training import Trainer
from symdiag.diagnostics.collapse import weak_units

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Setup:
    """Everything one job trains on."""

    net: Net
    train: Task
    test: Task
    batch: int | None


def jobs(settings: Settings) -> list[Row]:
    found = [
        {"data": "wave", "count": n, "noise": e, "width": w, "activation": a, "seed": s}
        for s in settings["seeds"]
        for n in settings["wave_counts"]
        for e in settings["wave_noises"]
        for w in settings["wave_widths"]
        for a in settings["activations"]
    ]
    found += [
        {"data": d, "count": None, "noise": None, "width": w, "activation": a, "seed": s}
        for s in settings["seeds"]
        for d in settings["bundled"]
        for w in settings["bundled_widths"]
        for a in settings["activations"]
    ]
    return sorted(found, key=lambda job: job["seed"])


def setup(job: Row, settings: Settings) -> Setup:
    """Data and network of a job."""
    if job["data"] == "wave":
        train = wave([job["seed"]], job["count"], [job["noise"]])
        test = wave([job["seed"] + 1000], settings["test_count"], [job["noise"]])
        return Setup(Net((1, job["width"], 1), job["activation"]), train, test, None)
    train, test, outputs = bundled(job["data"], [job["seed"]])
    net = Net((train.x.shape[-1], job["width"], outputs), job["activation"])
    return Setup(net, train, test, settings["batch"])


def run(job: Row, settings: Settings) -> list[Row]:
    made = setup(job, settings)
    trainer = Trainer(made.net, made.train)
    start = initial(made.net, [job["seed"]])
    plan = dict(rate=settings["rate"], draws=settings["draws"], batch=made.batch)
    base = trainer(
        start.loc[0].double().numpy(),
        start.log_scale[0].double().numpy(),
        "elbo",
        Schedule(settings["base_steps"], seed=job["seed"], **plan),
    )
    after = Schedule(settings["steps"], seed=job["seed"] + 500, **plan)
    ends = {o: trainer(*base[:2], o, after, (settings["early"],)) for o in ("elbo", "symmetrized")}
    states = {"base": base, "control": ends["elbo"], "symmetrized": ends["symmetrized"]}
    row: Row = {**job, "log_order": made.net.spec.log_order, "points": made.train.x.shape[1]}
    row |= _evidence(made, states, settings)
    row |= _shift(made.net, trainer, states, settings)
    return [row]


def _state(run_result: tuple[Array, Array, object]) -> State:
    return State(torch.from_numpy(run_result[0])[None], torch.from_numpy(run_result[1])[None])


def _evidence(made: Setup, states: Row, settings: Settings) -> Row:
    """L, H, L^G and test NLL of base, control and symmetrised run; their paired differences."""
    draws = {"draws": settings["eval_draws"], "permanents": settings["permanents"]}
    measured = {
        k: measure(made.net, made.train, made.test, _state(v), 0, **draws)
        for k, v in states.items()
    }
    row: Row = {
        "reported": reported(made.net, _state(states["base"]), 0, samples=settings["permanents"])
    }
    for name, m in measured.items():
        row[name] = {
            "elbo": m.elbo,
            "entropy": m.entropy,
            "symmetrized": m.symmetrized,
            "nll": m.test_nll,
        }
        posterior = made.net.posterior(
            _state(states[name]).loc[0], _state(states[name]).log_scale[0].exp()
        )
        row[name]["collapsed"] = int(weak_units(posterior, made.net.spec.groups[0]).sum())
    row["gain"], row["gain_se"] = gain(measured["symmetrized"], measured["control"])
    row["nll_change"], row["nll_change_se"] = paired(
        _log_loss(measured["symmetrized"]), _log_loss(measured["control"])
    )
    return row


def _log_loss(m: Measured) -> Array:
    return np.log(len(m.point)) - logsumexp(m.point, axis=0)


def gain(first: Measured, second: Measured) -> tuple[float, float]:
    """L^G of the first minus that of the second, and the Monte Carlo standard error of the difference."""
    _, fit = paired(first.log_likelihood, second.log_likelihood)
    _, label = paired(first.straddling, second.straddling)
    return first.symmetrized - second.symmetrized, float(np.hypot(fit, label))


def _shift(net: Net, trainer: Trainer, states: Row, settings: Settings) -> Row:
    """The data-free prediction −∇H at the base against where the symmetrised run went beyond the control."""
    loc, log_scale, _ = states["base"]
    scale = np.exp(log_scale)
    rng = np.random.default_rng(9)
    halves: list[tuple[Array, Array]] = []
    for _ in range(2):
        noise = rng.standard_normal((settings["gradient_draws"] // 2, net.size))
        state = np.stack([loc, log_scale])
        plain, full = (
            trainer.gradient(state, noise, None, o, rng) for o in ("elbo", "symmetrized")
        )
        unit = np.stack([scale, np.ones_like(scale)])
        halves.append((-(full - plain) * unit, -full * unit))
    predicted = 0.5 * (halves[0][0] + halves[1][0])  # −∇H in posterior-std units, (2, D)
    ascent = 0.5 * (halves[0][1] + halves[1][1])  # ∇L^G, with data
    row: Row = {
        "prediction_reliability": _cosine(halves[0][0], halves[1][0]),
        "gradient_cosine": _cosine(predicted, ascent),
    }
    index = net.unit_index().numpy()
    sizes = np.sqrt((predicted[0][index] ** 2).sum(1))
    for name in ("early", "final"):
        found = _found(states, name, settings["early"], loc, log_scale)
        row[f"cosine_{name}"] = _cosine(predicted, found)
        row[f"cosine_mean_{name}"] = _cosine(predicted[0], found[0])
        row[f"cosine_std_{name}"] = _cosine(predicted[1], found[1])
        moved = np.sqrt((found[0][index] ** 2).sum(1))
        row[f"unit_rank_{name}"] = float(spearmanr(sizes, moved)[0])
    row["found_size"] = float(np.sqrt((found[0] ** 2).sum()))
    row["predicted_size"] = float(np.sqrt((predicted[0] ** 2).sum()))
    row["std_shift_predicted"], row["std_shift_found"] = (
        float(predicted[1][index].mean()),
        float(found[1][index].mean()),
    )
    return row


def _found(states: Row, when: str, early: int, loc: Array, log_scale: Array) -> Array:
    """(symmetrised − control) in posterior-std units of the base, (2, D)."""
    ends = []
    for name in ("symmetrized", "control"):
        final_loc, final_scale, kept = states[name]
        ends.append(kept[early] if when == "early" else (final_loc, final_scale))
    return np.stack([(ends[0][0] - ends[1][0]) / np.exp(log_scale), ends[0][1] - ends[1][1]])


def _cosine(a: Array, b: Array) -> float:
    return float((a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum()))


def summarise(rows: list[Row]) -> Row:
    if not rows:
        return {}
    entropy = np.array([r["reported"]["value"] for r in rows])
    beyond = entropy - np.array([gammaln(r["base"]["collapsed"] + 1) for r in rows])
    gains = np.array([r["gain"] for r in rows])
    change = np.array([r["nll_change"] for r in rows])
    errors = np.array([r["gain_se"] for r in rows])
    summary: Row = {
        "posteriors": len(rows),
        "pearson_H_gain": _pearson(entropy, gains),
        "spearman_H_gain": _spearman(entropy, gains),
        "spearman_H_beyond_collapse_gain": _spearman(beyond, gains),
        "spearman_log_collapsed_gain": _spearman(entropy - beyond, gains),
        "spearman_share_gain": _spearman(entropy / np.array([r["log_order"] for r in rows]), gains),
        "spearman_H_nll_change": _spearman(entropy, change),
        "spearman_gain_nll_change": _spearman(gains, change),
        "gain_above_H": int((gains - 2 * errors > entropy + 1e-6).sum()),
        "median_gain_over_H": float(np.median(gains[entropy > 1] / entropy[entropy > 1]))
        if (entropy > 1).any()
        else None,
        "gain_negative_by_2se": int((gains + 2 * errors < -1e-6).sum()),
        "nll_better_by_2se": int(
            (change + 2 * np.array([r["nll_change_se"] for r in rows]) < 0).sum()
        ),
        "nll_worse_by_2se": int(
            (change - 2 * np.array([r["nll_change_se"] for r in rows]) > 0).sum()
        ),
        "thresholds": {
            str(t): _confusion(entropy, gains, errors, t)
            for t in (0.1, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0)
        },
        "by_H": _bins(entropy, gains, change),
        "by_data": {
            d: _group([r for r in rows if r["data"] == d])
            for d in sorted({r["data"] for r in rows})
        },
        "by_activation": {
            a: _group([r for r in rows if r["activation"] == a]) for a in ("relu", "tanh")
        },
    }
    summary["misses"] = _misses(rows)
    for key in ("gradient_cosine", "cosine_early", "cosine_final", "cosine_mean_early", "cosine_mean_final",
                "cosine_std_early", "cosine_std_final", "unit_rank_early", "unit_rank_final",
                "prediction_reliability"):  # fmt: skip
        values = np.array(
            [r[key] for r in rows if r["reported"]["value"] > 1 and r[key] is not None]
        )
        summary[key] = np.quantile(values, [0.1, 0.5, 0.9]).tolist() if len(values) else None
    summary["std_shift_sign_agrees"] = float(
        np.mean([r["std_shift_predicted"] * r["std_shift_found"] > 0 for r in rows])
    )
    summary["spearman_predicted_found_size"] = _spearman(
        np.array([r["predicted_size"] for r in rows]), np.array([r["found_size"] for r in rows])
    )
    return summary


def _pearson(a: Array, b: Array) -> float | None:
    return float(pearsonr(a, b)[0]) if len(a) > 2 else None


def _spearman(a: Array, b: Array) -> float | None:
    return float(pearsonr(rankdata(a), rankdata(b))[0]) if len(a) > 2 else None


def _confusion(entropy: Array, gains: Array, errors: Array, threshold: float) -> Row:
    """Does H ≥ threshold announce a gain of at least 1 nat (by two standard errors)?"""
    flagged, pays = entropy >= threshold, gains - 2 * errors > 1.0
    return {
        "flagged": int(flagged.sum()),
        "flagged_and_pays": int((flagged & pays).sum()),
        "missed": int((~flagged & pays).sum()),
        "largest_missed_gain": float(gains[~flagged].max()) if (~flagged).any() else None,
    }


def _bins(entropy: Array, gains: Array, change: Array) -> list[Row]:
    edges = [0.0, 0.3, 1.0, 3.0, 10.0, 30.0, np.inf]
    bins = []
    for low, high in pairwise(edges):
        inside = (entropy >= low) & (entropy < high)
        if inside.any():
            quartiles = np.quantile(gains[inside], [0.0, 0.25, 0.5, 0.75, 1.0]).tolist()
            bins.append({"H_from": low, "H_to": high, "posteriors": int(inside.sum()), "gain_quartiles": quartiles,
                         "median_nll_change": float(np.median(change[inside]))})  # fmt: skip
    return bins


def _group(rows: list[Row]) -> Row | None:
    if not rows:
        return None
    entropy, gains = (
        np.array([f(r) for r in rows])
        for f in (lambda r: r["reported"]["value"], lambda r: r["gain"])
    )
    return {
        "posteriors": len(rows),
        "spearman_H_gain": _spearman(entropy, gains),
        "median_H": float(np.median(entropy)),
        "median_gain": float(np.median(gains)),
        "median_nll_change": float(np.median([r["nll_change"] for r in rows])),
    }


def _misses(rows: list[Row]) -> Row:
    """The posteriors whose gain H predicts worst, both ways."""

    def label(r: Row) -> Row:
        keys = (
            "data",
            "count",
            "noise",
            "width",
            "activation",
            "seed",
            "gain",
            "gain_se",
            "nll_change",
        )
        return {k: r[k] for k in keys} | {
            "H": r["reported"]["value"],
            "collapsed": r["base"]["collapsed"],
        }

    least = sorted(
        rows,
        key=lambda r: r["gain"] / r["reported"]["value"] if r["reported"]["value"] > 1 else 9.9,
    )
    most = sorted(rows, key=lambda r: r["reported"]["value"] - r["gain"])
    return {
        "least_gain_for_H": [label(r) for r in least[:5]],
        "most_gain_for_H": [label(r) for r in most[:5]],
    }


MARKS = {"wave": "o", "diabetes": "s", "wine": "^", "breast_cancer": "D", "digits": "P"}


def draw(rows: list[Row], summary: Row, folder: Path) -> None:
    if not rows:
        return
    with figure(folder, "payoff", columns=2, size=3.4) as axes:
        left, right = axes[0]
        for data in sorted({r["data"] for r in rows}):
            for activation, colour in (
                ("relu", COLOURS["symmetrized"]),
                ("tanh", COLOURS["infonce"]),
            ):
                mine = [r for r in rows if r["data"] == data and r["activation"] == activation]
                if mine:
                    h = [max(r["reported"]["value"], 1e-3) for r in mine]
                    style = {
                        "marker": MARKS[data],
                        "ls": "",
                        "color": colour,
                        "ms": 4,
                        "alpha": 0.75,
                    }
                    left.errorbar(h, [r["gain"] for r in mine], [2 * r["gain_se"] for r in mine], elinewidth=0.5,
                                  label=f"{data}, {activation}", **style)  # fmt: skip
                    right.plot(h, [r["nll_change"] for r in mine], **style)
        line = np.geomspace(1e-3, 400, 200)
        left.plot(line, line, color=COLOURS["bound"], lw=0.8, ls="--", label="gain = H")
        left.set(
            xscale="log",
            yscale="symlog",
            xlabel="H(g|ω) of the checkpoint, nats",
            ylabel="gain in L^G over control, nats",
        )
        right.set(
            xscale="log",
            xlabel="H(g|ω) of the checkpoint, nats",
            ylabel="test NLL, symmetrised − control",
        )
        for axis in (left, right):
            axis.axvline(1.0, color="0.4", lw=0.7, ls=":")
            axis.axhline(0.0, color="0.4", lw=0.7)
        left.legend(fontsize=6)
    with figure(folder, "shift", columns=3, size=2.8) as axes:
        for axis, key, title in zip(
            axes[0],
            ("gradient_cosine", "cosine_early", "cosine_final"),
            ("∇L^G with data", "shift after the first steps", "shift at the end"),
            strict=True,
        ):
            for activation, colour in (
                ("relu", COLOURS["symmetrized"]),
                ("tanh", COLOURS["infonce"]),
            ):
                mine = [r for r in rows if r["activation"] == activation]
                axis.plot([max(r["reported"]["value"], 1e-3) for r in mine], [r[key] for r in mine], "o", ms=3,
                          color=colour, alpha=0.75, label=activation)  # fmt: skip
            axis.set(xscale="log", ylim=(-1.05, 1.05), xlabel="H(g|ω), nats", title=title)
            axis.axhline(0.0, color="0.4", lw=0.7)
        axes[0][0].set(ylabel="cosine with −∇H")
        axes[0][0].legend(fontsize=7)


_COMMON = {
    "rate": 1e-2,
    "draws": 2,
    "batch": 64,
    "activations": ["relu", "tanh"],
    "test_count": 500,
}

STUDY = Study(
    name="payoff",
    settings={
        **_COMMON,
        "seeds": [0],
        "wave_counts": [60, 200],
        "wave_noises": [0.1, 0.3, 0.6],
        "wave_widths": [5, 20, 50],
        "bundled": ["wine", "diabetes", "breast_cancer", "digits"],
        "bundled_widths": [10, 30],
        "base_steps": 10000,
        "steps": 6000,
        "early": 100,
        "eval_draws": 512,
        "permanents": 128,
        "gradient_draws": 1000,
    },
    quick={
        **_COMMON,
        "seeds": [0],
        "wave_counts": [30],
        "wave_noises": [0.3],
        "wave_widths": [4],
        "bundled": [],
        "bundled_widths": [],
        "base_steps": 60,
        "steps": 60,
        "early": 10,
        "eval_draws": 32,
        "permanents": 16,
        "gradient_draws": 64,
    },
    jobs=jobs,
    run=run,
    summarise=summarise,
    draw=draw,
)
