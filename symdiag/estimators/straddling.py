"""The straddling entropy H(g | ω) of a posterior: per group, in total, with intervals.

Defined in docs/theory/estimators.md, "Straddling entropy".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from symdiag.estimate import Estimate
from symdiag.estimators import budget as budgets
from symdiag.estimators.deterministic import deterministic_bounds, settled
from symdiag.estimators.evaluator import Batch, StraddlingEstimator
from symdiag.estimators.joint import rest_of, size
from symdiag.estimators.total import total_estimate
from symdiag.estimators.values import (
    DrawValues,
    add,
    complement,
    concatenate,
    mean_and_error,
    summarise,
)
from symdiag.permanents import Effort
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, PermutationSpec
from symdiag.workers import Workers

Progress = Callable[[str, float], None]

DEFAULT_BUDGET = 5.0
_ROUNDS = 4
_CHUNK = 12_000_000  # float64 numbers in 100 MB


@dataclass(frozen=True)
class GroupStraddling:
    """H(g_l | ω) of one group and its complement I_l = log|G_l| − H_l, nats."""

    group: Group
    entropy: Estimate
    information: Estimate


@dataclass(frozen=True)
class Straddling:
    """The result of :func:`estimate_straddling`. ``notes`` says what was not reached."""

    groups: tuple[GroupStraddling, ...]
    total: Estimate
    total_information: Estimate
    samples: int
    notes: tuple[str, ...] = ()


def estimate_straddling(
    posterior: Posterior,
    spec: PermutationSpec,
    *,
    samples: int | None = None,
    seed: int = 0,
    precision: float | None = None,
    budget: float | None = None,
    device: str = "cpu",
    effort: Effort | None = None,
    progress: Progress | None = None,
    workers: Workers | None = None,
    least: Callable[[float], int] | None = None,
) -> Straddling:
    """Straddling entropy H(g|ω) and mutual information I = log|G| − H, per group and in total.

    Args:
        posterior: The posterior.
        spec: Its verified permutation spec.
        samples: Exactly this many weight draws; None lets precision and budget decide.
        seed: Seed of all randomness.
        precision: Target half-width of the Monte Carlo interval, nats (default 0.05 + 1 % of the
            value).
        budget: Nominal seconds (see ``budget.py``); None for the default.
        device: Torch device for the slot densities.
        effort: How hard the permanents are worked on; by default less where layers are wide (see
            ``budget.py``).
        progress: Called with (stage, fraction done).
        workers: Processes that share the batches of draws; the result is that of one process.
        least: Draws to take at least, whatever the budget, where H is about so many nats.

    Returns:
        Estimates whose ``interval`` says what is promised. The total is Σ_l H_l, a lower bound on
        H_G that is exact when no two groups share a tensor; its upper end comes from the coupling
        bound or the joint sandwich, whichever is tighter.
    """
    if len(spec) == 0:
        zero = summarise(DrawValues.of_exact(np.zeros(2), "trivial-group"), 0.0)
        return Straddling((), zero, zero, 0)
    estimator = StraddlingEstimator(
        posterior, spec, effort=effort or budgets.effort_for(spec), device=device
    )
    batches, notes = _run(
        estimator,
        samples,
        seed,
        precision,
        budget or DEFAULT_BUDGET,
        progress,
        workers or Workers(),
        least,
    )
    per_group = {g.name: concatenate([b.groups[g.name] for b in batches]) for g in spec}
    bounds = deterministic_bounds(posterior, spec)
    groups = tuple(_group_result(g, per_group[g.name], bounds.groups[g.name]) for g in spec)
    chains = [concatenate(c) for c in zip(*(b.chains for b in batches if b.chains), strict=True)]
    parts = [b.joint for b in batches if b.joint is not None]
    joint = concatenate(parts) if parts else None
    total = total_estimate(
        add(list(per_group.values())), chains, joint, spec.log_order, coupled=estimator.coupled
    )
    total = settled(total, bounds.total, spec.log_order)
    return Straddling(groups, total, complement(total, spec.log_order), total.samples, notes)


def _group_result(group: Group, values: DrawValues, bound: float) -> GroupStraddling:
    entropy = settled(summarise(values, group.log_order), bound, group.log_order)
    return GroupStraddling(group, entropy, complement(entropy, group.log_order))


def _run(
    estimator: StraddlingEstimator,
    samples: int | None,
    seed: int,
    precision: float | None,
    budget: float,
    progress: Progress | None,
    workers: Workers,
    least: Callable[[float], int] | None,
) -> tuple[list[Batch], tuple[str, ...]]:
    """All batches: a pilot, then what precision, budget and ``least`` ask for."""
    fixed = _fixed_cost(estimator)
    cost = fixed + budgets.seconds(budgets.guessed_operations(estimator.spec, estimator.effort))
    chunk = _chunk(estimator.posterior, estimator.spec)
    # half of the budget, or less where ``least`` sees to it that few draws are not trusted blindly
    share = 0.5 if least is None else 0.125
    pilot = samples if samples is not None else budgets.pilot_draws(cost, budget, share)
    certified = budgets.certified_draws(
        budgets.certify_cost(estimator.spec, estimator.effort.max_exact), budget, pilot
    )
    joint = _joint_draws(estimator, budget, pilot)
    decoding = (
        budgets.decoding_cost(estimator.posterior, estimator.spec) if estimator.decodes else 0.0
    )
    chain = budgets.chain_draws(cost + decoding, budget, pilot)
    allocation = budgets.Allocation(certified, chain, joint)
    runner = _Runner(estimator, seed, chunk, allocation, progress, workers)
    runner.run(pilot)
    notes = (
        []
        if certified
        else ["deterministic bounds not computed: they would take more than the budget"]
    )
    reached = samples is not None or _refine(runner, fixed, budget, precision)
    if samples is None and least is not None:
        runner.run(max(0, least(runner.spread()[0]) - runner.done))
        mean, std = runner.spread()
        reached = budgets.reached(std, mean, runner.done, precision)
    if not reached:
        notes.append(
            "the target precision was not reached within the budget; raise --budget or --precision"
        )
    return runner.batches, tuple(notes)


def _refine(runner: _Runner, fixed: float, budget: float, precision: float | None) -> bool:
    """Rounds of further draws, each planned by all draws so far; whether the target precision was
    reached.
    """
    for _ in range(_ROUNDS):
        mean, std = runner.spread()
        cost = fixed + budgets.seconds(runner.operations())
        more = budgets.further_draws(std, mean, runner.done, cost, budget, precision)
        if more == 0:
            break
        runner.run(more)
    mean, std = runner.spread()
    return budgets.reached(std, mean, runner.done, precision)


def _fixed_cost(estimator: StraddlingEstimator) -> float:
    """Nominal seconds of one draw, permanents aside (sampled groups cost as much as a joint
    sandwich).
    """
    if not estimator.direct:
        return 2.0 * _joint_cost(estimator)
    return budgets.draw_cost(estimator.posterior, estimator.spec)


def _joint_draws(estimator: StraddlingEstimator, budget: float, pilot: int) -> int:
    """How many draws get the joint sandwich; where the sum is exact, all of the pilot draws that
    are affordable.
    """
    if not estimator.wants_joint:
        return 0
    count = budgets.joint_draws(
        _joint_cost(estimator), budget, pilot if estimator.enumerated else None
    )
    return max(2, count) if estimator.enumerated else count


def _joint_cost(estimator: StraddlingEstimator) -> float:
    posterior, spec = estimator.posterior, estimator.spec
    if estimator.enumerated:
        return budgets.ENUMERATION_COST * (size(rest_of(posterior, spec)) + 100) * len(spec)
    return budgets.sandwich_cost(posterior, spec, estimator.elements)


def _chunk(posterior: Posterior, spec: PermutationSpec) -> int:
    """Draws per batch such that they, and each of their density matrices, take about 100 MB at
    most.
    """
    largest = max(posterior.num_parameters, *(g.width**2 for g in spec))
    return max(1, min(64, _CHUNK // largest))


@dataclass(frozen=True)
class _Planned:
    """One batch: its number, the draws before it, its own, and whether these get certified bounds."""

    number: int
    done: int
    size: int
    certify: bool


class _Runner:
    """Accumulates batches; each batch has its own generator derived from the seed and its number."""

    def __init__(
        self,
        estimator: StraddlingEstimator,
        seed: int,
        chunk: int,
        allocation: budgets.Allocation,
        progress: Progress | None,
        workers: Workers,
    ) -> None:
        self.estimator, self.seed, self.chunk = estimator, seed, chunk
        self.allocation, self.progress, self.workers = allocation, progress, workers
        self.batches: list[Batch] = []
        self.done = 0

    def run(self, count: int) -> None:
        """``count`` more draws."""
        goal, done, planned = self.done + count, self.done, list[_Planned]()
        while done < goal:
            certified = self.allocation.certified
            certify = done < certified
            size = min(self.chunk, (certified if certify else goal) - done, goal - done)
            planned.append(_Planned(len(self.batches) + len(planned), done, size, certify))
            done += size
        # a batch for each process at a time
        for start in range(0, len(planned), self.workers.world):
            for batch in self.workers.map(self._batch, planned[start : start + self.workers.world]):
                # where batches come one after another, one behind a gap has none: see ``_batch``
                joint = None if self._has_gap else batch.joint
                self.batches.append(dataclasses.replace(batch, joint=joint))
                self.done += len(next(iter(batch.groups.values())))
            if self.progress is not None:
                self.progress("estimating", self.done / goal)

    @property
    def _has_gap(self) -> bool:
        return any(batch.joint is None for batch in self.batches)

    def _batch(self, planned: _Planned) -> Batch:
        generator = np.random.default_rng([self.seed, planned.number])
        draws = self.estimator.draws(generator, planned.size)
        left = self.allocation.after(planned.done)
        return self.estimator.evaluate(
            draws,
            generator,
            certify=planned.certify,
            chain_draws=left.chain,
            # the joint sandwich covers the first draws without a gap: once left out, it stays out
            joint_draws=0 if self._has_gap else left.joint,
        )

    def spread(self) -> tuple[float, float]:
        """Mean and standard deviation over draws of the total so far."""
        totals = np.concatenate(
            [add(list(b.groups.values())).rao_blackwellised for b in self.batches]
        )
        mean, error = mean_and_error(totals)
        return mean, 0.0 if error is None else error * float(np.sqrt(len(totals)))

    def operations(self) -> float:
        """Steps that one draw's permanents took on average."""
        return float(
            np.concatenate([add(list(b.groups.values())).operations for b in self.batches]).mean()
        )
