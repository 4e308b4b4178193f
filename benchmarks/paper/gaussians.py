r"""Figures 2, 3, 5: a Gaussian fitted by reverse KL to two equal Gaussians α apart.

In units of the component std σ (the problem is scale-equivariant), the separation spread evenly over D coordinates,
q = N(m·u, s² I): with t = u·ω ~ N(m, s²) and ℓ(t) = log(½φ(t) + ½φ(t − α)),

    F(m, s) = KL(q ‖ p) + const = −D log s + (D − 1) s²/2 − E ℓ(t).

Derivatives by Stein's identity: ∂_m E f = E f′, ∂_s E f = s E f″. All expectations by the trapezoidal rule, which
converges geometrically for these integrands.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expit

from benchmarks.paper.plotting import COLOURS, figure
from benchmarks.paper.study import Row, Settings, Study

Array = NDArray[np.float64]


@functools.lru_cache(maxsize=16)
def _nodes(count: int) -> tuple[Array, Array]:
    z = np.linspace(-10.0, 10.0, count)
    return z, np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi) * (z[1] - z[0])


def nodes(alpha: float, s: float) -> tuple[Array, Array]:
    """Nodes and weights of E over a standard normal; the logistic crossing is 1/(α s) wide and wants a few of them."""
    return _nodes(4001 if alpha * s < 60.0 else 1 + 2 ** int(np.ceil(np.log2(100.0 * alpha * s))))


def objective(m: float, s: float, alpha: float, dims: int = 1) -> float:
    """KL(q ‖ p) in nats."""
    z, w = nodes(alpha, s)
    t = m + s * z
    log_p = (
        -0.5 * t**2
        - 0.5 * np.log(2 * np.pi)
        + np.logaddexp(0.0, alpha * t - 0.5 * alpha**2)
        - np.log(2.0)
    )
    entropy = 0.5 * np.log(2 * np.pi * np.e) + np.log(s)
    return float(-entropy - w @ log_p - (dims - 1) * (np.log(s) + 0.5 * (1.0 - s**2)))


def curvature(m: float, s: float, alpha: float) -> float:
    """∂²F/∂m² = 1 − α² E r(1 − r), the same in every dimension."""
    z, w = nodes(alpha, s)
    r = expit(alpha * (m + s * z) - 0.5 * alpha**2)
    return float(1.0 - alpha**2 * (w @ (r * (1.0 - r))))


def slope(m: float, s: float, alpha: float) -> float:
    """∂F/∂m = m − α E r."""
    z, w = nodes(alpha, s)
    r = expit(alpha * (m + s * z) - 0.5 * alpha**2)
    return float(m - alpha * (w @ r))


def best_scale(m: float, alpha: float, dims: int = 1) -> float:
    """The smallest s with ∂F/∂s = 0: s² (D − 1 + ∂²F/∂m²) = D."""

    def excess(s: float) -> float:
        return s**2 * (dims - 1 + curvature(m, s, alpha)) - dims

    grid = np.geomspace(0.3, 2.0 + alpha, 60)
    values = [excess(s) for s in grid]
    k = next(k for k in range(1, len(grid)) if values[k] > 0.0)
    return float(brentq(excess, grid[k - 1], grid[k], xtol=1e-13))


def _barrier(alpha: float, dims: int) -> tuple[float, float]:
    """The largest slope of the profile F(m, s(m)) on the way from the mode, and where: positive iff the mode is held."""

    def minus(m: float) -> float:
        return -slope(m, best_scale(m, alpha, dims), alpha)

    grid = np.linspace(0.01, 0.97, 49) * alpha / 2.0
    values = [minus(m) for m in grid]
    k = int(np.argmin(values))
    low, high = grid[max(k - 1, 0)], grid[min(k + 1, len(grid) - 1)]
    found = minimize_scalar(minus, bounds=(low, high), method="bounded", options={"xatol": 1e-9})
    return -float(found.fun), float(found.x)


def mode_appears(dims: int = 1) -> float:
    """α/σ below which no optimum but the midpoint exists."""
    return float(brentq(lambda a: _barrier(a, dims)[0], *_APPEARS[min(dims, 2)], xtol=1e-7))


_APPEARS = {1: (4.0, 5.5), 2: (2.0, 5.0)}


def held_mode(alpha: float, dims: int = 1) -> tuple[float, float]:
    """(m, s) of the local optimum next to the mode at 0; it must exist."""
    _, crest = _barrier(alpha, dims)
    m = brentq(lambda x: slope(x, best_scale(x, alpha, dims), alpha), 0.0, crest, xtol=1e-12)
    return float(m), best_scale(float(m), alpha, dims)


def mode_wins(dims: int = 1) -> float:
    """α/σ above which the optimum at the mode has the smaller KL."""

    def advantage(alpha: float) -> float:
        middle = objective(alpha / 2, best_scale(alpha / 2, alpha, dims), alpha, dims)
        return middle - objective(*held_mode(alpha, dims), alpha, dims)

    start = mode_appears(dims)
    return float(brentq(advantage, start + 1e-3, start + 2.0, xtol=1e-7))


def midpoint_dissolves(dims: int) -> float | None:
    """α/σ above which the midpoint is no optimum at all; None in one dimension, where it stays one for ever.

    (∂F/∂s = 0 reads s² (D − 1 + ∂²F/∂m²) = D: for D = 1 the curvature in the mean is 1/s² > 0 whatever α is.)
    """

    def bend(alpha: float) -> float:
        return curvature(alpha / 2, best_scale(alpha / 2, alpha, dims), alpha)

    return None if dims == 1 else float(brentq(bend, 1.5, 6.0, xtol=1e-9))


def descend(alphas: Array, sigma: float, settings: Settings) -> tuple[Array, Array]:
    """Adam on a Monte Carlo KL from the mode, all α at once: final (mean, std), in the units of the target."""
    rng = np.random.default_rng([settings["seed"], round(1000 * sigma)])
    state = np.stack([np.zeros_like(alphas), np.full_like(alphas, np.log(sigma))])
    first, second = np.zeros_like(state), np.zeros_like(state)
    for step in range(1, settings["steps"] + 1):
        z = rng.standard_normal(settings["samples"])
        mean, std = state[0][:, None], np.exp(state[1])[:, None]
        t = mean + std * z
        score = (
            t
            - alphas[:, None] * expit((alphas[:, None] * t - 0.5 * alphas[:, None] ** 2) / sigma**2)
        ) / sigma**2
        gradient = np.stack([score.mean(1), (score * std * z).mean(1) - 1.0])
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        state -= (
            settings["rate"]
            * (first / (1 - 0.9**step))
            / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        )
    return state[0], np.exp(state[1])


def jobs(settings: Settings) -> list[Row]:
    exact = [{"part": "thresholds", "dims": d} for d in settings["dims"]]
    middle = [{"part": "midpoint"}]
    return exact + middle + [{"part": "descent", "sigma": s} for s in settings["sigmas"]]


def run(job: Row, settings: Settings) -> list[Row]:
    if job["part"] == "thresholds":
        return [_thresholds(job["dims"])]
    if job["part"] == "midpoint":
        return [_midpoint(float(a)) for a in settings["midpoint_alphas"]]
    alphas = np.linspace(*settings["alpha_range"], settings["alphas"]) * job["sigma"]
    means, stds = descend(alphas, job["sigma"], settings)
    return [
        {"part": "descent", "sigma": job["sigma"], "alpha": a, "mean": m, "std": s}
        for a, m, s in zip(alphas, means, stds, strict=True)
    ]


def _thresholds(dims: int) -> Row:
    dissolves = midpoint_dissolves(dims)
    row: Row = {"part": "thresholds", "dims": dims, "midpoint_dissolves": dissolves}
    appears = mode_appears(dims)
    if (
        dissolves is not None and appears > dissolves - 0.02
    ):  # one optimum splits in two: no bistable range
        return {**row, "mode_appears": dissolves, "mode_wins": dissolves}
    return {**row, "mode_appears": appears, "mode_wins": mode_wins(dims)}


def _midpoint(alpha: float) -> Row:
    s = best_scale(alpha / 2, alpha)
    row = {
        "part": "midpoint",
        "alpha": alpha,
        "std": s,
        "curvature": curvature(alpha / 2, s, alpha),
    }
    row["kl"] = objective(alpha / 2, s, alpha)
    row["mode_kl"] = row["mode_std"] = row["mode_mean"] = None
    if _barrier(alpha, 1)[0] > 0:
        row["mode_mean"], row["mode_std"] = held_mode(alpha)
        row["mode_kl"] = objective(row["mode_mean"], row["mode_std"], alpha)
    return row


def summarise(rows: list[Row]) -> Row:
    exact = {r["dims"]: r for r in rows if r["part"] == "thresholds"}
    found = {}
    for sigma in sorted({r["sigma"] for r in rows if r["part"] == "descent"}):
        mine = sorted(
            (r for r in rows if r["part"] == "descent" and r["sigma"] == sigma),
            key=lambda r: r["alpha"],
        )
        stuck = [r["alpha"] for r in mine if r["mean"] > 0.25 * r["alpha"]]
        held = [r["alpha"] for r in mine if r["alpha"] > max(stuck, default=0.0)]
        found[str(sigma)] = {
            "last_at_midpoint": max(stuck, default=None),
            "first_at_mode": min(held, default=None),
            "exact": exact[1]["mode_appears"] * sigma,
        }
    return {
        "mode_appears": exact[1]["mode_appears"],
        "mode_wins": exact[1]["mode_wins"],
        "transition_by_descent": found,
        "by_dimension": {
            str(d): [r["mode_appears"], r["mode_wins"], r["midpoint_dissolves"]]
            for d, r in exact.items()
        },
        "midpoint_curvature": {
            str(r["alpha"]): r["curvature"] for r in rows if r["part"] == "midpoint"
        },
        "midpoint_std": {str(r["alpha"]): r["std"] for r in rows if r["part"] == "midpoint"},
    }


def draw(rows: list[Row], summary: Row, folder: Path) -> None:
    _draw_fits(folder)
    _draw_transition(rows, summary, folder)
    _draw_midpoint(rows, summary, folder)


def _draw_fits(folder: Path) -> None:
    """Figure 2: the optimum at the midpoint and, where there is one, at the mode."""
    with figure(folder, "gaussians-fits", columns=4, size=2.2) as axes:
        for axis, alpha in zip(axes[0], (2.0, 4.0, 5.2, 7.0), strict=True):
            x = np.linspace(-3.5, alpha + 3.5, 400)
            p = 0.5 * (np.exp(-0.5 * x**2) + np.exp(-0.5 * (x - alpha) ** 2)) / np.sqrt(2 * np.pi)
            axis.fill_between(x, p, color="0.88", label="target")
            optima = [("midpoint", alpha / 2, best_scale(alpha / 2, alpha), COLOURS["elbo"])]
            if _barrier(alpha, 1)[0] > 0:
                optima.append(("mode", *held_mode(alpha), COLOURS["symmetrized"]))
            for label, m, s, colour in optima:
                kl = objective(m, s, alpha)
                axis.plot(x, np.exp(-0.5 * ((x - m) / s) ** 2) / s / np.sqrt(2 * np.pi), color=colour,
                          label=f"{label}, KL {kl:.3f}")  # fmt: skip
            axis.set(title=f"α = {alpha:g} σ", yticks=[], ylim=(0, 0.62))
            axis.legend(fontsize=7, loc="upper right")


def _draw_transition(rows: list[Row], summary: Row, folder: Path) -> None:
    """Figures 3 and 5: where descent from the mode ends."""
    with figure(folder, "gaussians-transition", columns=2) as axes:
        mean, scaled = axes[0]
        for k, sigma in enumerate(sorted({r["sigma"] for r in rows if r["part"] == "descent"})):
            mine = [r for r in rows if r["part"] == "descent" and r["sigma"] == sigma]
            alpha = np.array([r["alpha"] for r in mine])
            ends = np.array([r["mean"] for r in mine])
            mean.plot(alpha, ends, ".-", color=f"C{k}", ms=4, lw=0.8, label=f"σ = {sigma:g}")
            mean.axvline(summary["mode_appears"] * sigma, color=f"C{k}", lw=0.7, ls=":")
            scaled.plot(alpha / sigma, ends / alpha, ".", color=f"C{k}", ms=4)
        mean.set(xlabel="separation α", ylabel="final mean of q (0 = mode)", xscale="log")
        mean.legend(fontsize=7)
        for value, text in (
            (summary["mode_appears"], "mode held"),
            (summary["mode_wins"], "mode better"),
        ):
            scaled.axvline(value, color=COLOURS["bound"], lw=0.9, ls="--")
            scaled.text(
                value + 0.05, 0.3, f"{value:.2f}σ\n{text}", fontsize=7, color=COLOURS["bound"]
            )
        scaled.set(xlabel="α / σ", ylabel="final mean / α")


def _draw_midpoint(rows: list[Row], summary: Row, folder: Path) -> None:
    """The optimum that persists at the midpoint, and the thresholds when the separation is spread out."""
    with figure(folder, "gaussians-midpoint", columns=2) as axes:
        left, right = axes[0]
        mine = [r for r in rows if r["part"] == "midpoint"]
        left.plot(
            [r["alpha"] for r in mine],
            [r["curvature"] for r in mine],
            "o-",
            ms=3,
            color=COLOURS["symmetrized"],
        )
        far = np.array([5.0, 40.0])
        left.plot(far, 2 * np.pi / far**2, ls="--", lw=0.8, color=COLOURS["bound"], label="2π/α²")
        left.set(xlabel="α / σ", ylabel="∂²KL/∂m² at the midpoint", xscale="log", yscale="log")
        left.legend(fontsize=7)
        exact = [r for r in rows if r["part"] == "thresholds"]
        for key, label, colour in (
            ("mode_appears", "mode held", COLOURS["elbo"]),
            ("mode_wins", "mode better", COLOURS["symmetrized"]),
            ("midpoint_dissolves", "midpoint gone", COLOURS["bound"]),
        ):
            right.plot(
                [r["dims"] for r in exact],
                [r[key] or np.nan for r in exact],
                "o-",
                ms=3,
                label=label,
                color=colour,
            )
        right.set(
            xlabel="coordinates the separation is spread over",
            ylabel="threshold α / σ",
            xscale="log",
            ylim=(2, 8),
        )
        right.legend(fontsize=7)


STUDY = Study(
    name="gaussians",
    settings={
        "seed": 0,
        "samples": 5000,
        "steps": 3000,
        "rate": 1e-2,
        "sigmas": [0.25, 0.5, 1.0, 2.0],
        "alphas": 25,
        "alpha_range": [3.0, 7.0],
        "dims": [1, 2, 3, 5, 10, 30, 100],
        "midpoint_alphas": [1, 2, 3, 4, 5, 6, 7, 10, 15, 20, 40],
    },
    quick={
        "seed": 0,
        "samples": 200,
        "steps": 600,
        "rate": 1e-2,
        "sigmas": [1.0],
        "alphas": 3,
        "alpha_range": [3.0, 7.0],
        "dims": [1, 3],
        "midpoint_alphas": [2, 7],
    },
    jobs=jobs,
    run=run,
    summarise=summarise,
    draw=draw,
)
