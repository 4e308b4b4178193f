"""The objective on a fixed set of weight draws and points: what early stopping and progress look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from symdiag.estimators.layerwise import group_values
from symdiag.objectives.variational import Variational, gaussian_kl
from symdiag.permanents import Effort
from symdiag.training.problem import Points, Problem
from symdiag.training.streams import stream

_DRAWS = 32
_POINTS = 2048
_EFFORT = Effort(max_exact=8, particles=64, runs=1)


@dataclass(frozen=True)
class Snapshot:
    """Terms of the objective at one moment, nats over the whole training set."""

    log_likelihood: float
    kl: float
    straddling_entropy: float
    log_order: float

    @property
    def elbo(self) -> float:
        """E log p(y|ω) − KL."""
        return self.log_likelihood - self.kl

    @property
    def symmetrized(self) -> float:
        """L + log|G| − Σ_l H_l."""
        return self.elbo + self.log_order - self.straddling_entropy


class Monitor:
    """Evaluates with the same noise and points every time, so that differences over time are not noise.

    Cheap and slightly optimistic beside the certified evaluation (``evaluate``); it decides nothing that is reported.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        self.seed = seed
        noise = stream(seed, "evaluation").standard_normal((_DRAWS, problem.flat_prior.loc.numel()))
        self._noise = torch.from_numpy(noise).to(problem.flat_prior.loc)
        self._points, self._factor = _subset(problem.train, seed)

    def __call__(self, q: Variational) -> Snapshot:
        """The terms for the current parameters."""
        with torch.no_grad():
            draws = self.problem.draws(q, self._noise)
            fit = self.problem.log_likelihood(q, draws, self._points).mean() * self._factor
            kl = gaussian_kl(q, self.problem.flat_prior)
            entropy = self._entropy(q, draws)
        return Snapshot(float(fit), float(kl), entropy, self.problem.spec.log_order)

    def _entropy(self, q: Variational, draws: torch.Tensor) -> float:
        loc, scale, named = (q.layout.split(flat.double()) for flat in (q.loc, q.scale, draws))
        generator = stream(self.seed, "evaluation", 1)
        total = 0.0
        for group in self.problem.spec:
            values = group_values(
                group, loc, scale, named, generator=generator, effort=_EFFORT, certify=False
            )
            total += float(np.mean(values.averaged))
        return total


def _subset(points: Points, seed: int) -> tuple[Points, float]:
    """At most ``_POINTS`` of the points, and the factor from their sum to the sum over all."""
    if len(points) <= _POINTS:
        return points, 1.0
    chosen = stream(seed, "evaluation", 2).choice(len(points), _POINTS, replace=False)
    return points.take(torch.from_numpy(chosen).to(points.inputs.device)), len(points) / _POINTS
