r"""Figure 4, Tables 2–3: f(x) = ReLU(w₁x) + ReLU(w₂x) on y = α|x|, where everything can be had exactly.

The data enter through S± = Σ_{±x>0} x² alone, moments of ReLU(w) under a Gaussian are closed forms, |G| = 2 makes
log perm = log(1 + e^Δ), and the posterior is two-dimensional: evidence by quadrature. "converged" is the optimum of
the exact objective (best of many starts); "protocol" follows the paper's stochastic training with our choices for
what it does not state (noise, prior, initialisation, one draw per step).
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import logsumexp
from torch import Tensor

from benchmarks.paper.measure import student_interval
from benchmarks.paper.plotting import COLOURS, figure
from benchmarks.paper.study import Row, Settings, Study

Array = NDArray[np.float64]

OBJECTIVES = {"elbo": 0.0, "infonce": 0.5, "symmetrized": 1.0}
"""The share of I = log 2 − H that the objective adds to L. For |G| = 2 the paper's K = 2 adds exactly half: its one
uniform element is the identity half of the time and then contributes nothing."""

PAPER = {
    "mse": {"elbo": [0.11, 0.12, 0.13, 0.18], "infonce": [0.09, 0.09, 0.10, 0.12]},
    "elbo": {"elbo": [-0.022, -0.025, -0.032, -0.042], "infonce": [-0.023, -0.029, -0.035, -0.043]},
    "symmetrized": {
        "elbo": [-0.009, -0.013, -0.021, -0.031],
        "infonce": [-0.004, -0.007, -0.012, -0.019],
    },
}
"""Tables 2 and 3 for α = .05, .1, .15, .2 (their SGM is ``infonce``)."""


@functools.lru_cache(maxsize=4)
def plane(count: int) -> tuple[Tensor, Tensor]:
    """Gauss–Hermite nodes (Q, 2) and weights (Q,) of two independent standard normals."""
    node, weight = np.polynomial.hermite_e.hermegauss(count)
    nodes = np.stack(np.meshgrid(node, node, indexing="ij"), -1).reshape(-1, 2)
    return torch.tensor(nodes), torch.tensor(np.outer(weight, weight).reshape(-1) / (2.0 * np.pi))


@dataclass(frozen=True)
class Data:
    """x (N,) in (−10, 10); y = α|x| without noise, as in the paper."""

    x: Array
    alpha: float
    noise: float

    @property
    def sums(self) -> tuple[float, float]:
        """S₊, S₋."""
        return float((self.x[self.x > 0] ** 2).sum()), float((self.x[self.x < 0] ** 2).sum())


@dataclass(frozen=True)
class Stack:
    """Several data sets of one α and noise, for parameters (sets, starts, 2)."""

    members: list[Data]

    @property
    def alpha(self) -> float:
        """Slope of the target."""
        return self.members[0].alpha

    @property
    def noise(self) -> float:
        """Noise std of the likelihood."""
        return self.members[0].noise

    @property
    def sums(self) -> tuple[Tensor, Tensor]:
        """S₊, S₋, (sets, 1) each."""
        plus, minus = zip(*(m.sums for m in self.members), strict=True)
        return torch.tensor(plus)[:, None], torch.tensor(minus)[:, None]


def relu_moments(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """E ReLU(w) and E ReLU(w)² for w ~ N(mean, std²)."""
    z = mean / std
    density, below = (
        torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi),
        0.5 * (1 + torch.erf(z / math.sqrt(2))),
    )
    return mean * below + std * density, (mean**2 + std**2) * below + mean * std * density


def squared_error(
    mean: Tensor, std: Tensor, data: Data | Stack, *, of_the_mean: bool = False
) -> Tensor:
    """Σ_n E (f(x_n) − y_n)², or with f replaced by its posterior mean; parameters (..., 2)."""
    total = torch.zeros(())
    for side, weight in zip((1.0, -1.0), data.sums, strict=True):
        first, second = relu_moments(side * mean, std)
        centre = first.sum(-1) - data.alpha
        spread = 0.0 if of_the_mean else (second - first**2).sum(-1)
        total = total + weight * (centre**2 + spread)
    return total


def elbo(mean: Tensor, std: Tensor, data: Data | Stack) -> Tensor:
    """L without the constant −N log(noise √2π), nats; unit Gaussian prior."""
    kl = (0.5 * (std**2 + mean**2 - 1.0) - torch.log(std)).sum(-1)
    return -squared_error(mean, std, data) / (2 * data.noise**2) - kl


def entropy(mean: Tensor, std: Tensor, count: int = 48) -> Tensor:
    """H(g|ω) = E log(1 + q(ω₂, ω₁)/q(ω₁, ω₂)) by Gauss–Hermite quadrature; parameters (..., 2)."""
    nodes, mass = plane(count)
    draws = mean[..., None, :] + std[..., None, :] * nodes
    swapped = (draws.flip(-1) - mean[..., None, :]) / std[..., None, :]
    return torch.nn.functional.softplus(0.5 * (nodes**2 - swapped**2).sum(-1)) @ mass


def log_evidence(data: Data, reach: float = 3.0, points: int = 2001) -> float:
    """log p(y) without the same constant, by quadrature over the plane."""
    w = np.linspace(-reach, reach, points)
    return float(logsumexp(log_posterior(data, w)) + 2 * np.log(w[1] - w[0]))


def log_posterior(data: Data, w: Array) -> Array:
    """log p(y | w) + log p(w) on the grid w × w."""
    plus, minus = data.sums
    up, down = np.maximum(w, 0.0), np.maximum(-w, 0.0)
    misfit = (
        plus * (up[:, None] + up - data.alpha) ** 2
        + minus * (down[:, None] + down - data.alpha) ** 2
    )
    return -misfit / (2 * data.noise**2) - 0.5 * (w[:, None] ** 2 + w**2) - math.log(2 * math.pi)


def converge(data: Stack, share: float, settings: Settings) -> list[tuple[Tensor, Tensor]]:
    """Mean and std (2,) that maximise L + share·I over many starts, for every data set."""
    rng = np.random.default_rng(4)
    shape = (len(data.members), settings["starts"])
    mean = torch.tensor(0.3 * rng.standard_normal((*shape, 2)), requires_grad=True)
    log_std = torch.tensor(rng.uniform(-4.0, -1.0, (*shape, 1)).repeat(2, -1), requires_grad=True)
    optimiser = torch.optim.Adam([mean, log_std], lr=2e-2)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings["steps"])
    for _ in range(settings["steps"]):
        value = elbo(mean, log_std.exp(), data)
        if share:
            value = value - share * entropy(mean, log_std.exp(), settings["nodes"])
        optimiser.zero_grad()
        (-value.sum()).backward()
        optimiser.step()
        decay.step()
    best = value.argmax(1)
    rows = torch.arange(len(best))
    return list(zip(mean.detach()[rows, best], log_std.detach()[rows, best].exp(), strict=True))


def protocol(data: Data, objective: str, settings: Settings, seed: int) -> tuple[Tensor, Tensor]:
    """The paper's training: Adam, lr 5e-3, batches of 10, 10 epochs; one draw per step; equal seeds, equal noise."""
    rng = np.random.default_rng([seed, 6])
    mean = torch.tensor(0.2 * rng.standard_normal(2), requires_grad=True)
    log_std = torch.full((2,), math.log(0.1), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([mean, log_std], lr=5e-3)
    for _ in range(settings["epochs"]):
        for batch in rng.permutation(len(data.x)).reshape(-1, 10):
            noise, swap = torch.tensor(rng.standard_normal(2)), rng.random() < 0.5
            std = log_std.exp()
            w = mean + std * noise
            x = torch.tensor(data.x[batch])
            misfit = (torch.relu(x[:, None] * w).sum(-1) - data.alpha * x.abs()).square().sum()
            kl = (0.5 * (std**2 + mean**2 - 1.0) - log_std).sum()
            loss = kl + misfit * (len(data.x) / 10) / (2 * data.noise**2)
            if objective == "symmetrized" or (objective == "infonce" and swap):
                swapped = (w.flip(-1) - mean) / std
                loss = loss + torch.nn.functional.softplus(
                    0.5 * (((w - mean) / std) ** 2 - swapped**2).sum()
                )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return mean.detach(), log_std.exp().detach()


def jobs(settings: Settings) -> list[Row]:
    return [{"noise": n, "alpha": a} for n in settings["noises"] for a in settings["alphas"]]


def run(job: Row, settings: Settings) -> list[Row]:
    pairs = []
    for seed in range(settings["seeds"]):
        rng = np.random.default_rng(seed)
        pairs.append(
            tuple(Data(rng.uniform(-10, 10, 100), job["alpha"], job["noise"]) for _ in range(2))
        )
    evidence = [log_evidence(train) for train, _ in pairs]
    rows = []
    for name, share in OBJECTIVES.items():
        fits = {
            "converged": converge(Stack([train for train, _ in pairs]), share, settings),
            "protocol": [
                protocol(train, name, settings, seed) for seed, (train, _) in enumerate(pairs)
            ],
        }
        for how, found in fits.items():
            for seed, (fit, (train, test)) in enumerate(zip(found, pairs, strict=True)):
                head = {
                    **job,
                    "seed": seed,
                    "objective": name,
                    "how": how,
                    "evidence": evidence[seed],
                }
                rows.append(head | _row(fit, train, test))
    return rows


def _row(fit: tuple[Tensor, Tensor], train: Data, test: Data) -> Row:
    mean, std = fit
    bound, straddle = float(elbo(mean, std, train)), float(entropy(mean[None], std[None])[0])
    return {
        "mean": mean.tolist(),
        "std": std.tolist(),
        "elbo": bound,
        "entropy": straddle,
        "symmetrized": bound + math.log(2.0) - straddle,
        "mse": float(squared_error(mean, std, test, of_the_mean=True)) / len(test.x),
        "mse_of_draws": float(squared_error(mean, std, test)) / len(test.x),
    }


def summarise(rows: list[Row]) -> Row:
    table = []
    for how in ("converged", "protocol"):
        for noise in sorted({r["noise"] for r in rows}):
            for alpha in sorted({r["alpha"] for r in rows}):
                here = [
                    r for r in rows if (r["how"], r["noise"], r["alpha"]) == (how, noise, alpha)
                ]
                table += [_cell(here, how, noise, alpha, o) for o in OBJECTIVES]
    return {
        "table": table,
        "largest_gap_nats": max(r["symmetrized"] - r["elbo"] for r in rows),
        "smallest_gap_nats": min(r["symmetrized"] - r["elbo"] for r in rows),
        "log_2": math.log(2.0),
        "smallest_slack_to_evidence": min(r["evidence"] - r["symmetrized"] for r in rows),
        "paper": PAPER,
    }


def _cell(rows: list[Row], how: str, noise: float, alpha: float, objective: str) -> Row:
    mine = {r["seed"]: r for r in rows if r["objective"] == objective}
    plain = {r["seed"]: r for r in rows if r["objective"] == "elbo"}
    cell: Row = {"how": how, "noise": noise, "alpha": alpha, "objective": objective}
    for key in ("mse", "mse_of_draws", "elbo", "symmetrized", "entropy", "evidence"):
        cell[key] = float(np.mean([r[key] for r in mine.values()]))
    cell["mse_std"] = float(np.std([r["mse"] for r in mine.values()], ddof=1))
    for key in ("mse", "symmetrized"):
        cell[f"{key}_change"] = student_interval(
            np.array([mine[s][key] - plain[s][key] for s in mine])
        )
    return cell


def draw(rows: list[Row], summary: Row, folder: Path) -> None:
    noise = max({r["noise"] for r in rows})
    alphas = sorted({r["alpha"] for r in rows})
    with figure(folder, "two-weights", columns=len(alphas), size=2.4) as axes:
        for axis, alpha in zip(axes[0], alphas, strict=True):
            rng = np.random.default_rng(0)
            data = Data(rng.uniform(-10, 10, 100), alpha, noise)
            w = np.linspace(-0.45, 0.45, 301)
            density = np.exp(log_posterior(data, w) - log_posterior(data, w).max())
            axis.contourf(w, w, density.T, levels=8, cmap="Greys")
            for objective in ("elbo", "symmetrized"):
                fit = next(r for r in rows if (r["alpha"], r["noise"], r["objective"], r["how"], r["seed"])
                           == (alpha, noise, objective, "converged", 0))  # fmt: skip
                _ellipse(axis, fit, COLOURS[objective], objective)
            axis.set(title=f"α = {alpha:g}, noise {noise:g}", xlabel="w₁", aspect="equal")
        axes[0][0].set(ylabel="w₂")
        axes[0][0].legend(fontsize=6, loc="lower left")


def _ellipse(axis, fit: Row, colour: str, label: str) -> None:
    angle = np.linspace(0, 2 * np.pi, 100)
    for order, style in (((0, 1), "-"), ((1, 0), ":")):
        (m1, m2), (s1, s2) = (np.array(fit[k])[list(order)] for k in ("mean", "std"))
        text = label if style == "-" else None
        axis.plot(
            m1 + 2 * s1 * np.cos(angle),
            m2 + 2 * s2 * np.sin(angle),
            style,
            color=colour,
            lw=1.2,
            label=text,
        )


STUDY = Study(
    name="two_weights",
    settings={
        "alphas": [0.05, 0.1, 0.15, 0.2],
        "noises": [1.0, 2.0, 4.0],
        "seeds": 10,
        "starts": 6,
        "steps": 400,
        "nodes": 24,
        "epochs": 10,
    },
    quick={
        "alphas": [0.1],
        "noises": [2.0],
        "seeds": 2,
        "starts": 4,
        "steps": 150,
        "nodes": 16,
        "epochs": 1,
    },
    jobs=jobs,
    run=run,
    summarise=summarise,
    draw=draw,
)
