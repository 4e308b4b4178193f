"""The meter of the KL's weight, set up from a learning problem; with ``--continue`` read twice."""

from __future__ import annotations

import dataclasses
import math

from symdiag.diagnostics.kl_weight.gradients import Trained
from symdiag.diagnostics.kl_weight.meter import measure
from symdiag.diagnostics.kl_weight.result import Continuation, KlWeight
from symdiag.errors import UnsupportedError
from symdiag.posterior import Posterior
from symdiag.priors import with_floor
from symdiag.symmetry.discovery import Symmetry
from symdiag.tasks.options import MeterOptions
from symdiag.training.config import ModelConfig
from symdiag.training.continuation import continued
from symdiag.training.learning_problem import LearningProblem

_NOT_VARIATIONAL = ("laplace", "swag")  # dialects of Gaussians around an optimum or its path

_DENSITY_FLOORS = {"blitz": 1e-6}  # PriorWeightDistribution.log_prior adds it, against log 0


def read_kl_weight(
    problem: LearningProblem,
    posterior: Posterior,
    symmetry: Symmetry,
    model: ModelConfig,
    meter: MeterOptions,
    seed: int,
) -> KlWeight | None:
    """The weight at the checkpoint, and what a continuation at that weight does to the reading.

    None for approximations that no KL was minimised for.

    Raises:
        UnsupportedError: ``correlated-posterior``: only mean-field posteriors can be continued.
    """
    if meter.continue_steps and not posterior.is_mean_field:
        raise UnsupportedError(
            "training on with correlated weights is not supported",
            code="correlated-posterior",
            hint="Leave --continue out.",
        )
    noise = float(model.noise) if isinstance(model.noise, int | float) else None
    library = posterior.source.dialect if posterior.source is not None else None
    if library is not None and library.startswith(_NOT_VARIATIONAL):
        return None
    floor = _DENSITY_FLOORS.get(library or "")
    if floor is not None:
        problem = problem.under(with_floor(problem.prior, floor))
    assumptions = _assumptions(problem, model, noise)

    def read(posterior: Posterior) -> KlWeight:
        trained = Trained(
            posterior=posterior,
            prior=problem.prior,
            forward=problem.forward,
            network=symmetry.chain,
            likelihood=problem.likelihood,
            inputs=problem.train.inputs,
            targets=problem.train.targets,
            log_noise=None if noise is None else math.log(noise),
            held=problem.held,
        )
        return measure(
            trained,
            seed=seed,
            batch_size=meter.batch_size,
            library=library,
            assumptions=assumptions,
        )

    found = read(posterior)
    if not meter.continue_steps or found.value is None or found.value <= 0.0:
        return found
    later, gain = continued(problem, found, steps=meter.continue_steps, seed=seed)
    again = read(later)
    moved = math.log(again.value / found.value) if again.value and again.value > 0.0 else None
    return dataclasses.replace(
        found,
        continued=Continuation(
            steps=meter.continue_steps,
            value=again.value,
            status=again.status,
            moved=moved,
            gain=gain,
        ),
    )


def _assumptions(
    problem: LearningProblem, model: ModelConfig, noise: float | None
) -> tuple[str, ...]:
    """In words what the reading rests on and the file does not say."""
    stated = [f"{problem.likelihood.name} likelihood"]
    if problem.likelihood.has_noise:
        stated.append(
            "noise std estimated from the residuals: T scales with its square"
            if noise is None
            else f"noise std {noise:g}"
        )
    names = [name for name in problem.posterior.names if name not in problem.held]
    origin = "given" if model.prior_by_name else "from the file"
    points = f"trained on these {len(problem.train)} points and no others"
    return (*stated, f"{problem.prior.words(names)}, {origin}", points)
