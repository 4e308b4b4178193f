"""The straddling entropy H(g | ω) of a posterior: per group, in total, with intervals (DESIGN.md 1.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from symdiag.estimate import Estimate
from symdiag.estimators import budget as budgets
from symdiag.estimators.coupling import chain_values, coupled
from symdiag.estimators.layerwise import group_values
from symdiag.estimators.sandwich import JointSandwich
from symdiag.estimators.total import total_estimate
from symdiag.estimators.values import DrawValues, add, complement, concatenate, mean_and_error, summarise
from symdiag.permanents import DEFAULT, Effort
from symdiag.posterior import Posterior
from symdiag.symmetry.spec import Group, PermutationSpec

Progress = Callable[[str, float], None]

DEFAULT_BUDGET = 10.0
SANDWICH_ELEMENTS = 64
SANDWICH_UNITS = 64
"""Groups with more units in total than this are bracketed by the coupling bound alone."""


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


@dataclass(frozen=True)
class _Batch:
    groups: dict[str, DrawValues]
    chains: tuple[DrawValues, ...]  # upper bounds on the joint, one per order tried
    joint: DrawValues | None


class StraddlingEstimator:
    """Evaluates all groups on batches of weight draws."""

    def __init__(self, posterior: Posterior, spec: PermutationSpec, *, effort: Effort, device: str = "cpu") -> None:
        self.posterior, self.spec, self.effort, self.device = posterior, spec, effort, device
        touched = dict.fromkeys(m.tensor for g in spec for m in g.members)
        self.loc = {n: self._tensor(posterior.loc[n]) for n in touched}
        self.scale = {n: self._tensor(posterior.scale[n]) for n in touched}
        self.direct = posterior.is_mean_field and all(g.is_matrix_permanent for g in spec)
        self.coupled = coupled(spec)
        small = sum(g.width for g in spec) <= SANDWICH_UNITS
        self.joint = (
            JointSandwich(posterior, spec) if len(spec) and ((self.coupled and small) or not self.direct) else None
        )
        self.singles = {} if self.direct else {g.name: JointSandwich(posterior, PermutationSpec((g,))) for g in spec}

    def _tensor(self, array: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    def draws(self, generator: np.random.Generator, count: int) -> dict[str, Tensor]:
        """``count`` weight draws as tensors, name → (S, *shape)."""
        return {n: self._tensor(v) for n, v in self.posterior.sample(generator, count).items() if n in self.loc}

    def evaluate(
        self, draws: Mapping[str, Tensor], generator: np.random.Generator, *, certify: bool, joint_draws: int = 0
    ) -> _Batch:
        """Every group and the coupling bounds; the joint sandwich on the first ``joint_draws`` draws."""
        groups = {g.name: self._group(g, draws, generator, certify) for g in self.spec}
        joint = None
        if self.joint is not None and joint_draws > 0:
            some = {name: value[:joint_draws] for name, value in self._host(draws).items()}
            joint = self.joint(some, SANDWICH_ELEMENTS, generator)
        return _Batch(groups, self._chains(groups, draws, generator, certify), joint)

    def _host(self, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: value.cpu() for name, value in draws.items()}

    def _group(
        self, group: Group, draws: Mapping[str, Tensor], generator: np.random.Generator, certify: bool
    ) -> DrawValues:
        if not self.direct:
            return self.singles[group.name](self._host(draws), SANDWICH_ELEMENTS, generator)
        return group_values(
            group, self.loc, self.scale, draws, generator=generator, effort=self.effort, certify=certify
        )

    def _chains(
        self,
        groups: Mapping[str, DrawValues],
        draws: Mapping[str, Tensor],
        generator: np.random.Generator,
        certify: bool,
    ) -> tuple[DrawValues, ...]:
        if not (self.coupled and self.direct):
            return ()
        orders = (self.spec.groups, self.spec.groups[::-1])
        return tuple(
            chain_values(
                order, groups, self.loc, self.scale, draws, generator=generator, effort=self.effort, certify=certify
            )
            for order in orders
        )


def estimate_straddling(
    posterior: Posterior,
    spec: PermutationSpec,
    *,
    samples: int | None = None,
    seed: int = 0,
    precision: float | None = None,
    budget: float | None = None,
    device: str = "cpu",
    effort: Effort = DEFAULT,
    progress: Progress | None = None,
) -> Straddling:
    """Straddling entropy H(g|ω) and mutual information I = log|G| − H, per group and in total.

    Args:
        posterior: The posterior.
        spec: Its verified permutation spec.
        samples: Exactly this many weight draws; None lets precision and budget decide.
        seed: Seed of all randomness.
        precision: Target half-width of the Monte Carlo interval, nats (default 0.05 + 1 % of the value).
        budget: Nominal seconds (see ``budget.py``); None for the default.
        device: Torch device for the slot densities.
        effort: How hard the permanents are worked on.
        progress: Called with (stage, fraction done).

    Returns:
        Estimates whose ``interval`` says what is promised. The total is Σ_l H_l, a lower bound on H_G that is
        exact when no two groups share a tensor; its upper end comes from the coupling bound or the joint
        sandwich, whichever is tighter.
    """
    if len(spec) == 0:
        zero = summarise(DrawValues.of_exact(np.zeros(2), "trivial-group"), 0.0)
        return Straddling((), zero, zero, 0)
    estimator = StraddlingEstimator(posterior, spec, effort=effort, device=device)
    batches, notes = _run(estimator, samples, seed, precision, budget or DEFAULT_BUDGET, progress)
    per_group = {g.name: concatenate([b.groups[g.name] for b in batches]) for g in spec}
    groups = tuple(_group_result(g, per_group[g.name]) for g in spec)
    chains = [concatenate(c) for c in zip(*(b.chains for b in batches), strict=True)]
    parts = [b.joint for b in batches if b.joint is not None]
    joint = concatenate(parts) if parts else None
    total = total_estimate(add(list(per_group.values())), chains, joint, spec.log_order, coupled=estimator.coupled)
    return Straddling(groups, total, complement(total, spec.log_order), total.samples, notes)


def _group_result(group: Group, values: DrawValues) -> GroupStraddling:
    entropy = summarise(values, group.log_order)
    return GroupStraddling(group, entropy, complement(entropy, group.log_order))


def _run(
    estimator: StraddlingEstimator,
    samples: int | None,
    seed: int,
    precision: float | None,
    budget: float,
    progress: Progress | None,
) -> tuple[list[_Batch], tuple[str, ...]]:
    """All batches: a pilot, then what precision and budget ask for."""
    cost = _cost(estimator)
    chunk = _chunk(estimator.posterior)
    pilot = samples if samples is not None else budgets.pilot_draws(cost, budget)
    certified = budgets.certified_draws(budgets.certify_cost(estimator.spec, estimator.effort.max_exact), budget, pilot)
    joint = 0 if estimator.joint is None else budgets.joint_draws(_joint_cost(estimator), budget)
    runner = _Runner(estimator, seed, chunk, certified, joint, progress)
    runner.run(pilot)
    notes = [] if certified else ["deterministic bounds not computed: they would take more than the budget"]
    if samples is None:
        plan = runner.plan(cost, budget, precision)
        runner.run(plan.draws)
        if not plan.reached:
            notes.append("the target precision was not reached within the budget; raise --budget or --precision")
    return runner.batches, tuple(notes)


def _cost(estimator: StraddlingEstimator) -> float:
    """Nominal seconds of one draw through all groups (sampled groups cost as much as a joint sandwich)."""
    effort = estimator.effort
    if not estimator.direct:
        return 2.0 * _joint_cost(estimator)
    single = budgets.draw_cost(
        estimator.posterior, estimator.spec, max_exact=effort.max_exact, particles=effort.particles * effort.runs
    )
    return single * (3 if estimator.coupled else 1)


def _joint_cost(estimator: StraddlingEstimator) -> float:
    return budgets.SANDWICH_COST * SANDWICH_ELEMENTS * len(estimator.spec)


def _chunk(posterior: Posterior) -> int:
    """Draws per batch such that they take about 100 MB at most."""
    return max(1, min(64, 12_000_000 // max(1, posterior.num_parameters)))


class _Runner:
    """Accumulates batches; each batch has its own generator derived from the seed and its number."""

    def __init__(
        self,
        estimator: StraddlingEstimator,
        seed: int,
        chunk: int,
        certified: int,
        joint: int,
        progress: Progress | None,
    ) -> None:
        self.estimator, self.seed, self.chunk = estimator, seed, chunk
        self.certified, self.joint, self.progress = certified, joint, progress
        self.batches: list[_Batch] = []
        self.done = 0

    def run(self, count: int) -> None:
        """``count`` more draws."""
        goal = self.done + count
        while self.done < goal:
            certify = self.done < self.certified
            size = min(self.chunk, (self.certified if certify else goal) - self.done, goal - self.done)
            generator = np.random.default_rng([self.seed, len(self.batches)])
            draws = self.estimator.draws(generator, size)
            joint = max(0, self.joint - self.done)
            self.batches.append(self.estimator.evaluate(draws, generator, certify=certify, joint_draws=joint))
            self.done += size
            if self.progress is not None:
                self.progress("estimating", self.done / goal)

    def plan(self, cost: float, budget: float, precision: float | None) -> budgets.Plan:
        """How many more draws the total needs."""
        totals = np.concatenate([add(list(b.groups.values())).value for b in self.batches])
        mean, error = mean_and_error(totals)
        std = 0.0 if error is None else error * np.sqrt(len(totals))
        return budgets.further_draws(std, mean, self.done, cost, budget, precision)
