"""What data say of a posterior: the data sets read, the forward pass, and both evidence bounds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from symdiag.diagnostics.collapse import Setting
from symdiag.errors import UsageError
from symdiag.estimate import Estimate
from symdiag.objectives.likelihoods.interface import mixture_nll
from symdiag.posterior import Posterior
from symdiag.report.kinds.analyze import Elbo
from symdiag.symmetry.discovery import Symmetry
from symdiag.tasks.options import DataOptions, EstimationOptions, HeldOutOptions
from symdiag.training.config import EvaluationConfig, ModelConfig
from symdiag.training.data import Dataset, load_data
from symdiag.training.evaluation import evaluate
from symdiag.training.learning_problem import Forward, LearningProblem, Points, build_problem

DataSource: TypeAlias = Any
"""A file, a ``Dataset``, or a pair (inputs, targets) of arrays or tensors."""


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
    train = network_data(data, held_out.target, symmetry)
    test = None if held_out.test is None else network_data(held_out.test, held_out.target, symmetry)
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


def measure_evidence(
    posterior: Posterior,
    symmetry: Symmetry,
    given: DataOptions,
    model: ModelConfig,
    estimation: EstimationOptions,
    *,
    entropy: Estimate,
) -> tuple[Elbo | None, dict[str, float] | None]:
    """Both evidence bounds and the test scores; None where there are no data.

    The symmetrised bound is L + log|G| − H(g|ω) (Gelberg et al. 2024, Thm 4.1), in nats summed over
    the data.
    ``entropy`` is H(g|ω).
    """
    if given.data is None:
        return None, None
    problem = problem_of(posterior, symmetry, model, given.data, given, device=estimation.device)
    check_assumed_function(problem, symmetry)
    config = EvaluationConfig(
        seed=estimation.seed, precision=estimation.precision, budget=estimation.budget
    )
    found = evaluate(problem, problem.start(), config, entropy=entropy)
    elbo = Elbo(
        standard=found.elbo,
        symmetrized=found.symmetrized,
        expected_log_likelihood=found.log_likelihood,
        kl=found.kl,
        likelihood=model.likelihood,
        noise_std=found.noise_std,
    )
    if found.test is None:
        return elbo, None
    # the metric has the likelihood's own name: rmse, accuracy
    scores = {"nll": found.test.nll, found.test.metric_name: found.test.metric}
    return elbo, {**scores, "calibration_error": found.test.calibration_error}


def forward_pass(posterior: Posterior, symmetry: Symmetry) -> Forward:
    """The forward pass with the checkpoint's buffers alongside the drawn weights.

    Raises:
        UsageError: ``forward-undetermined``: neither the file nor the options say what the network
            computes.
    """
    forward = symmetry.forward
    if forward is None:
        raise UsageError(
            "the network's outputs cannot be computed from the file alone",
            code="forward-undetermined",
            hint="give --activation for a plain chain, or the module with --model "
            "package.module:factory",
        )
    stored = {name: torch.from_numpy(value) for name, value in posterior.buffers.items()}

    def run(weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        first = next(iter(weights.values()))
        # buffers have no draw axis: every draw of the weights sees the same ones
        buffers = {
            name: value.to(first).expand(len(first), *value.shape) for name, value in stored.items()
        }
        outputs: Tensor = forward({**buffers, **weights}, inputs)
        return outputs

    return run


def function_setting(
    posterior: Posterior, symmetry: Symmetry, given: DataOptions, seed: int
) -> Setting:
    """Where to look at the mean function: on the data that are given, else where the file allows."""
    if symmetry.forward is None:
        return Setting(seed=seed)
    inputs = None
    if given.data is not None:
        inputs = network_data(given.data, given.target, symmetry).inputs
    return Setting(forward_pass(posterior, symmetry), symmetry.network, inputs, seed)


def network_data(data: DataSource, target: str | None, symmetry: Symmetry) -> Dataset:
    """The data set, flattened to rows where the network is a chain of linear layers."""
    dataset = as_dataset(data, target)
    if symmetry.network is not None and symmetry.network.is_mlp:
        return dataclasses.replace(dataset, inputs=dataset.inputs.reshape(len(dataset), -1))
    return dataset


def as_dataset(data: DataSource, target: str | None = None) -> Dataset:
    """The data set that ``data`` is or names."""
    if isinstance(data, Dataset):
        return data
    if isinstance(data, str | Path):
        return load_data(data, target=target)
    inputs, targets = (
        np.asarray(part.detach().cpu() if isinstance(part, Tensor) else part, dtype=np.float64)
        for part in data
    )
    return Dataset(inputs, targets)
