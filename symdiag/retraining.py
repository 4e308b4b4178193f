"""``symdiag.retrain``: checkpoint and data in, a posterior trained on the symmetrised objective and a report out."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from symdiag import formats
from symdiag.api import TOOL, model_info, run_info
from symdiag.errors import OutputError, UsageError
from symdiag.evidence import forward_pass, network_data
from symdiag.posterior import Posterior
from symdiag.report.retrain_build import build_report
from symdiag.report.retrain_model import RetrainReport
from symdiag.symmetry.discovery import Symmetry, discover
from symdiag.training.config import ModelConfig, TrainingConfig
from symdiag.training.data import Dataset
from symdiag.training.evaluation import EvaluationConfig, evaluate
from symdiag.training.job import JobSettings, JobState, Trained, job_settings, load_job, run_job
from symdiag.training.learning_problem import build_problem, scratch
from symdiag.training.metrics import JsonLines, Sink, TensorBoard
from symdiag.training.processes import Workers, workers_from_environment


@dataclass(frozen=True)
class Network:
    """What the checkpoint may not say about the network (see ``symdiag.analyze``)."""

    activation: str | None = None
    model: str | None = None
    spec: Path | None = None


@dataclass(frozen=True)
class Files:
    """Where things go. ``state`` defaults to the output's name with ``.state`` added."""

    output: Path | None = None
    state: Path | None = None
    metrics: Path | None = None
    tensorboard: Path | None = None
    keep_worse: bool = False

    @property
    def state_path(self) -> Path | None:
        """Where the resumable state is kept, if anywhere."""
        if self.state is not None or self.output is None:
            return self.state
        return self.output.with_name(f"{self.output.name}.state")


@dataclass(frozen=True)
class Retraining:
    """The report, and the retrained posterior (ready for ``symdiag.formats.save``)."""

    report: RetrainReport
    posterior: Posterior


def retrain(
    source: str | Path | Posterior,
    data: str | Path | Dataset,
    *,
    test: str | Path | Dataset | None = None,
    target: str | None = None,
    start: Literal["checkpoint", "scratch"] = "checkpoint",
    training: TrainingConfig | None = None,
    model: ModelConfig | None = None,
    network: Network | None = None,
    files: Files | None = None,
    evaluation: EvaluationConfig | None = None,
    control_runs: int = 3,
    resume: bool = False,
    device: str = "cpu",
    scale_transform: str | None = None,
    companion: str | Path | None = None,
    sinks: Sequence[Sink] = (),
) -> Retraining | None:
    """Train a posterior further on the symmetrised objective and say honestly what it gained.

    Args:
        source: Checkpoint file, or a Posterior already loaded.
        data: Training data (file or Dataset).
        test: Held-out data for NLL, RMSE or accuracy, and calibration.
        target: Target column of csv and parquet files.
        start: Go on from the checkpoint, or start with random means.
        training: Objective, steps, learning rate, ...; what is None is decided from the problem.
        model: Likelihood, noise and prior.
        network: Activation, module or spec where the file does not determine them.
        files: Output, resumable state, metrics.
        evaluation: How carefully the results are evaluated.
        control_runs: Runs of the plain ELBO with the same steps and batches; 0 for none. Several runs also tell how
            much of a difference is training noise.
        resume: Go on from the state file of an interrupted run.
        device: Torch device of the training.
        scale_transform: What turns the stored scale into a std, where the file leaves it open.
        companion: Second file that some libraries need.
        sinks: Called with a ``Record`` at every interval.

    Returns:
        Report and posterior; None in every process but the first of a distributed run.

    Raises:
        SymdiagError: Bad input or options, divergence, write failure; ``code`` says which.
        KeyboardInterrupt: Interrupted; the state file allows ``resume``.
    """
    started = time.time()
    files = files or Files()
    posterior = _posterior(source, scale_transform, companion)
    _check_files(files, posterior, resume)
    found = discover(
        posterior,
        activation=(network or Network()).activation,
        model=(network or Network()).model,
        spec_file=(network or Network()).spec,
        generator=np.random.default_rng([(training or TrainingConfig()).seed, 7]),
    )
    request = _Request(
        posterior=posterior
        if start == "checkpoint"
        else scratch(posterior, (training or TrainingConfig()).seed),
        original=posterior,
        symmetry=found,
        train=network_data(data, target, found),
        test=None if test is None else network_data(test, target, found),
        training=training or TrainingConfig(),
        model=model or ModelConfig(),
        files=files,
        evaluation=evaluation or EvaluationConfig(),
        control_runs=control_runs,
        resume=resume,
        device=device,
        start=start,
        started=started,
        sinks=tuple(sinks),
    )
    with workers_from_environment() as workers:
        return _Retrain(request, workers).run()


