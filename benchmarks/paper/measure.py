"""What the tables hold: L, H(g|ω), L^G and test figures of a trained posterior, from draws shared between objectives."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.paper.nets import Net, State, Task, kl
from symdiag.estimators import estimate_straddling
from symdiag.estimators.layerwise import group_values
from symdiag.permanents import Effort

EFFORT = Effort(max_exact=12, particles=256, runs=2, certify=False)
"""SMC with this many particles is within about 0.02 nats at the widths of these studies (PERMANENTS.md, 3)."""


@dataclass(frozen=True)
class Measured:
    """Per-draw arrays of one posterior; equal seeds mean equal weight noise, so differences can be paired."""

    log_likelihood: NDArray[np.float64]  # (S,) Σ_n log p(y_n | x_n, ω_s)
    straddling: NDArray[np.float64]  # (T,) log perm per draw
    kl: float
    log_order: float
    point: NDArray[np.float64]  # (S, N_test) log p(y | x, ω_s)
    outputs: NDArray[np.float64]  # (N_test, out): predictive mean, or class probabilities

    @property
    def elbo(self) -> float:
        """L, nats."""
        return float(self.log_likelihood.mean()) - self.kl

    @property
    def entropy(self) -> float:
        """H(g|ω), nats."""
        return float(self.straddling.mean())

    @property
    def symmetrized(self) -> float:
        """L^G = L + log|G| − H."""
        return self.elbo + self.log_order - self.entropy

    @property
    def test_nll(self) -> float:
        """−mean log E_ω p(y | x, ω) on test data, nats per point."""
        return -float(
            (torch.logsumexp(torch.from_numpy(self.point), 0) - math.log(len(self.point))).mean()
        )


def measure(
    net: Net,
    task: Task,
    test: Task,
    state: State,
    member: int,
    *,
    draws: int = 512,
    permanents: int = 128,
    seed: int = 0,
) -> Measured:
    """All figures of posterior number ``member``."""
    rng = np.random.default_rng([seed, 5])
    loc, log_scale = state.loc[member].double(), state.log_scale[member].double()
    weights = loc + log_scale.exp() * torch.from_numpy(rng.standard_normal((draws, net.size)))
    return Measured(
        log_likelihood=_points(net, _one(task, member), weights).sum(1),
        straddling=entropy_values(net, loc, log_scale, weights[:permanents], rng),
        kl=float(kl(loc, log_scale)),
        log_order=net.spec.log_order,
        point=_points(net, _one(test, member), weights),
        outputs=_predictive(net, _one(test, member), weights),
    )


def _one(task: Task, member: int) -> Task:
    part = slice(member, member + 1)
    noise = None if task.noise is None else task.noise[part].double()
    y = task.y[part]
    return Task(
        task.likelihood, task.x[part].double(), y if y.dtype == torch.long else y.double(), noise
    )


def _points(net: Net, task: Task, weights: Tensor) -> NDArray[np.float64]:
    parts = [task.log_prob(net.forward(w[None], task.x), task.y)[0] for w in weights.split(32)]
    return torch.cat(parts).numpy()


def _predictive(net: Net, task: Task, weights: Tensor) -> NDArray[np.float64]:
    total = torch.zeros(())
    for chunk in weights.split(32):
        outputs = net.forward(chunk[None], task.x)[0]
        if task.likelihood == "categorical":
            outputs = outputs.softmax(-1)
        elif task.likelihood == "bernoulli":
            outputs = outputs.sigmoid()
        total = total + outputs.sum(0)
    return (total / len(weights)).numpy()


def entropy_values(
    net: Net, loc: Tensor, log_scale: Tensor, weights: Tensor, rng: np.random.Generator
) -> NDArray[np.float64]:
    """log perm of every draw by the library; one hidden layer."""
    posterior = net.posterior(loc, log_scale.exp())
    named = {name: torch.from_numpy(value) for name, value in posterior.loc.items()}
    scale = {name: torch.from_numpy(value) for name, value in posterior.scale.items()}
    draws: dict[str, Tensor] = {}
    for k, (weight, bias) in enumerate(net.split(weights), 1):
        draws[f"fc{k}.weight"], draws[f"fc{k}.bias"] = weight, bias
    group = net.spec.groups[0]
    return group_values(
        group, named, scale, draws, generator=rng, effort=EFFORT, certify=False
    ).value


def reported(
    net: Net, state: State, member: int, *, samples: int = 128, seed: int = 0
) -> dict[str, float]:
    """H(g|ω) as ``symdiag analyze`` would report it."""
    posterior = net.posterior(state.loc[member], state.log_scale[member].exp())
    total = estimate_straddling(
        posterior, net.spec, samples=samples, seed=seed, effort=EFFORT
    ).total
    return {"value": total.value, "lower": total.lower, "upper": total.upper}


def paired(first: NDArray[np.float64], second: NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard error of first − second over paired entries."""
    difference = first - second
    return float(difference.mean()), float(difference.std(ddof=1) / math.sqrt(len(difference)))


def student_interval(values: NDArray[np.float64]) -> tuple[float, float, float]:
    """(mean, low, high): the 95 % interval of a mean over seeds by Student's t."""
    from scipy.stats import t

    mean = float(values.mean())
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    return mean, mean - half, mean + half
