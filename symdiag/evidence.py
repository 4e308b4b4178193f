"""Evidence and predictive scores of a posterior on data: what ``analyze --data`` adds to a report."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from symdiag.errors import UsageError
from symdiag.estimate import Estimate
from symdiag.posterior import Posterior
from symdiag.report.model import Elbo
from symdiag.symmetry.discovery import Symmetry
from symdiag.training.config import ModelConfig
from symdiag.training.data import Dataset, load_data

if TYPE_CHECKING:
    from torch import Tensor

    from symdiag.training.evaluation import EvaluationConfig
    from symdiag.training.learning_problem import Forward


@dataclass(frozen=True)
class Data:
    """Training data, test data and what turns outputs into a likelihood. ``target``: column of csv and parquet."""

    train: str | Path | Dataset
    test: str | Path | Dataset | None = None
    target: str | None = None
    model: ModelConfig = field(default_factory=ModelConfig)


def measure_evidence(
    posterior: Posterior,
    symmetry: Symmetry,
    data: Data,
    config: EvaluationConfig,
    *,
    device: str = "cpu",
    entropy: Estimate | None = None,
) -> tuple[Elbo, dict[str, float] | None]:
    """Both evidence bounds on the training data and the scores on the test data.

    The symmetrised bound is L + log|G| − H(g|ω) (Gelberg et al. 2024, Thm 4.1), in nats summed over the data.
    ``entropy`` is H(g|ω) where it is known already.

    Raises:
        UsageError: The forward pass is not determined, or no prior is known.
        InputError: The data do not fit the network.
    """
    from symdiag.training.evaluation import evaluate
    from symdiag.training.learning_problem import build_problem

    train = network_data(data.train, data.target, symmetry)
    test = None if data.test is None else network_data(data.test, data.target, symmetry)
    forward = forward_pass(posterior, symmetry)
    problem = build_problem(
        posterior, symmetry.spec, forward, data.model, train, test, device=device
    )
    found = evaluate(problem, problem.start(), config, entropy=entropy)
    elbo = Elbo(
        standard=found.elbo,
        symmetrized=found.symmetrized,
        expected_log_likelihood=found.log_likelihood,
        kl=found.kl,
        likelihood=data.model.likelihood,
        noise_std=found.noise_std,
    )
    if found.test is None:
        return elbo, None
    scores = {"nll": found.test.nll, found.test.metric_name: found.test.metric}
    return elbo, {**scores, "calibration_error": found.test.calibration_error}


def forward_pass(posterior: Posterior, symmetry: Symmetry) -> Forward:
    """The forward pass with the checkpoint's buffers alongside the drawn weights.

    Raises:
        UsageError: ``forward-undetermined``: neither the file nor the options say what the network computes.
    """
    import torch

    forward = symmetry.forward
    if forward is None:
        raise UsageError(
            "the network's outputs cannot be computed from the file alone",
            code="forward-undetermined",
            hint="give --activation for a plain chain, or the module with --model package.module:factory",
        )
    stored = {name: torch.from_numpy(value) for name, value in posterior.buffers.items()}

    def run(weights: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        first = next(iter(weights.values()))
        buffers = {
            name: value.to(first).expand(len(first), *value.shape) for name, value in stored.items()
        }
        outputs: Tensor = forward({**buffers, **weights}, inputs)
        return outputs

    return run


def network_data(data: str | Path | Dataset, target: str | None, symmetry: Symmetry) -> Dataset:
    """The data set, flattened to rows where the network is a chain that starts with a linear layer."""
    dataset = data if isinstance(data, Dataset) else load_data(data, target=target)
    if symmetry.network is not None and symmetry.network.is_mlp:
        return dataclasses.replace(dataset, inputs=dataset.inputs.reshape(len(dataset), -1))
    return dataset
