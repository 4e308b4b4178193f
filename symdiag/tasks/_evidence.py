"""What data say of a posterior: data sets read, forward pass, evidence, draws' likelihoods."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from symdiag.arrays import Array
from symdiag.diagnostics.collapse import Setting
from symdiag.diagnostics.diagnosis import Coverage
from symdiag.errors import UsageError
from symdiag.estimate import Estimate
from symdiag.objectives.likelihoods import check_noise, find_likelihood
from symdiag.objectives.likelihoods.interface import mixture_nll
from symdiag.objectives.variational import Variational
from symdiag.posterior import Posterior
from symdiag.report.kinds.analyze import Elbo
from symdiag.symmetry.discovery import Symmetry
from symdiag.tasks._kl_weight import read_kl_weight
from symdiag.tasks._network_data import DataSource, forward_pass, network_data
from symdiag.tasks.options import DataOptions, EstimationOptions, HeldOutOptions, MeterOptions
from symdiag.training.config import EvaluationConfig, ModelConfig
from symdiag.training.data import Dataset
from symdiag.training.evaluation import Evaluation, evaluate, shifted
from symdiag.training.importance import importance
from symdiag.training.learning_problem import LearningProblem, Points, build_problem
from symdiag.training.randomness import generator_for
from symdiag.workers import Workers

_CHUNK = 2_000_000  # weights times draws pushed through the network at a time


def problem_of(
    posterior: Posterior,
    symmetry: Symmetry,
    model: ModelConfig,
    data: DataSource,
    held_out: HeldOutOptions,
    *,
    device: str,
) -> LearningProblem:
    """Posterior, network, likelihood, prior and data, checked against each other.

    Raises:
        UsageError: The forward pass is not determined, or no prior is known.
        InputError: The data do not fit the network.
    """
    # both sets first: a misspelt file should not cost a forward pass
    train = network_data(data, held_out.target, posterior, symmetry)
    test = held_out.test
    if test is not None:
        test = network_data(test, held_out.target, posterior, symmetry)
    forward = forward_pass(posterior, symmetry)
    return build_problem(posterior, symmetry.spec, forward, model, train, test, device=device)


def check_assumed_function(problem: LearningProblem, symmetry: Symmetry) -> None:
    """Put a forward pass that was only assumed to the test of the training data.

    A posterior was trained to predict them. If neither its mean nor its mixture over draws is
    likelier than the best constant output, the network is in all likelihood another one.

    Raises:
        UsageError: ``network-assumed``.
    """
    known = symmetry.provenance
    if known.source != "assumed" and not known.function:
        return
    points = problem.train.take(_some(len(problem.train)))
    q = problem.start()
    noise = torch.randn((32, len(q.loc)), generator=torch.Generator().manual_seed(0)).to(q.loc)
    with torch.no_grad():
        candidates = (q.loc[None], problem.draws(q, noise))  # (1, D), (32, D)
        found = [mixture_nll(problem.point_log_likelihood(q, w, points)) for w in candidates]
        outputs = problem.forward(q.layout.split(q.loc[None]), points.inputs)  # (1, N, d)
    constant = _constant_nll(problem, outputs[:, :1], points)
    if min(found) >= constant:
        raise UsageError(
            f"read as a plain chain, the network predicts no better than a constant (training NLL "
            f"{min(found):.3g} against {constant:.3g} nats per point)",
            code="network-assumed",
            hint="it is probably another network: give the module with --model package.module:"
            "factory, or check --activation and --likelihood",
        )


def _some(count: int, most: int = 4096) -> Tensor | None:
    """Evenly spaced points of a large data set; None for all."""
    return None if count <= most else torch.linspace(0, count - 1, most).long()


def _constant_nll(problem: LearningProblem, start: Tensor, points: Points) -> float:
    """NLL per point of the best constant output (and noise, where it is learned), nats."""
    output = start.mean(0, keepdim=True).clone().requires_grad_()  # (1, 1, d)
    log_noise = torch.tensor(problem.log_noise, dtype=output.dtype, device=output.device)
    free = [output, log_noise.requires_grad_()] if problem.learn_noise else [output]
    search = torch.optim.LBFGS(free, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        constant = output.expand(1, len(points), -1)
        value = -problem.likelihood.log_prob(constant, points.targets, log_noise).mean()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    search.step(loss)  # type: ignore[no-untyped-call]
    return float(loss().detach())


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What the data say of one posterior; ``evaluation`` holds the draws, for paired comparison."""

    elbo: Elbo | None = None
    test: dict[str, float] | None = None
    coverage: tuple[Coverage, ...] = ()
    evaluation: Evaluation | None = None


