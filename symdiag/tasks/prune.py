"""``symdiag.prune``: the narrower posterior without the units that can go."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from symdiag import formats
from symdiag.arrays import Array
from symdiag.diagnostics.collapse import Setting, removable, strongest
from symdiag.diagnostics.function_change import Units, outputs_of, positions
from symdiag.errors import UnsupportedError, UsageError
from symdiag.estimators import estimate_straddling
from symdiag.formats.narrowing import narrowed
from symdiag.network import forward
from symdiag.objectives.variational import Layout, Variational
from symdiag.posterior import Posterior
from symdiag.report.kinds.prune import PruneReport, PruneSettings, Removed, Stage
from symdiag.report.kinds.retrain import Change, TestScores
from symdiag.symmetry.discovery import Symmetry
from symdiag.symmetry.spec import PermutationSpec
from symdiag.tasks._evidence import (
    check_assumed_function,
    forward_pass,
    function_setting,
    problem_of,
)
from symdiag.tasks._inputs import (
    TOOL,
    Source,
    check_output,
    find_symmetry,
    model_info,
    network_info,
    read,
    run_info,
)
from symdiag.tasks.keywords import flat
from symdiag.tasks.options import DataOptions, EstimationOptions, PruneOptions, ReadingOptions
from symdiag.training.config import EvaluationConfig, ModelConfig, TrainingConfig
from symdiag.training.evaluation import Evaluation, evaluate, evaluation_noise
from symdiag.training.learning_problem import LearningProblem
from symdiag.training.loop import RunSettings, train
from symdiag.training.metrics import Sink
from symdiag.training.verdict import differences

_MARGIN = 0.8  # of the tolerance is aimed at: other inputs of the same kind give other figures
_DRAWS = 256  # for the predictive std
_STATEMENT = (
    "A narrower net is another model with its own prior: evidence before and after is that of two "
    "models, and a rise says that the data prefer the narrower one. The noise that the removed units "
    "added to predictions goes with them: the mean function is kept, the predictive std is not."
)


@dataclass(frozen=True)
class Pruned:
    """The report, and the narrower posterior (ready for ``symdiag.formats.save``)."""

    report: PruneReport
    posterior: Posterior


@flat
def prune(
    source: Source,
    *,
    reading: ReadingOptions = ReadingOptions(),
    given: DataOptions = DataOptions(),
    model_config: ModelConfig = ModelConfig(),
    estimation: EstimationOptions = EstimationOptions(),
    pruning: PruneOptions = PruneOptions(),
    sinks: Sequence[Sink] = (),
) -> Pruned:
    """Remove the units that can go, and say what the narrower net is worth.

    Args:
        source: Checkpoint file, or a Posterior that was loaded from one.
        reading: The network, and what the file leaves open.
        given: Training and test data: they add evidence and scores before and after.
        model_config: Likelihood, noise and prior, for the data.
        estimation: Precision, draws and seed.
        pruning: Tolerance, polishing and where the narrower posterior goes.
        sinks: Called with a ``Record`` at every interval of polishing.

    Returns:
        Report and posterior; the posterior is the wide one where nothing can go.

    Raises:
        UsageError: ``forward-undetermined``: the mean function cannot be computed.
        UnsupportedError: ``cannot-narrow``: the network is a module, or the file keeps flat vectors;
            ``mean-function-changes``: the narrower net computes something else.
        SymdiagError: Bad input or options; ``code`` says which.
    """
    started = time.time()
    wide = read(source, reading)
    _check(wide, reading, given, pruning)
    symmetry = find_symmetry(wide, reading, estimation.seed)
    symmetry.provenance.require_function("pruning")
    setting = function_setting(wide, symmetry, given, estimation.seed)
    if setting.forward is None:
        forward_pass(wide, symmetry)  # raises, with the hint
    weights = symmetry.spec.restricted(wide.loc)
    found = removable(wide, weights, setting, limit=_MARGIN * pruning.tolerance)
    units = _leaving_one(wide, weights, found.units)
    small, change = wide, 0.0
    narrow = symmetry
    if any(mask.any() for mask in units.values()):
        small = narrowed(wide, _kept(wide, symmetry.spec, units))
        narrow = _narrow_symmetry(symmetry, units)
        change = max(found.change, _change_at_means(wide, symmetry, small, narrow, setting))
        if change > pruning.tolerance:
            raise UnsupportedError(
                f"the narrower net's mean function is {change:.2g} predictive stds away",
                code="mean-function-changes",
                hint="its units are normalised together, so none can go alone",
            )
    net = _Comparison(wide, small, symmetry, narrow, setting)
    stages, changes, polished, final = net.measured(
        units, given, model_config, estimation, pruning, sinks
    )
    removed = any(mask.any() for mask in units.values())
    written = pruning.output if removed else None
    if written is not None:
        formats.save(final, written)
    report = PruneReport(
        model=model_info(wide, symmetry, reading),
        network=network_info(symmetry),
        removed=tuple(_removed(g.name, units[g.name]) for g in weights),
        mean_change=change,
        stages=stages,
        changes=changes,
        changes_polished=polished,
        statement=_STATEMENT,
        output=None if written is None else str(written),
        verdict="pruned" if removed else "nothing to prune",
        settings=_settings(given, model_config, estimation, pruning),
        tool=TOOL,
        run=run_info(started),
    )
    return Pruned(report, final)


def _check(
    wide: Posterior, reading: ReadingOptions, given: DataOptions, pruning: PruneOptions
) -> None:
    """Refuse at once what could not be finished."""
    taken = [] if wide.source is None else [wide.source.path]
    check_output(pruning.output, taken, overwrite=None)
    if wide.source is None:
        raise UsageError("only a posterior read from a file can be narrowed", code="no-source")
    if reading.model is not None:
        raise UnsupportedError(
            "a module of the wide net cannot run the narrower one",
            code="cannot-narrow",
            hint="without --model a plain chain is narrowed; name its activation with --activation",
        )
    if pruning.polish and given.data is None:
        raise UsageError("--polish needs --data", code="bad-option", hint="give the training data")


def _narrow_symmetry(symmetry: Symmetry, units: Units) -> Symmetry:
    """What is known of the narrower net: the same chain, by the same names, with fewer units.

    It is not inferred anew: narrower, its widths may coincide and leave open what they settled.
    """
    network = symmetry.network
    if network is None or any(m.start is not None for g in symmetry.spec for m in g.members):
        raise UnsupportedError(
            "only a plain chain of layers can be narrowed",
            code="cannot-narrow",
            hint="build the narrower net yourself and retrain it from scratch",
        )

    def run(weights: Mapping[str, torch.Tensor], inputs: torch.Tensor) -> torch.Tensor:
        return forward(network, weights, None, inputs)

    groups = tuple(
        dataclasses.replace(g, width=g.width - int(units[g.name].sum())) for g in symmetry.spec
    )
    spec = dataclasses.replace(symmetry.spec, groups=groups)
    return dataclasses.replace(symmetry, spec=spec, forward=run)


def _leaving_one(
    wide: Posterior, spec: PermutationSpec, units: Units
) -> dict[str, NDArray[np.bool_]]:
    """``units`` but for the strongest of a group that would be left without any."""
    left = {name: mask.copy() for name, mask in units.items()}
    for group in spec:
        if left[group.name].all():
            left[group.name][strongest(wide, group)] = False
    return left


def _kept(
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


def _change_at_means(
    wide: Posterior, symmetry: Symmetry, small: Posterior, narrow: Symmetry, setting: Setting
) -> float:
    """The change of the function of the mean weights, by the narrower net itself, predictive stds."""
    worst = 0.0
    for inputs in setting.input_sets():
        before, after = (
            outputs_of(forward_pass(p, s), {n: v[None] for n, v in p.loc.items()}, inputs)[0]
            for p, s in ((wide, symmetry), (small, narrow))
        )
        drawn = outputs_of(
            forward_pass(wide, symmetry), wide.sample(np.random.default_rng(0), 64), inputs
        )
        change = np.sqrt(((after - before) ** 2).mean())
        worst = max(worst, float(change / np.sqrt(drawn.var(axis=0).mean())))
    return worst


def _removed(name: str, mask: NDArray[np.bool_]) -> Removed:
    units = tuple(int(u) for u in np.flatnonzero(mask))
    return Removed(name, units, len(mask), len(mask) - len(units))


def _settings(
    given: DataOptions,
    model: ModelConfig,
    estimation: EstimationOptions,
    pruning: PruneOptions,
) -> PruneSettings:
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


@dataclass(frozen=True)
class _Comparison:
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
        kept = _kept(self.wide, problem.spec, units)
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
        test = None if found.test is None else TestScores(**dataclasses.asdict(found.test))
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
