"""What a run depends on, and the defaults it decides from the problem."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

from symdiag.errors import UsageError

ObjectiveName = Literal["symmetrized", "infonce", "elbo"]

EASED_SHARE = 0.4  # of the steps, in which ``boost`` and ``temper`` act
TEMPER, LONG_RUN = 0.1, 5000
FULL_BATCH_LIMIT = 1024  # up to this many points every step uses all of them


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of one optimisation run. None means: decide from the problem (``resolved``).

    Attributes:
        objective: The objective optimised (the control run always uses ``elbo``).
        steps: Optimiser steps.
        learning_rate: Peak learning rate; linear warm-up, then cosine decay to zero.
        warmup: Fraction of the steps spent warming up.
        batch_size: Data points per step over all processes.
        draws: Weight draws per step over all processes, for every term alike.
        seed: Seeds weight draws, batches and marginals, each step from (seed, step) alone.
        num_elements: K of the infonce objective.
        marginals: How the symmetrised gradient is estimated: auto, exact, mcmc or bethe.
        interval: Steps between evaluations of the objective, metrics lines and checkpoints.
        boost: Extra weight of the straddling term at the first step of a symmetrised run, gone after ``EASED_SHARE`` of
            the steps: it takes a straddled start out of its basin.
        temper: Weight of the whole symmetrised KL at that first step, rising to 1 as the boost goes: units that were
            switched off get a chance, and stds that shrank need time to grow back. None: ``TEMPER`` in runs of at least
            ``LONG_RUN`` full-batch steps, else 1. Both change the path only, not the objective at its end.
        patience: Stop after this many intervals without progress of the objective; 0 never stops early.
        tolerance: Progress of the objective that counts, nats.
    """

    objective: ObjectiveName = "symmetrized"
    steps: int | None = None
    learning_rate: float | None = None
    warmup: float = 0.02
    batch_size: int | None = None
    draws: int | None = None
    seed: int = 0
    num_elements: int = 20
    marginals: str = "auto"
    interval: int | None = None
    boost: float = 3.0
    temper: float | None = None
    patience: int = 12
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "interval", "draws"):
            _require(getattr(self, name) is None or getattr(self, name) >= 1, name, "at least 1")
        _require(
            self.learning_rate is None or 0 < self.learning_rate <= 10,
            "learning_rate",
            "in (0, 10]",
        )
        _require(0 <= self.warmup < 1, "warmup", "in [0, 1)")
        _require(self.num_elements >= 2, "num_elements", "at least 2")
        _require(self.seed >= 0, "seed", "at least 0")
        _require(self.patience >= 0, "patience", "at least 0")
        _require(0 <= self.boost < float("inf"), "boost", "at least 0")
        _require(self.temper is None or 0 < self.temper <= 1, "temper", "in (0, 1]")

    def resolved(self, num_points: int, num_parameters: int) -> TrainingConfig:
        """Every None filled in: steps and learning rate from the size of the data and of the network."""
        batch = self.batch_size or (num_points if num_points <= FULL_BATCH_LIMIT else 256)
        batch = min(batch, num_points)
        steps = self.steps or max(LONG_RUN, 20 * -(-num_points // batch))
        rate = self.learning_rate or (
            1e-2 if num_parameters <= 10_000 else 3e-3 if num_parameters <= 100_000 else 1e-3
        )
        draws = self.draws or (
            32 if num_parameters <= 1_000 else 16 if num_parameters <= 10_000 else 8
        )
        interval = self.interval or max(1, steps // 50)
        temper = self.temper or (TEMPER if batch == num_points and steps >= LONG_RUN else 1.0)
        return dataclasses.replace(
            self,
            batch_size=batch,
            steps=steps,
            learning_rate=rate,
            interval=interval,
            draws=draws,
            temper=temper,
        )

    @property
    def eased_steps(self) -> int:
        """Steps during which ``boost`` and ``temper`` act."""
        eased = self.objective == "symmetrized" and (self.boost > 0 or (self.temper or 1.0) < 1.0)
        return round(EASED_SHARE * (self.steps or 0)) if eased else 0

    def term_weight(self, step: int) -> float:
        """Weight of the objective's extra term at one step: 1 + boost, falling linearly to 1."""
        return 1.0 + self.boost * self._ease(step)

    def kl_weight(self, step: int) -> float:
        """Weight of KL and extra term together at one step: ``temper``, rising geometrically to 1."""
        return math.exp(math.log(self.temper or 1.0) * self._ease(step))

    def _ease(self, step: int) -> float:
        """1 at the first step, falling linearly to 0 at the end of the eased steps."""
        return max(0.0, 1.0 - step / self.eased_steps) if self.eased_steps else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for reports and for comparing a resumed run's settings."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class ModelConfig:
    """How weights become a likelihood and what the prior is.

    Attributes:
        likelihood: gaussian, categorical, bernoulli or poisson.
        noise: Noise std of the gaussian likelihood, or "learn".
        prior_std: Prior std of every tensor; None takes the checkpoint's prior.
        prior_std_by_tensor: Tensor or layer name → prior std, ahead of ``prior_std``.
    """

    likelihood: str = "gaussian"
    noise: float | Literal["learn"] | None = None
    prior_std: float | None = None
    prior_std_by_tensor: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.noise, float):
            _require(0 < self.noise < float("inf"), "noise", "a positive number or 'learn'")
        for value in (self.prior_std, *self.prior_std_by_tensor.values()):
            _require(value is None or 0 < value < float("inf"), "prior_std", "a positive number")


def _require(holds: bool, name: str, allowed: str) -> None:
    if not holds:
        raise UsageError(
            f"{name} must be {allowed}", code="bad-option", hint=f"--{name.replace('_', '-')}"
        )


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """One line per setting in which two runs differ: ``name: old → new``."""
    names = sorted(old.keys() | new.keys())
    return [
        f"{name}: {json.dumps(old.get(name))} → {json.dumps(new.get(name))}"
        for name in names
        if old.get(name) != new.get(name)
    ]
