"""What ``prune`` measures: the wide and the narrower posterior, on the data where they are given."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from symdiag.arrays import Array
from symdiag.diagnostics.collapse import Setting
from symdiag.diagnostics.function_change import Units, outputs_of, positions
from symdiag.estimators import estimate_straddling
from symdiag.objectives.variational import Layout, Variational
from symdiag.posterior import Posterior
from symdiag.report.kinds.prune import PruneSettings, Removed, Stage
from symdiag.report.kinds.retrain import Change, TestScores
from symdiag.symmetry.discovery import Symmetry
from symdiag.symmetry.spec import PermutationSpec
from symdiag.tasks._evidence import check_assumed_function, problem_of
from symdiag.tasks._network_data import forward_pass
from symdiag.tasks.options import DataOptions, EstimationOptions, PruneOptions
from symdiag.training.config import EvaluationConfig, ModelConfig, TrainingConfig
from symdiag.training.evaluation import Evaluation, evaluate, evaluation_noise
from symdiag.training.learning_problem import LearningProblem
from symdiag.training.loop import RunSettings, train
from symdiag.training.metrics import Sink
from symdiag.training.verdict import differences

_DRAWS = 256  # for the predictive std


@dataclass(frozen=True)
class Comparison:
    """The wide and the narrower posterior, each with its symmetry."""

    wide: Posterior
    small: Posterior
    symmetry: Symmetry
    narrow: Symmetry
    setting: Setting

    def measured(
        self,
        units: Units,
        given: DataOptions,
        model: ModelConfig,
        estimation: EstimationOptions,
        pruning: PruneOptions,
        sinks: Sequence[Sink],
    ) -> tuple[tuple[Stage, ...], tuple[Change, ...], tuple[Change, ...], Posterior]:
        """Stages, changes pruned − before and polished − before, and the posterior to write."""
        removed = any(mask.any() for mask in units.values())
        if given.data is None:
            sides = [("before", self.wide, self.symmetry), ("pruned", self.small, self.narrow)]
            stages = tuple(
                self._stage(name, p, s, _entropy(p, s, estimation))
                for name, p, s in sides[: 2 if removed else 1]
            )
            return stages, (), (), self.small
        config = _evaluation(estimation)
        first = problem_of(
            self.wide, self.symmetry, model, given.data, given, device=estimation.device
        )
        check_assumed_function(first, self.symmetry)
        noise = evaluation_noise(first, config)
        before = evaluate(first, first.start(), config, noise=noise)
        stages = (self._stage("before", self.wide, self.symmetry, before),)
        if not removed:
            return stages, (), (), self.small
        second = problem_of(
            self.small, self.narrow, model, given.data, given, device=estimation.device
        )
        second = dataclasses.replace(second, log_noise=first.log_noise)  # one likelihood for both
        paired = noise[:, torch.from_numpy(self._kept_weights(units, first))]
        after = evaluate(second, second.start(), config, noise=paired)
        stages += (self._stage("pruned", self.small, self.narrow, after),)
        changes = self._changes(before, after)
        if not pruning.polish:
            return stages, changes, (), self.small
        q = _polished(second, pruning.polish, estimation.seed, sinks)
        final = q.posterior(self.small)
        last = evaluate(second, q, config, noise=paired)
        stages += (self._stage("polished", final, self.narrow, last),)
        return stages, changes, self._changes(before, last), final

    def _kept_weights(self, units: Units, problem: LearningProblem) -> NDArray[np.bool_]:
        """Which entries (D,) of the wide flat vector are in the narrower one, in the same order."""
        kept = kept_indices(self.wide, problem.spec, units)
        masks: dict[str, Array] = {}
        for name, shape in self.wide.shapes.items():
            mask = np.ones(shape)
            for axis, index in kept.get(name, {}).items():
                gone = np.setdiff1d(np.arange(shape[axis]), index)
                mask[(slice(None),) * axis + (gone,)] = 0.0
            masks[name] = mask
        return Layout.of(self.wide, problem.held).join(masks) > 0

    def _changes(self, before: Evaluation, after: Evaluation) -> tuple[Change, ...]:
        order = self.narrow.spec.log_order - self.symmetry.spec.log_order
        return tuple(
            Change(**dataclasses.asdict(d))
            for d in differences(before, after, order_change=order)
            if d.name != "active_units"
        )

    def _stage(
        self, name: str, posterior: Posterior, symmetry: Symmetry, found: Evaluation | Stage
    ) -> Stage:
        spread = _predictive_std(posterior, symmetry, self.setting)
        if isinstance(found, Stage):
            return dataclasses.replace(found, name=name, predictive_std=spread)
        test = None if found.test is None else TestScores.of(found.test)
        return Stage(
            name=name,
            widths=tuple(g.width for g in symmetry.spec),
            parameters=posterior.num_parameters,
            log_order=symmetry.spec.log_order,
            straddling_entropy=found.straddling_entropy,
            predictive_std=spread,
            elbo=found.elbo,
            symmetrized=found.symmetrized,
            log_likelihood=found.log_likelihood,
            kl=found.kl,
            noise_std=found.noise_std,
            test=test,
        )


def _entropy(posterior: Posterior, symmetry: Symmetry, estimation: EstimationOptions) -> Stage:
    """H alone, where there are no data."""
    found = estimate_straddling(
        posterior,
        symmetry.spec.restricted(posterior.loc),
        samples=estimation.samples,
        seed=estimation.seed,
        precision=estimation.precision,
        budget=estimation.budget,
        device=estimation.device,
    ).total
    return Stage(
        "",
        tuple(g.width for g in symmetry.spec),
        posterior.num_parameters,
        symmetry.spec.log_order,
        found,
        0.0,
        *(None,) * 6,
    )


def _predictive_std(posterior: Posterior, symmetry: Symmetry, setting: Setting) -> float:
    """Of the outputs over weight draws, root mean square over inputs and outputs."""
    draws = int(np.clip(2e7 / max(1, posterior.num_parameters), 16, _DRAWS))
    drawn = posterior.sample(np.random.default_rng([setting.seed, 17]), draws)
    outputs = outputs_of(forward_pass(posterior, symmetry), drawn, setting.input_sets()[0])
    return float(np.sqrt(outputs.var(axis=0).mean()))


def _polished(
    problem: LearningProblem, steps: int, seed: int, sinks: Sequence[Sink]
) -> Variational:
    """The narrower posterior trained on with the symmetrised objective, from where it is."""
    config = TrainingConfig(
        steps=steps, seed=seed, straddling_weight_start=1.0, kl_weight_start=1.0
    ).resolved(len(problem.train), problem.posterior.num_parameters)
    q, _ = train(problem, config, RunSettings("polish", sinks=tuple(sinks)))
    return q


def kept_indices(
    wide: Posterior, spec: PermutationSpec, units: Units
) -> dict[str, dict[int, NDArray[np.intp]]]:
    """Tensor or buffer → axis → indices that stay."""
    kept: dict[str, dict[int, NDArray[np.intp]]] = {}
    tensors = {**wide.buffers, **wide.loc}
    for group in spec:
        for member in group.members:
            length = np.shape(tensors[member.tensor])[member.axis]
            gone = positions(member, group.width, units[group.name])
            axes = kept.setdefault(member.tensor, {})
            stays = axes.get(member.axis, np.arange(length))
            axes[member.axis] = np.setdiff1d(stays, gone)
    return kept


def removed_units(name: str, mask: NDArray[np.bool_]) -> Removed:
    """The part of the report about one group."""
    units = tuple(int(u) for u in np.flatnonzero(mask))
    return Removed(name, units, len(mask), len(mask) - len(units))


def settings_of(
    given: DataOptions,
    model: ModelConfig,
    estimation: EstimationOptions,
    pruning: PruneOptions,
) -> PruneSettings:
    """Everything that was chosen, by the user or by default."""
    with_data = given.data is not None
    noise = "learned" if model.noise in (None, "learn") else f"{model.noise:g}"
    return PruneSettings(
        tolerance=pruning.tolerance,
        seed=estimation.seed,
        samples=_evaluation(estimation).samples if with_data else None,
        polish_steps=pruning.polish,
        likelihood=model.likelihood if with_data else None,
        noise=noise if with_data else None,
        inputs="the training data" if with_data else "standard normal inputs",
    )


def _evaluation(estimation: EstimationOptions) -> EvaluationConfig:
    return EvaluationConfig(
        samples=max(2, estimation.samples or EvaluationConfig().samples),
        seed=estimation.seed,
        precision=estimation.precision,
        budget=estimation.budget,
    )
