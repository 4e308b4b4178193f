"""``symdiag.retrain``: a posterior trained further on the symmetrised objective."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symdiag import formats
from symdiag.errors import OutputError, UsageError
from symdiag.estimate import Estimate
from symdiag.estimators.evaluator import check_device
from symdiag.posterior import Posterior
from symdiag.report.kinds.retrain import RetrainReport
from symdiag.report.notebook import Reported
from symdiag.tasks._evidence import check_assumed_function, problem_of
from symdiag.tasks._inputs import (
    Source,
    check_output,
    find_symmetry,
    log,
    model_info,
    network_info,
    read,
    run_info,
)
from symdiag.tasks._network_data import DataSource, example_inputs
from symdiag.tasks._retrain_report import Outcome, build_report, settings_of
from symdiag.tasks.keywords import flat
from symdiag.tasks.options import ControlOptions, FileOptions, HeldOutOptions, ReadingOptions
from symdiag.training.config import EvaluationConfig, ModelConfig, TrainingConfig
from symdiag.training.evaluation import Evaluation, certified_straddling, evaluate
from symdiag.training.job import (
    JobSettings,
    JobState,
    Trained,
    control_runs,
    job_settings,
    load_job,
    run_job,
)
from symdiag.training.learning_problem import LearningProblem, scratch
from symdiag.training.metrics import JsonLines, Sink, TensorBoard
from symdiag.training.race import race_starts
from symdiag.workers import Workers, workers_from_environment

NOTHING_TO_GAIN = 0.05
"""Nats: where H(g|ω) is certainly below, the symmetrised objective differs from the ELBO by no more."""

_NOT_KEPT = ("worse", "evidence up, predictions worse")


@dataclass(frozen=True, repr=False)
class Retraining(Reported):
    """The report, and the retrained posterior (ready for ``symdiag.save``)."""

    report: RetrainReport
    posterior: Posterior

    def state_dict(self) -> Any:
        """The retrained values as what ``source`` loads back; see ``symdiag.formats.state_dict``."""
        return formats.state_dict(self.posterior)


@flat
def retrain(
    source: Source,
    data: DataSource,
    *,
    held_out: HeldOutOptions = HeldOutOptions(),
    reading: ReadingOptions = ReadingOptions(),
    model_config: ModelConfig = ModelConfig(),
    training: TrainingConfig = TrainingConfig(),
    runs: ControlOptions = ControlOptions(),
    files: FileOptions = FileOptions(),
    evaluation: EvaluationConfig = EvaluationConfig(),
    sinks: Sequence[Sink] = (),
) -> Retraining | None:
    """Train a posterior further on the symmetrised objective and say honestly what it gained.

    Args:
        source: Checkpoint file, live object (module, state dict, guide, …) or Posterior.
        data: Training data: a file, a Dataset, or (inputs, targets).
        held_out: Test data, and the target column.
        reading: The network, and what the file leaves open.
        model_config: Likelihood, noise and prior.
        training: Objective, steps, learning rate, ...; what is None is decided from the problem.
        runs: Where to start, and control runs of the plain ELBO with the same steps: continued from
            where the main run starts, which also tell how much of a difference is training noise,
            and the best plain recipe from scratch.
        files: Output, resumable state, metrics.
        evaluation: How carefully the results are evaluated.
        sinks: Called with a ``Record`` at every interval.

    Returns:
        Report and posterior; None in every process but the first of a distributed run.

    Raises:
        SymdiagError: Bad input or options, divergence, write failure; ``code`` says which.
        KeyboardInterrupt: Interrupted; the state file allows ``resume``.
    """
    started = time.time()
    check_device(runs.device)
    original = read(source, reading)
    _check_files(files, original)
    # the group is that of the file's posterior, also where training starts from scratch
    seen = example_inputs(original, reading, data, held_out.target)
    symmetry = find_symmetry(original, reading, training.seed, seen)
    symmetry.provenance.require_function("retraining")
    # scratch keeps only what is deterministic, shapes and the file to write back to
    start = original if runs.start == "checkpoint" else scratch(original, training.seed)
    with workers_from_environment() as workers:
        problem = problem_of(start, symmetry, model_config, data, held_out, device=runs.device)
        # on the file's own weights: a start from scratch predicts nothing yet
        check_assumed_function(dataclasses.replace(problem, posterior=original), symmetry)
        config = training.resolved(len(problem.train), start.num_parameters)
        entropy = certified_straddling(problem, original, evaluation, workers)
        # an interrupted run had something to gain when it began, and is owed its end
        gains = runs.anyway or files.resume or _can_gain(entropy, config, runs)
        if gains:
            # every process trains and evaluates; one of them writes and reports
            trained = _trained(
                problem, config, model_config, runs, files, evaluation, sinks, workers
            )
        else:
            log.debug("nothing to gain: H is at most %g nats", entropy.upper)
        unchanged = dataclasses.replace(problem, posterior=original)
        before = evaluate(
            unchanged, unchanged.start(), evaluation, entropy=entropy, workers=workers
        )
        if gains:
            outcome = _evaluated(problem, before, trained, evaluation, workers)
            posterior = trained.main.posterior(original)
        else:
            outcome, posterior = Outcome(before, {}, before), original
        if not workers.writes:
            return None
        keep = gains and (files.keep_worse or outcome.verdict not in _NOT_KEPT)
        written = _write(posterior, files, keep=keep)
        steps = trained.steps if gains else 0
        report = build_report(
            outcome,
            model=model_info(original, symmetry, reading),
            network=network_info(symmetry),
            log_order=symmetry.spec.log_order,
            settings=settings_of(config, model_config, evaluation, runs, problem, steps),
            history=trained.history if gains else {},
            race=trained.race if gains else None,
            output=written,
            run=run_info(started),
        )
        return Retraining(report, posterior)


def _can_gain(entropy: Estimate, config: TrainingConfig, runs: ControlOptions) -> bool:
    """Whether there is a bonus for straddling to take away: training on another objective is no matter."""
    elsewhere = runs.start != "checkpoint" or runs.starts > 1 or config.objective == "elbo"
    return elsewhere or entropy.upper >= NOTHING_TO_GAIN


def _trained(
    problem: LearningProblem,
    config: TrainingConfig,
    model: ModelConfig,
    runs: ControlOptions,
    files: FileOptions,
    evaluation: EvaluationConfig,
    sinks: Sequence[Sink],
    workers: Workers,
) -> Trained:
    starts = race_starts(runs.starts, fresh=runs.start == "scratch")
    job = JobSettings(control_runs(runs.controls), starts, evaluation, files.state_path, workers)
    state = _state(job_settings(problem, config, model, job), files)
    job = dataclasses.replace(job, sinks=_sinks(files, state, sinks, workers))
    return run_job(problem, config, job, state)


def _state(settings: dict[str, Any], files: FileOptions) -> JobState:
    """A fresh state, or that of the interrupted run to go on with."""
    # settings travel with the state: a resumed job must be the job that was interrupted
    if not files.resume:
        return JobState(settings)
    if files.state_path is None:
        raise UsageError("--resume needs an output or a state file", code="bad-option")
    return load_job(files.state_path, settings)


def _sinks(
    files: FileOptions, state: JobState, sinks: Sequence[Sink], workers: Workers
) -> tuple[Sink, ...]:
    if not workers.writes:
        return ()
    found = list(sinks)
    if files.metrics is not None:
        # the run that the state stands in, and its step: lines beyond it will be written again
        position = [(name, run.step) for name, run in state.runs.items()][-1:]
        found.append(JsonLines(files.metrics, resume_from=position[0] if position else None))
    if files.tensorboard is not None:
        found.append(TensorBoard(files.tensorboard))
    return tuple(found)


def _evaluated(
    problem: LearningProblem,
    before: Evaluation,
    trained: Trained,
    evaluation: EvaluationConfig,
    workers: Workers,
) -> Outcome:
    log.debug("trained for %d steps; evaluating with %d draws", trained.steps, evaluation.samples)
    controls = {
        run: evaluate(problem, q, evaluation, workers=workers)
        for run, q in trained.controls.items()
    }
    return Outcome(before, controls, evaluate(problem, trained.main, evaluation, workers=workers))


def _write(posterior: Posterior, files: FileOptions, *, keep: bool) -> Path | None:
    """Save what is to be kept; the state file goes once it is of no further use."""
    if files.output is None or not keep:
        return None
    formats.save(posterior, files.output)
    # only now: until the output is there, the state is all that hours of training left
    if files.state_path is not None:
        files.state_path.unlink(missing_ok=True)
    return files.output


def _check_files(files: FileOptions, posterior: Posterior) -> None:
    """Refuse at once what would fail after hours of training."""
    # output, state and metrics may neither be the input nor each other
    taken = [] if posterior.source is None else [posterior.source.path]
    state = files.state_path
    for path in (files.output, state, files.metrics):
        check_output(path, taken, overwrite=None if path == files.output else True)
        taken += [] if path is None else [str(path)]
    if files.output is not None and posterior.source is None:
        raise UsageError("only a posterior read from a file can be written back", code="no-source")
    if state is not None and state.exists() and not files.resume:
        raise OutputError(
            f"{state} holds an interrupted run",
            code="exists",
            hint="Go on with --resume, or delete it to start over.",
        )
