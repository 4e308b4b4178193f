"""A retraining job: the run of the chosen objective, then its control runs, resumable as a whole."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from symdiag.objectives.variational import Variational
from symdiag.training.config import ModelConfig, TrainingConfig
from symdiag.training.loop import RunSettings, train
from symdiag.training.metrics import Sink
from symdiag.training.problem import Problem
from symdiag.training.signals import graceful_stop
from symdiag.training.state import JobState, RunState, save_job
from symdiag.training.workers import Workers


@dataclass(frozen=True)
class Trained:
    """The posteriors a job made: ``main`` by the chosen objective, ``controls`` by the ELBO alone.

    The first control shares seed, batches and weight noise with ``main``; the others have seeds of their own.
    """

    main: Variational
    controls: tuple[Variational, ...]
    steps: int


@dataclass(frozen=True)
class JobSettings:
    """Who takes part, where metrics go, and where the state is kept (None: nowhere)."""

    control_runs: int = 3
    state_path: Path | None = None
    workers: Workers = field(default_factory=Workers)
    sinks: Sequence[Sink] = ()


def run_job(
    problem: Problem, config: TrainingConfig, settings: JobSettings, state: JobState
) -> Trained:
    """Run whatever of the job is not finished yet.

    Args:
        problem: Model, data, prior and group.
        config: Resolved settings of the main run.
        settings: Control runs, files and processes.
        state: A fresh ``JobState`` or one that ``load_job`` returned.

    Raises:
        TrainingError: ``training-diverged``.
        KeyboardInterrupt: Interrupted; the state file is up to date.
    """
    job = _Job(problem, settings, state)
    with graceful_stop() as stop:
        main = job.run("main", config, stop=stop)
        steps = job.state.runs["main"].step
        controls = [
            job.run(
                f"control-{k + 1}",
                dataclasses.replace(config, objective="elbo", seed=config.seed + k),
                stop=stop,
                stop_at=steps,
            )
            for k in range(settings.control_runs)
        ]
    return Trained(main, tuple(controls), steps)


class _Job:
    def __init__(self, problem: Problem, settings: JobSettings, state: JobState) -> None:
        self.problem, self.settings, self.state = problem, settings, state

    def run(self, name: str, config: TrainingConfig, **options: Any) -> Variational:
        """One run, from where the state says it stands."""

        def save(run: RunState) -> None:
            self.state = self.state.with_run(name, run)
            if self.settings.state_path is not None and self.settings.workers.writes:
                save_job(self.state, self.settings.state_path)

        settings = RunSettings(
            phase=name,
            workers=self.settings.workers,
            sinks=self.settings.sinks,
            save=save,
            **options,
        )
        q, _ = train(self.problem, config, settings, self.state.runs.get(name))
        return q


def job_settings(
    problem: Problem, config: TrainingConfig, model: ModelConfig, control_runs: int, world: int
) -> dict[str, Any]:
    """Everything the course of a job depends on, as plain values: what a resumed job must repeat."""
    posterior, train_data = problem.posterior, problem.train
    return {
        **config.to_dict(),
        **dataclasses.asdict(model),
        "control_runs": control_runs,
        "processes": world,
        "start": _digest(*posterior.loc.values(), *posterior.scale.values()),
        "data": _digest(train_data.inputs.cpu().numpy(), train_data.targets.cpu().numpy()),
    }


def _digest(*arrays: np.ndarray[Any, np.dtype[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]
