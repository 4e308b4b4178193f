"""What a run depends on, and the defaults it decides from the problem."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from symdiag.errors import UsageError
from symdiag.options import Budget, Option, Precision, Seed, check

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

    objective: Annotated[ObjectiveName, Option("symmetrized, infonce or elbo.", kind=str)] = (
        "symmetrized"
    )
    steps: Annotated[
        int | None, Option("Optimiser steps. Default: 5000, or 20 epochs.", least=1)
    ] = None
    learning_rate: Annotated[float | None, Option("Peak rate. Default: by size.")] = None
    warmup: float = 0.02
    batch_size: Annotated[int | None, Option("Default: all up to 1024, else 256.", least=1)] = None
    draws: Annotated[int | None, Option("Weight draws per step. Default: by size.", least=1)] = None
    seed: Seed = 0
    num_elements: Annotated[int, Option("Group elements of infonce.", flags=("--K",), least=2)] = 20
    marginals: Annotated[str, Option("auto, exact, mcmc or bethe.")] = "auto"
    interval: Annotated[int | None, Option("Steps between checkpoints.", least=1)] = None
    boost: float = 3.0
    temper: float | None = None
    patience: Annotated[
        int, Option("Intervals without progress before stopping; 0: never.", least=0)
    ] = 12
    tolerance: float = 0.1

    def __post_init__(self) -> None:
        check(self)
        _require(
            self.learning_rate is None or 0 < self.learning_rate <= 10,
            "learning_rate",
            "in (0, 10]",
        )
        _require(0 <= self.warmup < 1, "warmup", "in [0, 1)")
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


def parse_noise(text: str | None) -> float | str | None:
    """``learn`` or a number; UsageError otherwise."""
    return text if text is None or text == "learn" else _number("noise", text)


def parse_prior_std(texts: Sequence[str] | None) -> float | dict[str, float] | None:
    """``1.0`` and ``fc1=0.5``, any number of them, as ``ModelConfig.prior_std``; the last of a name counts."""
    pairs = (text.rpartition("=") for text in texts or ())
    found = {name: _number("prior-std", value) for name, _, value in pairs}
    return found.get("") if found.keys() <= {""} else found


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--{option} {text!r} is not a number", code="bad-option") from None


@dataclass(frozen=True)
class ModelConfig:
    """How weights become a likelihood and what the prior is.

    Attributes:
        likelihood: gaussian, categorical, bernoulli or poisson.
        noise: Noise std of the gaussian likelihood, or "learn"; None starts from the residuals' std.
        prior_std: Prior std of every tensor, or tensor or layer name → std, with "" for all others; None takes the
            checkpoint's prior.
    """

    likelihood: Annotated[str, Option("gaussian, categorical, bernoulli or poisson.")] = "gaussian"
    noise: Annotated[
        float | Literal["learn"] | None,
        Option(
            "Noise std, or learn. Gaussian only. Default: the residuals'.",
            kind=str | None,
            parse=parse_noise,
        ),
    ] = None
    prior_std: Annotated[
        float | Mapping[str, float] | None,
        Option(
            "Prior std, or LAYER=STD; repeatable. Default: the file's.",
            metavar="STD",
            kind=list[str] | None,
            parse=parse_prior_std,
        ),
    ] = None

    def __post_init__(self) -> None:
        if isinstance(self.noise, float):
            _require(0 < self.noise < float("inf"), "noise", "a positive number or 'learn'")
        for value in self.prior_by_name.values():
            _require(0 < value < float("inf"), "prior_std", "a positive number")

    @property
    def prior_by_name(self) -> Mapping[str, float]:
        """Name of a tensor or layer → prior std; the empty name stands for every other one."""
        if self.prior_std is None:
            return {}
        return self.prior_std if isinstance(self.prior_std, Mapping) else {"": self.prior_std}


@dataclass(frozen=True)
class EvaluationConfig:
    """How carefully posteriors are evaluated: weight draws for the likelihood, seed and budget for H."""

    samples: Annotated[int, Option("Weight draws of the evaluation.", least=2)] = 1000
    seed: Seed = 0
    precision: Precision = None
    budget: Budget = None

    def __post_init__(self) -> None:
        check(self)


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