@dataclass(frozen=True)
class _Request:
    posterior: Posterior  # where training starts
    original: Posterior  # what the file holds
    symmetry: Symmetry
    train: Dataset
    test: Dataset | None
    training: TrainingConfig
    model: ModelConfig
    files: Files
    evaluation: EvaluationConfig
    control_runs: int
    resume: bool
    device: str
    start: str
    started: float
    sinks: tuple[Sink, ...] = field(default=())


class _Retrain:
    """One call of ``retrain``: build, train, evaluate, write."""

    def __init__(self, request: _Request, workers: Workers) -> None:
        self.request, self.workers = request, workers
        r = request
        forward = forward_pass(r.posterior, r.symmetry)
        self.problem = build_problem(
            r.posterior, r.symmetry.spec, forward, r.model, r.train, r.test, device=r.device
        )
        self.config = r.training.resolved(len(r.train), r.posterior.num_parameters)

    def run(self) -> Retraining | None:
        """Everything; None in all processes but the one that writes."""
        trained = run_job(self.problem, self.config, self._job_settings(), self._state())
        if not self.workers.writes:
            return None
        return self._finish(trained)

    def _state(self) -> JobState:
        r = self.request
        settings = job_settings(
            r.posterior, r.train, self.config, r.model, r.control_runs, self.workers.world
        )
        path = r.files.state_path
        if not r.resume:
            return JobState(settings)
        if path is None:
            raise UsageError("--resume needs an output or a state file", code="bad-option")
        return load_job(path, settings)

    def _job_settings(self) -> JobSettings:
        return JobSettings(
            self.request.control_runs, self.request.files.state_path, self.workers, self._sinks()
        )

    def _sinks(self) -> tuple[Sink, ...]:
        r = self.request
        if not self.workers.writes:
            return ()
        sinks = list(r.sinks)
        if r.files.metrics is not None:
            sinks.append(
                JsonLines(r.files.metrics, resume_from=self._position() if r.resume else None)
            )
        if r.files.tensorboard is not None:
            sinks.append(TensorBoard(r.files.tensorboard))
        return tuple(sinks)

    def _position(self) -> tuple[str, int]:
        """The run that the state stands in, and its step."""
        runs = self._state().runs
        name = list(runs)[-1]
        return name, runs[name].step

    def _finish(self, trained: Trained) -> Retraining:
        r = self.request
        before_problem = dataclasses.replace(self.problem, posterior=r.original)
        before = evaluate(before_problem, before_problem.start(), r.evaluation)
        controls = [evaluate(self.problem, q, r.evaluation) for q in trained.controls]
        after = evaluate(self.problem, trained.main, r.evaluation)
        report = build_report(
            model=model_info(r.original, r.symmetry),
            before=before,
            controls=controls,
            after=after,
            log_order=r.symmetry.spec.log_order,
            config=self.config,
            model_config=r.model,
            steps_taken=trained.steps,
            start=r.start,
            evaluation=r.evaluation,
            tool=TOOL,
        )
        posterior = trained.main.posterior(r.original)
        written = _write(posterior, report, r.files)
        report = dataclasses.replace(report, output=written, run=run_info(r.started))
        return Retraining(report, posterior)


def _write(posterior: Posterior, report: RetrainReport, files: Files) -> str | None:
    """Save unless worse; the state file goes once it is of no further use."""
    if files.output is None or (report.verdict == "worse" and not files.keep_worse):
        return None
    formats.save(posterior, files.output)
    if files.state_path is not None:
        files.state_path.unlink(missing_ok=True)
    return str(files.output)


def _posterior(
    source: str | Path | Posterior, scale_transform: str | None, companion: str | Path | None
) -> Posterior:
    if isinstance(source, Posterior):
        return source
    return formats.load(source, scale_transform=scale_transform, companion=companion)


def _check_files(files: Files, posterior: Posterior, resume: bool) -> None:
    """Refuse at once what would fail after hours of training."""
    source = posterior.source
    taken = {os.path.realpath(source.path)} if source is not None else set()
    for path in (files.output, files.state_path, files.metrics):
        if path is None:
            continue
        if os.path.realpath(path) in taken:
            raise UsageError(
                f"{path} is the input or is written twice",
                code="would-overwrite",
                hint="Name another file.",
            )
        if not Path(os.path.realpath(path)).parent.is_dir():
            raise OutputError(f"the folder of {path} does not exist", hint="Create it first.")
        taken.add(os.path.realpath(path))
    if files.output is not None and files.output.exists():
        raise OutputError(
            f"{files.output} exists already", code="exists", hint="Name another file."
        )
    if files.output is not None and source is None:
        raise UsageError("only a posterior read from a file can be written back", code="no-source")
    state = files.state_path
    if state is not None and state.exists() and not resume:
        raise UsageError(
            f"{state} holds an interrupted run",
            code="exists",
            hint="Go on with --resume, or delete it to start over.",
        )
