"""The training loop: one run of one objective, stoppable and resumable at any step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from symdiag.errors import TrainingError
from symdiag.objectives.terms import TermOptions, build_objective
from symdiag.objectives.variational import Variational
from symdiag.training.config import TrainingConfig
from symdiag.training.learning_problem import LearningProblem
from symdiag.training.loss import Monitor, Snapshot, loss_terms
from symdiag.training.metrics import Record, Sink
from symdiag.training.optimiser import Optimiser, learning_rate
from symdiag.training.processes import StopRequest
from symdiag.workers import Workers


@dataclass(frozen=True)
class RunState:
    """Where one optimisation run stands after ``step`` updates.

    ``tensors`` hold parameters and optimiser moments; ``best`` is the best objective seen, nats, at
    ``best_step``. ``history``: step, ELBO and H(g|ω) at each look of the monitor so far; kept here,
    so that a resumed run ends with the same curve.
    """

    step: int
    tensors: dict[str, Tensor]
    best: float = float("-inf")
    best_step: int = 0
    finished: bool = False
    history: tuple[tuple[int, float, float], ...] = ()


Save = Callable[[RunState], None]


@dataclass(frozen=True)
class RunSettings:
    """What one run is given beside the problem and its configuration.

    ``stop_at`` ends the run after that many steps of the same schedule (the control stops where the
    symmetrised run stopped); it then never stops early by itself.
    """

    phase: str
    workers: Workers = field(default_factory=Workers)
    stop: StopRequest | None = None
    sinks: Sequence[Sink] = ()
    save: Save | None = None
    stop_at: int | None = None


def train(
    problem: LearningProblem,
    config: TrainingConfig,
    settings: RunSettings,
    start: RunState | None = None,
) -> tuple[Variational, RunState]:
    """Optimise ``config.objective`` from the problem's posterior, or go on from ``start``.

    Args:
        problem: Model, data, prior and group.
        config: Resolved settings (no None left).
        settings: Where metrics and checkpoints go, and who else takes part.
        start: State of an interrupted run of the same settings.

    Returns:
        The trained posterior and the finished state.

    Raises:
        TrainingError: ``training-diverged``; the last good state has been saved.
        KeyboardInterrupt: A signal asked to stop; the state has been saved.
    """
    run = _Run(problem, config, settings, start)
    while not run.state.finished:
        run.advance()
    return run.q, run.state


class _Run:
    """One run in progress."""

    def __init__(
        self,
        problem: LearningProblem,
        config: TrainingConfig,
        settings: RunSettings,
        start: RunState | None,
    ) -> None:
        assert config.steps is not None
        assert config.interval is not None
        assert config.learning_rate is not None
        self.problem, self.config, self.settings = problem, config, settings
        self.peak, self.interval = config.learning_rate, config.interval
        self.steps = settings.stop_at or config.steps
        self.q = problem.start()
        self.objective = build_objective(
            config.objective,
            problem.spec,
            self.q,
            TermOptions(config.marginals, config.num_elements),
        )
        self.optimiser = Optimiser(self.q, learn_noise=problem.learn_noise)
        self.monitor = Monitor(problem, 0, settings.workers)  # one seed in all runs: they compare
        if start is not None:
            self.optimiser.load(start.tensors)
            self.objective.load(start.tensors)
        self.state = start or RunState(0, self._tensors())
        self._began, self._first = time.monotonic(), self.state.step

    def advance(self) -> None:
        """Steps up to the next multiple of the interval, then evaluate, save and report."""
        # multiples of the interval: a resumed run evaluates where an unbroken one would
        end = min(self.steps, (self.state.step // self.interval + 1) * self.interval)
        norm = math.nan
        for step in range(self.state.step, end):
            norm = self._step(step)
            if self._stop_requested():
                self._save(replace(self.state, step=step + 1, tensors=self._tensors()))
                raise KeyboardInterrupt
        snapshot = self.monitor(self.q)
        if not math.isfinite(snapshot.elbo):
            self._diverged(end)
        self.state = self._progress(end, snapshot)
        # before saving: resuming cuts surplus metrics off but cannot restore a lost line
        self._report(snapshot, norm)
        self._save(self.state)

    def _step(self, step: int) -> float:
        """One update; the gradient norm."""
        terms = loss_terms(
            self.problem, self.q, self.objective, self.config, step, self.settings.workers
        )
        self.optimiser.zero_grad()
        terms.loss.backward()  # type: ignore[no-untyped-call]
        # before the norm: either all processes see a divergence or none, else the others wait
        self.settings.workers.average_gradients(self.optimiser.parameters)
        norm = self.optimiser.gradient_norm()
        if not math.isfinite(norm):
            self._diverged(step)
        assert self.config.steps is not None
        self.optimiser.step(learning_rate(step, self.config.steps, self.peak, self.config.warmup))
        return norm

    def _tensors(self) -> dict[str, Tensor]:
        return {**self.optimiser.tensors(), **self.objective.tensors()}

    def _stop_requested(self) -> bool:
        stop = self.settings.stop
        # a collective call, made by all in every step: one process alone would wait forever
        return stop is not None and self.settings.workers.any(stop.received)

    def _diverged(self, step: int) -> None:
        # as of the last evaluation: the parameters since then may be infinite
        self._save(self.state)
        raise TrainingError(
            f"{self.settings.phase}: the objective is no longer finite at step {step}; "
            f"the state of step {self.state.step} is the last good one",
            code="training-diverged",
            hint="Try a smaller --learning-rate.",
        )

    def _objective(self, snapshot: Snapshot) -> float:
        return snapshot.elbo if self.config.objective == "elbo" else snapshot.symmetrized

    def _progress(self, step: int, snapshot: Snapshot) -> RunState:
        """The state after an evaluation: best value so far, and whether the run is over."""
        value = self._objective(snapshot)
        seen = (step, snapshot.elbo, snapshot.straddling_entropy)
        history = (*self.state.history, seen)
        state = replace(self.state, step=step, tensors=self._tensors(), history=history)
        # while weights are annealed another function is optimised: patience starts after that
        if value > state.best + self.config.tolerance or step <= self.config.annealed_steps:
            state = replace(state, best=value, best_step=step)
        patience = self.config.patience * self.interval
        stale = 0 < patience <= step - state.best_step and self.settings.stop_at is None
        return replace(state, finished=step >= self.steps or stale)

    def _noise_std(self) -> float | None:
        return math.exp(self.q.log_noise.item()) if self.problem.likelihood.has_noise else None

    def _save(self, state: RunState) -> None:
        self.state = state
        if self.settings.save is not None:
            self.settings.save(state)

    def _report(self, snapshot: Snapshot, norm: float) -> None:
        if not self.settings.workers.writes:
            return
        rate = (self.state.step - self._first) / max(1e-9, time.monotonic() - self._began)
        record = Record(
            phase=self.settings.phase,
            step=self.state.step,
            steps=self.steps,
            objective=self._objective(snapshot),
            elbo=snapshot.elbo,
            straddling_entropy=snapshot.straddling_entropy,
            log_likelihood=snapshot.log_likelihood,
            kl=snapshot.kl,
            # the rate of the update that led here
            learning_rate=learning_rate(
                self.state.step - 1, self.config.steps or 1, self.peak, self.config.warmup
            ),
            gradient_norm=norm,
            noise_std=self._noise_std(),
            steps_per_second=rate,
            eta_seconds=(self.steps - self.state.step) / max(rate, 1e-9),
        )
        for sink in self.settings.sinks:
            sink(record)
