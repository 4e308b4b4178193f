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
from symdiag.diagnostics.collapse import Setting, removable, strongest
from symdiag.diagnostics.function_change import Units, outputs_of
from symdiag.errors import UnsupportedError, UsageError
from symdiag.formats.narrowing import narrowed
from symdiag.network import forward
from symdiag.posterior import Posterior
from symdiag.report.kinds.prune import PruneReport, Stage
from symdiag.report.notebook import Reported
from symdiag.symmetry.discovery import Symmetry
from symdiag.symmetry.spec import PermutationSpec
from symdiag.tasks._evidence import function_setting
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
from symdiag.tasks._network_data import example_inputs, forward_pass
from symdiag.tasks._prune_report import Comparison, kept_indices, removed_units, settings_of
from symdiag.tasks.keywords import flat
from symdiag.tasks.options import DataOptions, EstimationOptions, PruneOptions, ReadingOptions
from symdiag.training.config import ModelConfig
from symdiag.training.metrics import Sink

_MARGIN = 0.8  # of the tolerance is aimed at: other inputs of the same kind give other figures
_STATEMENT = (
    "A narrower net is another model with its own prior: evidence before and after is that of two "
    "models, and a rise says that the data prefer the narrower one. The noise that the removed units "
    "added to predictions goes with them: the mean function is kept, the predictive std is not."
)


@dataclass(frozen=True, repr=False)
class Pruned(Reported):
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
    seen = example_inputs(wide, reading, given.data, given.target)
    symmetry = find_symmetry(wide, reading, estimation.seed, seen)
    symmetry.provenance.require_function("pruning")
    setting = function_setting(wide, symmetry, given, estimation.seed)
    if setting.forward is None:
        forward_pass(wide, symmetry)  # raises, with the hint
    weights = symmetry.spec.restricted(wide.loc)
    # below the tolerance that the check on the narrower net itself then applies
    found = removable(wide, weights, setting, limit=_MARGIN * pruning.tolerance)
    units = _leaving_one(wide, weights, found.units)
    small, change = wide, 0.0
    narrow = symmetry
    if any(mask.any() for mask in units.values()):
        small = narrowed(wide, kept_indices(wide, symmetry.spec, units))
        narrow = _narrow_symmetry(symmetry, units)
        change = max(found.change, _change_at_means(wide, symmetry, small, narrow, setting))
        if change > pruning.tolerance:
            raise UnsupportedError(
                f"the narrower net's mean function is {change:.2g} predictive stds away",
                code="mean-function-changes",
                hint="its units are normalised together, so none can go alone",
            )
    net = Comparison(wide, small, symmetry, narrow, setting)
    stages, changes, polished, final = net.measured(
        units, given, model_config, estimation, pruning, sinks
    )
    removed = any(mask.any() for mask in units.values())
    # a copy of the wide file under a new name would pass for a result
    written = pruning.output if removed else None
    if written is not None:
        formats.save(final, written)
    report = PruneReport(
        model=model_info(wide, symmetry, reading),
        network=network_info(symmetry),
        removed=tuple(removed_units(g.name, units[g.name]) for g in weights),
        mean_change=change,
        stages=stages,
        changes=changes,
        changes_polished=polished,
        statement=_STATEMENT + _taken_up(stages, model_config),
        output=None if written is None else str(written),
        verdict="pruned" if removed else "nothing to prune",
        settings=settings_of(given, model_config, estimation, pruning),
        tool=TOOL,
        run=run_info(started),
    )
    return Pruned(report, final)


def _taken_up(stages: Sequence[Stage], model_config: ModelConfig) -> str:
    """The noise std that leaves the predictive variance as it was, where the noise std is fixed."""
    if len(stages) < 2 or not isinstance(model_config.noise, float):
        return ""
    before, after = stages[:2]
    gone = before.predictive_std**2 - after.predictive_std**2
    noise = float(np.sqrt(model_config.noise**2 + max(gone, 0.0)))
    return f" --noise {noise:.3g} in the place of {model_config.noise:.3g} stands in for it."


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
    network = symmetry.chain
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
            # a layer of no units is no layer: what follows would have no inputs
            left[group.name][strongest(wide, group)] = False
    return left


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
        # the scale of the change: predictive stds of the wide net, over 64 draws of its weights
        drawn = outputs_of(
            forward_pass(wide, symmetry), wide.sample(np.random.default_rng(0), 64), inputs
        )
        change = np.sqrt(((after - before) ** 2).mean())
        worst = max(worst, float(change / np.sqrt(drawn.var(axis=0).mean())))
    return worst
