"""Every other block: sequential Monte Carlo over rows, between deterministic bounds."""

from __future__ import annotations

import math

import numpy as np

from symdiag.permanents import smc
from symdiag.permanents.bounds import certified
from symdiag.permanents.estimators import Estimator, Task, mean_log_weight
from symdiag.permanents.results import Effort, Ends, Part
from symdiag.permanents.swaps import swap_chain
from symdiag.permanents.threads import beside

_PILOTS = 4
_ALIKE = 1e-4  # nats per row between pilot runs up to which runs as small as the pilots do
_AGREE = 1.5  # the same for many runs of the size asked for
_SWAPS = 32  # swaps proposed per row to average over labellings
_WIDE = 256  # rows from which bounds are computed beside the runs
_RUN = 1.5e6  # steps that a run of few rows takes anyway


def sampling_steps(n: int, effort: Effort) -> float:
    """Steps that sampling one block of n rows takes, a run's fixed cost included."""
    return (effort.runs + 2.0) * (float(n) ** 2 * effort.particles + _RUN)


def _evaluate(task: Task) -> Part:
    n, effort = task.matrix.size, task.effort
    proposal = smc.prepare_scaled(task.matrix.balanced, 0.0, np.arange(n))

    def bounds() -> Ends:
        return certified(task.matrix, thorough=effort.certify) if task.bounds else Ends()

    with beside(bounds, wanted=task.bounds and n >= _WIDE) as bounded:
        particles, count = _allocation(proposal, task.generator, effort)
        runs = [smc.run(proposal, particles, task.generator).log_estimate for _ in range(count)]
        plain = np.array(runs)
        held = _conditional(proposal, particles, task)
        ends = bounded()
    # Jensen: E log of an unbiased estimate lies below
    lower = smc.log_mean_exp(plain)
    # the retained path makes one run biased upwards; independent islands keep the guarantee
    upper = ends.upper if held is None else smc.log_mean_exp(np.append(plain[1:], held))
    # Markov on the smallest of independent unbiased estimates; delta shared by the blocks
    probable = float(plain.min()) - math.log(task.sampled / effort.delta) / len(plain)
    return Part(
        # the sampler may fail low, and is noisy: a certified end is the better estimate beyond it
        value=min(max(lower, ends.lower), ends.upper),
        certified=ends,
        expected=Ends(lower, upper),
        probable_lower=max(probable, ends.lower),
        exact=False,
        method="smc",
        reason=f"{n} > {effort.max_exact}, rows differ; {count} runs of {particles} particles",
        weight=_weight(task),
        operations=sampling_steps(n, effort),
    )


def _conditional(proposal: smc.Proposal, particles: int, task: Task) -> float | None:
    """log Z-hat of the run that keeps the identity, an exact draw from P(pi) when omega ~ q."""
    if not task.bounds or task.identity is None:
        return None
    return smc.conditional_run(proposal, particles, task.generator, task.identity).log_estimate


def _weight(task: Task) -> float:
    """Mean log weight along a swap chain from the identity: stationary from its first state on."""
    if task.inner_entropy is None or task.identity is None:
        return math.nan
    chain = swap_chain(
        task.matrix.log_weights,
        steps=_SWAPS * task.matrix.size,
        generator=task.generator,
        start=task.identity,
        proposal=task.matrix.balanced.weights,
    )
    return mean_log_weight(chain.marginals, task.matrix.log_weights, task.inner_entropy)


def _allocation(
    proposal: smc.Proposal, generator: np.random.Generator, effort: Effort
) -> tuple[int, int]:
    """Particles and runs: where small pilot runs agree they do; else fewer and larger ones do best.

    The pilots are plain and thrown away: a choice that looked at the identity would spoil its
    being a posterior draw.
    """
    if effort.runs < _PILOTS:
        return effort.particles, effort.runs
    pilot = max(2, effort.particles // 4)
    logs = [smc.run(proposal, pilot, generator).log_estimate for _ in range(_PILOTS)]
    spread = max(logs) - min(logs)
    if spread <= _ALIKE * len(proposal.rows):
        return pilot, effort.runs
    if spread <= _AGREE:
        return effort.particles, effort.runs
    return effort.particles * effort.runs * 3 // 4, max(2, effort.runs // 4)


ESTIMATOR = Estimator(
    "smc",
    order=2,
    when="blocks too large and too irregular for anything exact; unbiased, bounded on both sides",
    evaluate=_evaluate,
)