def measure_evidence(
    posterior: Posterior,
    symmetry: Symmetry,
    given: DataOptions,
    model: ModelConfig,
    estimation: EstimationOptions,
    *,
    entropy: Estimate,
    meter: MeterOptions,
    workers: Workers | None = None,
) -> Evidence:
    """Both evidence bounds, importance weights and the test scores; nothing where there are no data.

    The symmetrised bound is L + log|G| − H(g|ω) (Gelberg et al. 2024, Thm 4.1), in nats summed over
    the data.
    ``entropy`` is H(g|ω).
    """
    if given.data is None:
        return Evidence()
    marginals = posterior.replace(covariance=None)
    problem = problem_of(marginals, symmetry, model, given.data, given, device=estimation.device)
    check_assumed_function(problem, symmetry)
    config = EvaluationConfig(
        seed=estimation.seed, precision=estimation.precision, budget=estimation.budget
    )
    q = problem.start()
    noise = None if posterior.is_mean_field else _correlated_noise(posterior, problem, q, config)
    found = evaluate(problem, q, config, entropy=entropy, noise=noise, workers=workers)
    # the evaluation's KL is that of the marginals
    extra = posterior.total_correlation()
    elbo = Elbo(
        standard=shifted(found.elbo, -extra),
        symmetrized=shifted(found.symmetrized, -extra),
        expected_log_likelihood=found.log_likelihood,
        kl=found.kl + extra,
        likelihood=model.likelihood,
        noise_std=found.noise_std,
        # its densities are a mean-field posterior's
        importance=None
        if noise is not None
        else importance(problem, q, config, found.draws, workers),
        kl_weight=read_kl_weight(problem, posterior, symmetry, model, meter, estimation.seed),
    )
    if found.test is None:
        return Evidence(elbo, evaluation=found)
    # the metric has the likelihood's own name: rmse, accuracy
    scores = {"nll": found.test.nll, found.test.metric_name: found.test.metric}
    scores["calibration_error"] = found.test.calibration_error
    return Evidence(elbo, scores, found.coverage, found)


def _correlated_noise(
    posterior: Posterior, problem: LearningProblem, q: Variational, config: EvaluationConfig
) -> Tensor:
    """Draws (S, D) as multiples of the marginal stds, so that they go where independent ones go."""
    generator = generator_for(config.seed, "evaluation", 8)
    draws = posterior.sample(generator, config.samples)
    flat = np.concatenate(
        [draws[name].reshape(config.samples, -1) for name, _ in q.layout.shapes], axis=1
    )
    scale = q.layout.join(problem.posterior.scale)
    moved = flat - q.layout.join(problem.posterior.loc)
    noise = np.divide(moved, scale, out=np.zeros_like(moved), where=scale > 0)
    return torch.from_numpy(noise).to(problem.flat_prior.loc)


def function_setting(
    posterior: Posterior, symmetry: Symmetry, given: DataOptions, seed: int
) -> Setting:
    """Where to look at the mean function: on the data that are given, else where the file allows."""
    if symmetry.forward is None:
        return Setting(seed=seed)
    inputs = None
    if given.data is not None:
        inputs = network_data(given.data, given.target, posterior, symmetry).inputs
    return Setting(forward_pass(posterior, symmetry), symmetry.chain, inputs, seed)


