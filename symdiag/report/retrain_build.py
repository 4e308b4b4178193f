"""From evaluations to the retrain report: comparison, verdict, and what the evidence bound is."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from symdiag.report.model import ModelInfo
from symdiag.report.retrain_model import (
    Bound,
    Change,
    Figures,
    RetrainReport,
    RetrainSettings,
    TestScores,
)
from symdiag.training.config import ModelConfig, TrainingConfig
from symdiag.training.evaluation import Evaluation, EvaluationConfig
from symdiag.training.verdict import (
    Difference,
    differences,
    run_to_run_slack,
    symmetrized_difference,
    verdict_of,
)


def build_report(
    *,
    model: ModelInfo,
    before: Evaluation,
    controls: Sequence[Evaluation],
    after: Evaluation,
    log_order: float,
    config: TrainingConfig,
    model_config: ModelConfig,
    steps_taken: int,
    start: str,
    evaluation: EvaluationConfig,
    tool: dict[str, str],
) -> RetrainReport:
    """Compare with the first control (same seed and batches), or with the checkpoint when there is none."""
    reference = controls[0] if controls else before
    slack = run_to_run_slack(controls)
    gain = symmetrized_difference(reference, after, slack or 0.0)
    retrained = figures("retrained", after)
    return RetrainReport(
        model=model,
        log_order=log_order,
        before=figures("before", before),
        control=figures("control", controls[0]) if controls else None,
        retrained=retrained,
        compared_with="control" if controls else "before",
        changes=tuple(
            _change(gain if d.name == gain.name else d) for d in differences(reference, after)
        ),
        changes_to_before=tuple(_change(d) for d in differences(before, after)),
        run_to_run=slack,
        bound=evidence_bound(
            [figures("before", before), *(figures("control", c) for c in controls[:1]), retrained]
        ),
        output=None,
        verdict=verdict_of(gain),
        settings=_settings(config, model_config, steps_taken, start, len(controls), evaluation),
        tool=tool,
    )


def figures(name: str, evaluation: Evaluation) -> Figures:
    """The reported part of an evaluation."""
    shared = {
        f.name: getattr(evaluation, f.name)
        for f in dataclasses.fields(Figures)
        if f.name not in ("name", "test")
    }
    scores = None if evaluation.test is None else TestScores(**dataclasses.asdict(evaluation.test))
    return Figures(name=name, test=scores, **shared)


def evidence_bound(runs: Sequence[Figures]) -> Bound:
    """The largest lower end of L^G: each is a lower bound on log p(Y|X), up to its own error probability."""
    best = max(runs, key=lambda f: f.symmetrized.lower)
    kind = best.symmetrized.interval
    promise = {
        "exact": "every draw's permanent is exact",
        "certified": "H enters by an upper bound that holds for every weight draw",
        "probability": "H enters by an upper bound that holds with high probability",
        "expectation": "H enters by an upper bound that holds in expectation over weight draws",
    }[kind]
    statement = (
        f"log p(Y|X) >= {best.symmetrized.lower:.2f} nats: the lower end of L^G of '{best.name}' "
        f"({promise}; Monte Carlo error of two standard errors is taken off). The values of L^G themselves, "
        "their upper ends and what the training objective showed are no bounds."
    )
    return Bound(best.name, best.symmetrized.lower, statement)


def _change(difference: Difference) -> Change:
    return Change(**dataclasses.asdict(difference))


def _settings(
    config: TrainingConfig,
    model: ModelConfig,
    steps_taken: int,
    start: str,
    control_runs: int,
    evaluation: EvaluationConfig,
) -> RetrainSettings:
    shared: dict[str, Any] = {
        name: getattr(config, name)
        for name in (
            "objective",
            "steps",
            "learning_rate",
            "batch_size",
            "draws",
            "seed",
        )
    }
    by_name = ", ".join(f"{k} {v:g}" for k, v in model.prior_std_by_tensor.items())
    stored = "from the checkpoint" if model.prior_std is None else f"std {model.prior_std:g}"
    return RetrainSettings(
        **shared,
        marginals=config.marginals or "auto",
        num_elements=config.num_elements or 20,
        steps_taken=steps_taken,
        start=start,
        likelihood=model.likelihood,
        noise="learned" if model.noise in (None, "learn") else f"{model.noise:g}",
        prior=f"{stored}; {by_name}" if by_name else stored,
        control_runs=control_runs,
        evaluation_samples=evaluation.samples,
    )
