"""From evaluations to the retrain report: comparison, verdict, and what the evidence bound is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from symdiag.priors import mixture_words
from symdiag.report.kinds.analyze import ModelInfo
from symdiag.report.kinds.retrain import (
    Bound,
    Change,
    EvaluatedRun,
    Figures,
    RacedStart,
    RetrainReport,
    RetrainSettings,
    RetrainVerdict,
    RunKind,
    TestScores,
    TrainingCurve,
)
from symdiag.report.parts import NetworkInfo
from symdiag.tasks._inputs import TOOL
from symdiag.tasks.options import ControlOptions
from symdiag.training.config import EvaluationConfig, ModelConfig, TrainingConfig, Triple
from symdiag.training.evaluation import Evaluation
from symdiag.training.job import Control, Raced
from symdiag.training.learning_problem import LearningProblem
from symdiag.training.verdict import (
    Difference,
    differences,
    prediction_difference,
    prediction_slack,
    run_to_run_slack,
    symmetrized_difference,
    verdict_of,
)

_MOST_LOOKS = 200
_TRAINING = (
    "objective",
    "steps",
    "learning_rate",
    "batch_size",
    "draws",
    "seed",
)
"""Settings of training that the report repeats, resolved."""


@dataclass(frozen=True)
class Outcome:
    """The evaluations of a job; they decide whether its result is written."""

    before: Evaluation
    controls: Mapping[Control, Evaluation]
    after: Evaluation

    @property
    def best_control(self) -> Control | None:
        """The control of either kind with the largest L^G: what is to be beaten."""
        return max(self.controls, key=lambda c: self.controls[c].symmetrized.value, default=None)

    @property
    def reference(self) -> Evaluation:
        """The best control, or the checkpoint where there is none."""
        best = self.best_control
        return self.before if best is None else self.controls[best]

    @property
    def repeated(self) -> tuple[Evaluation, ...]:
        """Runs that differ in nothing but the seed: from one start, by one objective."""
        # fresh nets end in optima of their own: their spread is that of the starts, not of training
        return tuple(found for run, found in self.controls.items() if run.kind == "continued")

    @property
    def slack(self) -> float | None:
        """Half-width that training noise alone gives a difference in L^G."""
        return run_to_run_slack(self.repeated)

    @property
    def gain(self) -> Difference:
        """The difference in L^G that decides the verdict."""
        return symmetrized_difference(self.reference, self.after, self.slack or 0.0)

    @property
    def prediction_slack(self) -> float | None:
        """Half-width that training noise alone gives a difference in test NLL."""
        return prediction_slack(self.repeated)

    @property
    def predictions(self) -> Difference | None:
        """The difference in test NLL, with training noise; None without test data."""
        return prediction_difference(self.reference, self.after, self.prediction_slack or 0.0)

    @property
    def verdict(self) -> RetrainVerdict:
        """What the differences in evidence and predictions say."""
        if self.after is self.before:
            return "nothing to gain"
        return verdict_of(self.gain, self.predictions)

    @property
    def changes(self) -> tuple[Difference, ...]:
        """Every difference to the reference, with training noise where it was measured."""
        judged = {d.name: d for d in (self.gain, self.predictions) if d is not None}
        return tuple(judged.get(d.name, d) for d in differences(self.reference, self.after))


def build_report(
    outcome: Outcome,
    *,
    model: ModelInfo,
    network: NetworkInfo,
    log_order: float,
    settings: RetrainSettings,
    history: Mapping[str, Sequence[tuple[int, float, float]]],
    race: Raced | None,
    output: Path | None,
    run: dict[str, Any],
) -> RetrainReport:
    """The report of a finished job. ``output``: what was written, if anything; ``history``: of
    each run, see ``RunState``.
    """
    before, retrained = figures("before", outcome.before), figures("retrained", outcome.after)
    # one control is shown whole, the one to beat
    controls = [figures("control", outcome.reference)] if outcome.controls else []
    runs, best = evaluated_runs(outcome), outcome.best_control
    return RetrainReport(
        model=model,
        network=network,
        log_order=log_order,
        before=before,
        control=controls[0] if controls else None,
        retrained=retrained,
        compared_with="before" if best is None else "control",
        compared_run="before" if best is None else best.name,
        changes=tuple(_change(d) for d in outcome.changes),
        changes_to_before=tuple(_change(d) for d in differences(outcome.before, outcome.after)),
        run_to_run=outcome.slack,
        run_to_run_nll=outcome.prediction_slack,
        runs=runs,
        best_evidence=best_by_evidence(runs),
        best_predictions=best_by_predictions(runs),
        race=_race(race),
        bound=evidence_bound([before, *controls, retrained]),
        output=None if output is None else str(output),
        verdict=outcome.verdict,
        settings=settings,
        curves=tuple(_curve(name, seen) for name, seen in history.items() if seen),
        tool=TOOL,
        run=run,
    )


def evaluated_runs(outcome: Outcome) -> tuple[EvaluatedRun, ...]:
    """Every posterior of the outcome; none where nothing was trained."""
    if outcome.after is outcome.before:
        return ()
    return (
        _evaluated_run("before", "before", outcome.before),
        _evaluated_run("retrained", "main", outcome.after),
        *(_evaluated_run(run.name, run.kind, found) for run, found in outcome.controls.items()),
    )


def _evaluated_run(name: str, kind: RunKind, found: Evaluation) -> EvaluatedRun:
    return EvaluatedRun(
        name,
        kind,
        found.elbo,
        found.straddling_entropy,
        found.symmetrized,
        None if found.test is None else TestScores.of(found.test),
    )


def _race(race: Raced | None) -> tuple[RacedStart, ...]:
    if race is None:
        return ()
    return tuple(
        RacedStart(start.name, start.origin, race.steps, found, start == race.winner)
        for start, found in race.found.items()
    )


def best_by_evidence(runs: Sequence[EvaluatedRun]) -> str | None:
    """The run with the largest value of L^G."""
    best = max(runs, key=lambda run: run.symmetrized.value, default=None)
    return None if best is None else best.name


def best_by_predictions(runs: Sequence[EvaluatedRun]) -> str | None:
    """The run with the lowest test NLL; None without test data."""
    tested = [(run.test.nll, run.name) for run in runs if run.test is not None]
    return min(tested)[1] if tested else None


def _curve(name: str, history: Sequence[tuple[int, float, float]]) -> TrainingCurve:
    # evenly thinned, the last look kept: no screen shows more
    stride = -(-len(history) // _MOST_LOOKS)
    kept = list(history)[::-1][::stride][::-1]
    steps, elbo, entropy = zip(*kept, strict=True)
    return TrainingCurve(name, steps, elbo, entropy)


def figures(name: str, evaluation: Evaluation) -> Figures:
    """The reported part of an evaluation."""
    # the rest of an evaluation (draws, pointwise values) is for paired comparison alone
    shared = {
        f.name: getattr(evaluation, f.name)
        for f in dataclasses.fields(Figures)
        if f.name not in ("name", "test")
    }
    scores = None if evaluation.test is None else TestScores.of(evaluation.test)
    return Figures(name=name, test=scores, **shared)


def evidence_bound(runs: Sequence[Figures]) -> Bound:
    """The largest lower end of L^G: each bounds log p(Y|X), up to its own error probability."""
    # log p(Y|X) >= L^G >= its lower end for each run (Gelberg et al. 2024, Thm 4.1), so the
    # largest counts; choosing it after the fact is why each keeps its own error probability
    best = max(runs, key=lambda f: f.symmetrized.lower)
    kind = best.symmetrized.interval
    promise = {
        "exact": "every draw's permanent is exact",
        "certified": "H enters by an upper bound that holds for every weight draw",
        "probability": "H enters by an upper bound that holds with high probability",
        "expectation": "H enters by an upper bound that holds in expectation over weight draws",
        "deterministic": "H enters by an upper bound that needs no weight draws",
    }[kind]
    statement = (
        f"log p(Y|X) >= {best.symmetrized.lower:.2f} nats: the lower end of L^G of '{best.name}' "
        f"({promise}; Monte Carlo error of two standard errors is taken off). "
        "The values of L^G themselves, their upper ends and what the training objective showed are no bounds."
    )
    return Bound(best.name, best.symmetrized.lower, statement)


def _change(difference: Difference) -> Change:
    return Change(**dataclasses.asdict(difference))


def _prior_words(given: float | Triple, *, short: bool = False) -> str:
    if isinstance(given, int | float):
        return f"{given:g}" if short else f"std {given:g}"
    weight, first, second = given
    return mixture_words(((weight, first), (1.0 - weight, second)))


def settings_of(
    config: TrainingConfig,
    model: ModelConfig,
    evaluation: EvaluationConfig,
    runs: ControlOptions,
    problem: LearningProblem,
    steps_taken: int,
) -> RetrainSettings:
    """Everything that was chosen, by the user or by default."""
    by_name = dict(model.prior_by_name)
    # the empty name stands for every tensor without one of its own
    common = by_name.pop("", None)
    stored = "from the checkpoint" if common is None else _prior_words(common)
    named = ", ".join(f"{k} {_prior_words(v, short=True)}" for k, v in by_name.items())
    return RetrainSettings(
        **{name: getattr(config, name) for name in _TRAINING},
        # what the objectives that do not have them would use: the contract has no null here
        marginals=config.marginals or "auto",
        num_elements=config.num_elements or 20,
        steps_taken=steps_taken,
        start=runs.start,
        likelihood=model.likelihood,
        noise="learned" if model.noise in (None, "learn") else f"{model.noise:g}",
        prior=f"{stored}; {named}" if named else stored,
        control_runs=runs.controls,
        evaluation_samples=evaluation.samples,
        held=problem.held,
        statistics=problem.statistics,
    )