class Evaluator:
    """The network's outputs and likelihood on one data set.

    Args:
        forward: ``Symmetry.forward``: (weights with a leading draw axis, inputs (N, ...)) → outputs
            (S, N, d).
        posterior: tells the number of outputs.
        data: inputs and targets.
        likelihood: name of a likelihood; None takes categorical for integer labels of several
            classes, else gaussian.
        noise: noise std, where the likelihood has one; 1 by default.

    Raises:
        UsageError: the forward pass is not known.
        InputError: targets that the likelihood or the network cannot take (``bad-data``).
    """

    def __init__(
        self,
        forward: Callable[..., Any] | None,
        posterior: Posterior,
        data: Dataset,
        likelihood: str | None = None,
        noise: float | None = None,
    ) -> None:
        if forward is None:
            raise UsageError(
                "the data cannot be evaluated: the network's forward pass is not known",
                code="forward-undetermined",
                hint="give --activation, or --model package.module:factory",
            )
        self._forward = forward
        self._inputs = torch.as_tensor(data.inputs)
        # (N, d): only the network knows how many outputs there are
        outputs = self.outputs(posterior).shape[-1]
        self._likelihood = find_likelihood(likelihood or _guess(data, outputs))
        check_noise(self._likelihood, noise)
        self._targets = self._likelihood.targets(torch.as_tensor(data.targets), outputs)
        # float64: what is reported are differences of log densities
        self._log_noise = torch.tensor(math.log(noise or 1.0), dtype=torch.float64)

    @property
    def likelihood(self) -> str:
        """Name of the likelihood in use."""
        return self._likelihood.name

    def outputs(self, posterior: Posterior) -> Array:
        """Outputs (N, d) at the means."""
        # the posterior's own buffers: aligning moves running statistics with their units
        weights = {**posterior.buffers, **posterior.loc}
        result: Array = self._run(
            {name: np.asarray(array)[None] for name, array in weights.items()}
        )[0].numpy()
        return result

    def log_likelihood(self, draws: Mapping[str, Array]) -> Array:
        """Pointwise, nats: draws (S, *shape) → (S, N)."""

        def one(part: Mapping[str, Array]) -> Array:
            outputs = self._run(part)
            found: Array = self._likelihood.log_prob(
                outputs, self._targets, self._log_noise
            ).numpy()
            return found

        return _in_chunks(one, draws)

    def outputs_of(self, draws: Mapping[str, Array]) -> Array:
        """The network's outputs: draws (S, *shape) → (S, N, d)."""
        return _in_chunks(lambda part: np.asarray(self._run(part)), draws)

    def _run(self, draws: Mapping[str, Array]) -> Any:
        weights = {name: torch.tensor(array) for name, array in draws.items()}
        with torch.no_grad():
            outputs = self._forward(weights, self._inputs)
        # (S, N, ...) -> (S, N, d)
        return outputs.reshape(*outputs.shape[:2], -1).to(torch.float64)


def _in_chunks(one: Callable[[Mapping[str, Array]], Array], draws: Mapping[str, Array]) -> Array:
    """``one`` over the draw axis, so many draws at a time that their weights fit into memory."""
    count = len(next(iter(draws.values())))
    # Draws go through the network side by side, as many as memory allows.
    step = max(1, _CHUNK // max(1, sum(a[0].size for a in draws.values())))
    parts = [one({n: a[s : s + step] for n, a in draws.items()}) for s in range(0, count, step)]
    return np.concatenate(parts)


def _guess(data: Dataset, outputs: int) -> str:
    # whole numbers as targets of several outputs are classes, not a regression onto one of them
    labels = data.targets
    return (
        "categorical"
        if outputs > 1 and labels.ndim == 1 and (labels == np.round(labels)).all()
        else "gaussian"
    )


def relative_change(before: Array, after: Array) -> float:
    """Largest difference relative to the largest output."""
    # the floor is for a network that computes zero everywhere
    return float(np.abs(before - after).max() / max(np.abs(before).max(), 1e-300))
