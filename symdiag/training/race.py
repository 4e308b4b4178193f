"""A race of short runs of the main objective from several starts; the main run goes on with the best.

Start 0 is where training would begin anyway. The others are a draw from the checkpoint's posterior,
which keeps what it knows of the data, and a fresh net, in turns, both with small stds. The value
they are compared by is L^G with the certified H(g|ω), as the report has it, not the monitor's.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np

from symdiag.posterior import Posterior
from symdiag.training.config import TrainingConfig
from symdiag.training.learning_problem import INITIAL_STD, scratch
from symdiag.training.randomness import generator_for

RACED_SHARE = 5
"""A short run has one step for so many of the main run."""

Origin = Literal["start", "draw", "scratch"]


@dataclass(frozen=True)
class Start:
    """One of the starts, by its number from 0 and where it comes from."""

    number: int
    origin: Origin

    @property
    def name(self) -> str:
        """Of its run, in states and metrics."""
        return f"start-{self.number}"

    def posterior(self, given: Posterior, seed: int) -> Posterior:
        """Where its run begins; ``given`` is where training would begin without a race."""
        if self.origin == "start":
            return given
        made = scratch if self.origin == "scratch" else redrawn
        return made(given, seed, self.number)


def race_starts(count: int, *, fresh: bool) -> tuple[Start, ...]:
    """``count`` starts, none where there is nothing to race; ``fresh``: training starts from scratch.

    >>> [start.origin for start in race_starts(4, fresh=False)]
    ['start', 'draw', 'scratch', 'draw']
    """
    if count < 2:
        return ()
    # a draw from a fresh net's small stds would be the same start again
    others = (Start(k, "scratch" if fresh or k % 2 == 0 else "draw") for k in range(1, count))
    return (Start(0, "start"), *others)


def redrawn(posterior: Posterior, seed: int, number: int) -> Posterior:
    """Means drawn from the posterior, stds of ``INITIAL_STD`` at most; deterministic weights stay."""
    generator = generator_for(seed, "initial", number)
    loc = {
        name: mean + posterior.scale[name] * generator.standard_normal(mean.shape)
        for name, mean in posterior.loc.items()
    }
    scale = {name: np.minimum(std, INITIAL_STD) for name, std in posterior.scale.items()}
    return posterior.replace(loc=loc, scale=scale, covariance=None)


def race_config(config: TrainingConfig) -> TrainingConfig:
    """Settings of the short runs: the main run's, in fewer steps and to the end."""
    assert config.steps is not None
    return dataclasses.replace(
        config,
        steps=-(-config.steps // RACED_SHARE),
        patience=0,
        # so short a run leaves stds no time to grow back from a weaker KL
        kl_weight_start=1.0,
    )
