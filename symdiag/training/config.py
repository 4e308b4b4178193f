"""What a run depends on, and the defaults it decides from the problem."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from symdiag.errors import UsageError
from symdiag.objectives.annealing import (
    ANNEALED_SHARE,
    STRADDLING_WEIGHT_START,
    remaining,
    straddling_weight,
)
from symdiag.objectives.likelihoods import likelihood_names
from symdiag.objectives.terms import TermOptions, check_options, objective_names
from symdiag.options import Budget, Option, Precision, Seed, check, offers

KL_WEIGHT_START, LONG_RUN = 0.1, 5000
FULL_BATCH_LIMIT = 1024  # up to this many points every step uses all of them


def eased_kl_weight(steps: int, batch_size: int, num_points: int) -> float:
    """What KL annealing starts with: less than 1 only where stds have the time to grow back."""
    return KL_WEIGHT_START if batch_size == num_points and steps >= LONG_RUN else 1.0


def default_rate(num_parameters: int, *, full: bool) -> float:
    """Peak learning rate; ``full``: without the noise of minibatches, which a large rate amplifies.

    Wide nets have far to go: at 1e-2 thousands of full-batch steps leave them short of the optimum
    (benchmarks/training/results.md, "A wide net through retrain").
    """
    if full and 1_000 < num_parameters <= 10_000:
        return 3e-2
    return 1e-2 if num_parameters <= 10_000 else 3e-3 if num_parameters <= 100_000 else 1e-3


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
        num_elements: K of the infonce objective, 20 where it is used.
        marginals: How the symmetrised gradient is estimated: auto, exact, mcmc or bethe.
        interval: Steps between evaluations of the objective, metrics lines and checkpoints.
        straddling_weight_start: Weight of the straddling term at the first step of a symmetrised
            run, falling linearly to 1 over ``ANNEALED_SHARE`` of the steps: it takes a straddled
            start out of its basin.
        kl_weight_start: KL annealing (Bowman et al. 2016): weight of the whole (symmetrised) KL at
            the first step of any run, rising to 1 alike. Units that were switched off get a chance,
            and stds that shrank need time to grow back. None: ``KL_WEIGHT_START`` in symmetrised
            runs of at least ``LONG_RUN`` full-batch steps, else 1. Both change the path, not the
            objective at its end.
        patience: Stop after this many intervals without progress of the objective; 0 never stops
            early.
        tolerance: Progress of the objective that counts, nats.
    """

    objective: Annotated[
        str, Option(f"{', '.join(objective_names())}.", complete=offers(objective_names))
    ] = "symmetrized"
    steps: Annotated[
        int | None, Option("Optimiser steps. Default: 5000, or 20 epochs.", least=1)
    ] = None
    learning_rate: Annotated[float | None, Option("Peak rate. Default: by size.")] = None
    warmup: float = 0.02
    batch_size: Annotated[int | None, Option("Default: all up to 1024, else 256.", least=1)] = None
    draws: Annotated[int | None, Option("Weight draws per step. Default: by size.", least=1)] = None
    seed: Seed = 0
    num_elements: Annotated[
        int | None, Option("Group elements of infonce. Default: 20.", flags=("--K",), least=2)
    ] = None
    marginals: Annotated[
        str | None, Option("Symmetrized: auto (default), exact, mcmc or bethe.")
    ] = None
    interval: Annotated[int | None, Option("Steps between checkpoints.", least=1)] = None
    straddling_weight_start: float = STRADDLING_WEIGHT_START
    kl_weight_start: float | None = None
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
        straddling, kl = self.straddling_weight_start, self.kl_weight_start
        _require(1 <= straddling < float("inf"), "straddling_weight_start", "at least 1")
        _require(kl is None or 0 < kl <= 1, "kl_weight_start", "in (0, 1]")

    def resolved(self, num_points: int, num_parameters: int) -> TrainingConfig:
        """Every None that training needs filled in, from the sizes of data and network.

        Raises:
            UsageError: ``bad-option``: no such objective, or an option that it does not have.
        """
        check_options(self.objective, TermOptions(self.marginals, self.num_elements))
        batch = self.batch_size or (num_points if num_points <= FULL_BATCH_LIMIT else 256)
        batch = min(batch, num_points)
        # -(-a // b) is the ceiling: at least 20 passes over the points
        steps = self.steps or max(LONG_RUN, 20 * -(-num_points // batch))
        rate = self.learning_rate or default_rate(num_parameters, full=batch == num_points)
        draws = self.draws or (
            32 if num_parameters <= 1_000 else 16 if num_parameters <= 10_000 else 8
        )
        interval = self.interval or max(1, steps // 50)
        eased = (
            eased_kl_weight(steps, batch, num_points) if self.objective == "symmetrized" else 1.0
        )
        return dataclasses.replace(
            self,
            batch_size=batch,
            steps=steps,
            learning_rate=rate,
            interval=interval,
            draws=draws,
            kl_weight_start=self.kl_weight_start or eased,
        )

    @property
    def annealed_steps(self) -> int:
        """Steps at which a weight of the objective differs from 1."""
        annealed = self._straddling_weight_start > 1.0 or (self.kl_weight_start or 1.0) < 1.0
        # 0 where both weights are 1 throughout: patience then counts from the first step
        return round(ANNEALED_SHARE * (self.steps or 0)) if annealed else 0

    def straddling_weight(self, step: int) -> float:
        """Weight of the straddling term at one step, falling linearly to 1."""
        return straddling_weight(step, self.annealed_steps, self._straddling_weight_start)

    @property
    def _straddling_weight_start(self) -> float:
        # the term of the other objectives is no straddling entropy: it keeps its own weight
        return self.straddling_weight_start if self.objective == "symmetrized" else 1.0

    def kl_weight(self, step: int) -> float:
        """Weight of KL and straddling term together at one step, rising geometrically to 1."""
        # equal factors per step, and exactly 1 as soon as nothing remains: exp(0)
        return math.exp(
            math.log(self.kl_weight_start or 1.0) * remaining(step, self.annealed_steps)
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for reports and for comparing a resumed run's settings."""
        return dataclasses.asdict(self)


def parse_noise(text: str | None) -> float | str | None:
    """``learn`` or a number; UsageError otherwise."""
    return text if text is None or text == "learn" else _number("noise", text)


def parse_prior_std(texts: Sequence[str] | None) -> float | dict[str, float] | None:
    """``1.0`` and ``fc1=0.5``, as ``ModelConfig.prior_std``; the last of a name counts."""
    # rpartition: a bare number has no '=' and comes out under the empty name
    pairs = (text.rpartition("=") for text in texts or ())
    found = {name: _number("prior-std", value) for name, _, value in pairs}
    return found.get("") if found.keys() <= {""} else found


Triple = tuple[float, float, float]
"""PI, STD1, STD2 of the prior PI·N(0, STD1²) + (1 − PI)·N(0, STD2²)."""


def parse_prior_mixture(texts: Sequence[str] | None) -> Triple | dict[str, Triple] | None:
    """``0.5,1,0.1`` and ``fc1=0.5,1,0.1``, as ``ModelConfig.prior_mixture``; the last of a name counts."""
    pairs = (text.rpartition("=") for text in texts or ())
    found = {name: _mixture(numbers) for name, _, numbers in pairs}
    return found.get("") if found.keys() <= {""} else found


def parse_one_mixture(text: str | None) -> Triple | None:
    """``0.5,1,0.1``; UsageError otherwise."""
    return None if text is None else _mixture(text)


def _mixture(text: str) -> Triple:
    parts = text.split(",")
    if len(parts) != 3:
        raise UsageError(
            f"--prior-mixture takes three numbers PI,STD1,STD2, not {text!r}",
            code="bad-option",
            hint=_MIXTURE_HINT,
        )
    weight, first, second = (_number("prior-mixture", part) for part in parts)
    return weight, first, second


_MIXTURE_HINT = (
    "The prior of a weight is PI N(0, STD1²) + (1 - PI) N(0, STD2²), for example "
    "--prior-mixture 0.5,1,0.1 (blitz: prior_pi, prior_sigma_1, prior_sigma_2)."
)


def _number(option: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--{option} {text!r} is not a number", code="bad-option") from None


@dataclass(frozen=True)
class ModelConfig:
    """How weights become a likelihood and what the prior is.

    Attributes:
        likelihood: Name of a module of ``symdiag.objectives.likelihoods``.
        noise: Noise std, or "learn" (what None means); refused by likelihoods that have none.
        prior_std: Prior std of every tensor, or tensor or layer name → std, with "" for all others;
            None takes the checkpoint's prior.
        prior_mixture: (π, s₁, s₂) of the prior π N(0, s₁²) + (1 − π) N(0, s₂²) of every weight, or
            names as for ``prior_std``; each name in one of the two.
    """

    likelihood: Annotated[
        str, Option(f"{', '.join(likelihood_names())}.", complete=offers(likelihood_names))
    ] = "gaussian"
    noise: Annotated[
        float | Literal["learn"] | None,
        Option(
            "Noise std, or learn (default).",
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
    prior_mixture: Annotated[
        Triple | Mapping[str, Triple] | None,
        Option(
            "Prior PI N(0, STD1²) + (1-PI) N(0, STD2²), or LAYER=...; repeatable.",
            metavar="PI,STD1,STD2",
            kind=list[str] | None,
            parse=parse_prior_mixture,
        ),
    ] = None

    def __post_init__(self) -> None:
        if isinstance(self.noise, float):
            _require(0 < self.noise < float("inf"), "noise", "a positive number or 'learn'")
        stds, mixtures = _by_name(self.prior_std), _by_name(self.prior_mixture)
        for value in stds.values():
            _require(0 < value < float("inf"), "prior_std", "a positive number")
        for mixture in mixtures.values():
            _check_mixture(mixture)
        for name in stds.keys() & mixtures.keys():
            where = f"of {name}" if name else "of every weight"
            raise UsageError(
                f"--prior-std and --prior-mixture both give the prior {where}",
                code="bad-option",
                hint="Give one of the two for all weights, the other for layers by their names.",
            )

    @property
    def prior_by_name(self) -> Mapping[str, float | Triple]:
        """Name of a tensor or layer → prior std or mixture; the empty name stands for all others."""
        return {**_by_name(self.prior_std), **_by_name(self.prior_mixture)}


T = TypeVar("T")


def _by_name(given: T | Mapping[str, T] | None) -> Mapping[str, T]:
    if given is None:
        return {}
    return given if isinstance(given, Mapping) else {"": given}


def _check_mixture(mixture: Triple) -> None:
    numbers = tuple(mixture)
    holds = len(numbers) == 3 and 0 <= numbers[0] <= 1
    if not (holds and all(0 < std < float("inf") for std in numbers[1:])):
        raise UsageError(
            f"prior_mixture must be PI between 0 and 1 and two positive stds, got {numbers}",
            code="bad-option",
            hint=_MIXTURE_HINT,
        )


@dataclass(frozen=True)
class EvaluationConfig:
    """How carefully posteriors are evaluated: draws for the likelihood, seed and budget for H."""

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
