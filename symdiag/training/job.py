"""A retraining job: a race of starts, the main run, its control runs; resumable as a whole.

Controls maximise the plain ELBO in as many steps as led to the main run's end. Those of kind ``continued``
start where it does; those of kind ``scratch`` are the best plain recipe that we know, a fresh net
with small stds and KL annealing: the optimum that a straddled checkpoint sits in is easy to beat.

Its state on disk is enough to go on bit for bit after ``kill -9``: a safetensors file (no code can
hide in it) of parameters and Adam moments of the run under way, the final parameters of the
finished runs, and a JSON object with counters and settings.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from symdiag.errors import TrainingError, UsageError
from symdiag.estimate import Estimate
from symdiag.formats.atomic import atomic_write
from symdiag.objectives.variational import Variational
from symdiag.training.config import (
    EvaluationConfig,
    ModelConfig,
    TrainingConfig,
    differences,
    eased_kl_weight,
)
from symdiag.training.evaluation import symmetrized_elbo
from symdiag.training.learning_problem import LearningProblem, scratch
from symdiag.training.loop import RunSettings, RunState, train
from symdiag.training.metrics import Sink
from symdiag.training.processes import StopRequest, graceful_stop
from symdiag.training.race import Start, race_config
from symdiag.workers import Workers

_VERSION = "1"


@dataclass(frozen=True)
class JobState:
    """A sequence of named runs (main, control-1, ...), the last of which may be unfinished."""

    settings: dict[str, Any]
    runs: dict[str, RunState] = field(default_factory=dict)

    def with_run(self, name: str, run: RunState) -> JobState:
        """This state with one run replaced or added."""
        return dataclasses.replace(self, runs={**self.runs, name: run})


ControlKind = Literal["continued", "scratch"]


@dataclass(frozen=True)
class Control:
    """One control run, by its number from 1 and its kind.

    The first shares seed, batches and weight noise with the main run; the others have their own.
    """

    number: int
    kind: ControlKind

    @property
    def name(self) -> str:
        """Of the run, in states, metrics and reports."""
        return f"control-{self.number}"


def control_runs(count: int) -> tuple[Control, ...]:
    """Every fourth of ``count`` runs from scratch, the last and at least one of two; others continued.

    >>> [run.kind for run in control_runs(4)]
    ['continued', 'continued', 'continued', 'scratch']
    """
    fresh = 0 if count < 2 else max(1, count // 4)
    return tuple(
        Control(k + 1, "continued" if k < count - fresh else "scratch") for k in range(count)
    )


@dataclass(frozen=True)
class Raced:
    """How a race went: L^G of each start after its short run of so many steps, and the best."""

    steps: int
    found: dict[Start, Estimate]
    winner: Start


@dataclass(frozen=True)
class Trained:
    """The posteriors a job made: ``main`` by the chosen objective, ``controls`` by the ELBO alone."""

    main: Variational
    controls: dict[Control, Variational]
    race: Raced | None
    steps: int  # of the main run
    history: dict[str, tuple[tuple[int, float, float], ...]]  # of each run, see ``RunState``


@dataclass(frozen=True)
class JobSettings:
    """Who takes part, where metrics go, and where the state is kept (None: nowhere)."""

    controls: tuple[Control, ...] = ()
    starts: tuple[Start, ...] = ()  # of the race, none without one
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)  # of the race
    state_path: Path | None = None
    workers: Workers = field(default_factory=Workers)
    sinks: Sequence[Sink] = ()


def run_job(
    problem: LearningProblem, config: TrainingConfig, settings: JobSettings, state: JobState
) -> Trained:
    """Run whatever of the job is not finished yet.

    Args:
        problem: Model, data, prior and group.
        config: Resolved settings of the main run.
        settings: Race, control runs, files and processes.
        state: A fresh ``JobState`` or one that ``load_job`` returned.

    Raises:
        TrainingError: ``training-diverged``.
        KeyboardInterrupt: Interrupted; the state file is up to date.
    """
    job = _Job(settings, state)
    with graceful_stop() as stop:
        race, start = _raced(job, problem, config, stop) if settings.starts else (None, problem)
        main = job.run("main", start, config, stop=stop)
        # controls get the steps that main took, early stop included, and those of the race that
        # led to it: one budget for all
        steps = job.state.runs["main"].step
        before = 0 if race is None else race.steps
        controls = {
            control: job.run(
                control.name,
                *_controlled(problem, config, control, before, steps),
                stop=stop,
                stop_at=before + steps,
            )
            for control in settings.controls
        }
    names = ["main", *(control.name for control in controls)]
    history = {name: job.state.runs[name].history for name in names}
    return Trained(main, controls, race, steps, history)


def _raced(
    job: _Job, problem: LearningProblem, config: TrainingConfig, stop: StopRequest
) -> tuple[Raced, LearningProblem]:
    """A short run from every start, and the problem as the best of them left it."""
    settings, short = job.settings, race_config(config)
    finished = {
        start: job.run(
            start.name,
            problem.restarted(start.posterior(problem.posterior, config.seed)),
            short,
            stop=stop,
        )
        for start in settings.starts
    }
    workers = settings.workers
    found = {
        start: symmetrized_elbo(problem, q, settings.evaluation, workers)
        for start, q in finished.items()
    }
    best = max(found, key=lambda start: found[start].value)
    # every process goes on from the choice of the first: theirs may differ by rounding
    winner = next(s for s in finished if workers.any(workers.writes and s == best))
    q = finished[winner]
    ahead = dataclasses.replace(
        problem, posterior=q.posterior(problem.posterior), log_noise=float(q.log_noise.detach())
    )
    assert short.steps is not None
    return Raced(short.steps, found, winner), ahead


def _controlled(
    problem: LearningProblem, config: TrainingConfig, control: Control, before: int, steps: int
) -> tuple[LearningProblem, TrainingConfig]:
    """Start and settings of a control: the plain ELBO, without options of the other objectives.

    ``before``: steps of a race, ``steps``: those that the main run took.
    """
    assert config.steps is not None
    assert config.batch_size is not None
    plain = dataclasses.replace(
        config,
        objective="elbo",
        marginals=None,
        num_elements=None,
        steps=before + config.steps,
        kl_weight_start=1.0,
        # the first keeps the seed: it is paired with the main run, draw by draw
        seed=config.seed + control.number - 1,
    )
    if control.kind == "continued":
        return problem, plain
    eased = eased_kl_weight(config.steps, config.batch_size, len(problem.train))
    # a recipe knows its length: its learning rate falls to zero where the main run stopped early
    recipe = dataclasses.replace(plain, steps=before + steps, kl_weight_start=eased)
    return problem.restarted(scratch(problem.posterior, plain.seed)), recipe


class _Job:
    def __init__(self, settings: JobSettings, state: JobState) -> None:
        self.settings, self.state = settings, state

    def run(
        self, name: str, problem: LearningProblem, config: TrainingConfig, **options: Any
    ) -> Variational:
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
        q, _ = train(problem, config, settings, self.state.runs.get(name))
        return q


def job_settings(
    problem: LearningProblem,
    config: TrainingConfig,
    model: ModelConfig,
    settings: JobSettings,
) -> dict[str, Any]:
    """Everything the course of a job depends on: what a resumed job must repeat."""
    posterior, data = problem.posterior, problem.train
    return {
        **config.to_dict(),
        **dataclasses.asdict(model),
        "controls": [control.kind for control in settings.controls],
        "starts": [start.origin for start in settings.starts],
        # which start is best may depend on how carefully they were evaluated
        "race": dataclasses.asdict(settings.evaluation) if settings.starts else None,
        "processes": settings.workers.world,
        # digests of contents, not paths: a changed file must be noticed, a moved one need not
        "start": _digest(*posterior.loc.values(), *posterior.scale.values()),
        "data": _digest(data.inputs.cpu().numpy(), data.targets.cpu().numpy()),
    }


def _digest(*arrays: np.ndarray[Any, np.dtype[Any]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def save_job(job: JobState, path: Path) -> None:
    """Write atomically: after a crash the file holds either the old state or the new one."""
    tensors = {
        f"{name}/{key}": value
        for name, run in job.runs.items()
        for key, value in run.tensors.items()
    }
    kept = ("step", "best", "best_step", "finished", "history")
    counters = {name: {key: getattr(r, key) for key in kept} for name, r in job.runs.items()}
    note = {
        "symdiag": json.dumps({"version": _VERSION, "settings": job.settings, "runs": counters})
    }
    # safetensors refuses tensors that are views with gaps
    atomic_write(
        path, save({k: v.contiguous() for k, v in tensors.items()}, metadata=note), overwrite=True
    )


def load_job(path: Path, settings: dict[str, Any]) -> JobState:
    """Read a state back and check that it belongs to a job with the same settings.

    Raises:
        UsageError: ``resume-mismatch``, listing what differs.
        TrainingError: ``resume-failed``: no such file, or not a state file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            note = json.loads((file.metadata() or {})["symdiag"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise TrainingError(
            f"cannot resume from {path}: {error}",
            code="resume-failed",
            hint="Run again without --resume to start over.",
        ) from error
    # through JSON and back, as the file's own settings went: tuples have become lists
    changed = differences(note["settings"], json.loads(json.dumps(settings)))
    if changed:
        raise UsageError(
            "the run to resume had other settings: " + "; ".join(changed),
            code="resume-mismatch",
            hint="Repeat the original options, or start over without --resume.",
        )
    runs = {
        name: RunState(
            tensors={k.split("/", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{name}/")},
            **{**counters, "history": tuple(map(tuple, counters.get("history", ())))},
        )
        for name, counters in note["runs"].items()
    }
    return JobState(settings, runs)
