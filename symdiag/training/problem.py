"""Everything a training step needs to know about the model and the data, as tensors on one device."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from symdiag.errors import InputError, UnsupportedError
from symdiag.objectives.likelihoods import Likelihood, find_likelihood
from symdiag.objectives.variational import FlatPrior, Layout, Variational
from symdiag.posterior import GaussianPrior, Posterior
from symdiag.symmetry.spec import PermutationSpec
from symdiag.training.config import ModelConfig
from symdiag.training.data import Dataset
from symdiag.training.prior import check_prior_invariance, resolve_prior

Forward = Callable[[Mapping[str, Tensor], Tensor], Tensor]
"""(name → (S, *shape), inputs (N, ...)) → outputs (S, N, d)."""

FLOAT64_LIMIT = 100_000  # parameters up to which everything is computed in float64


@dataclass(frozen=True)
class Points:
    """Inputs (N, ...) and prepared targets (N, ...)."""

    inputs: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index: Tensor | None) -> Points:
        """A subset; all points for None."""
        return self if index is None else Points(self.inputs[index], self.targets[index])


@dataclass(frozen=True)
class Problem:
    """A posterior to train on data: network, likelihood, prior, symmetry group.

    ``posterior`` is where training starts and the template of what is written; ``learn_noise`` makes
    the noise std of the gaussian likelihood a trained number (type-II maximum likelihood).
    """

    posterior: Posterior
    spec: PermutationSpec
    forward: Forward
    likelihood: Likelihood
    prior: GaussianPrior
    flat_prior: FlatPrior
    train: Points
    test: Points | None
    log_noise: float
    learn_noise: bool
    dtype: torch.dtype
    device: str

    def start(self) -> Variational:
        """A fresh trainable copy of the posterior."""
        return Variational.of(
            self.posterior, log_noise=self.log_noise, dtype=self.dtype, device=self.device
        )

    def log_likelihood(self, q: Variational, draws: Tensor, points: Points) -> Tensor:
        """Σ_n log p(y_n | x_n, ω_s) over ``points`` for draws (S, D) → (S,), nats, not rescaled."""
        return self.point_log_likelihood(q, draws, points).sum(-1)

    def point_log_likelihood(self, q: Variational, draws: Tensor, points: Points) -> Tensor:
        """log p(y_n | x_n, ω_s), (S, N)."""
        outputs = self.forward(q.layout.split(draws), points.inputs)
        log_noise = q.log_noise if self.learn_noise else q.log_noise.detach()
        return self.likelihood.log_prob(outputs, points.targets, log_noise)

    def draws(self, q: Variational, noise: Tensor) -> Tensor:
        """Reparameterised draws ω = μ + σ ε, (S, D)."""
        return q.loc + q.scale * noise


def build_problem(
    posterior: Posterior,
    spec: PermutationSpec,
    forward: Forward,
    model: ModelConfig,
    train: Dataset,
    test: Dataset | None = None,
    *,
    device: str = "cpu",
) -> Problem:
    """Check that posterior, data, likelihood and prior fit each other and put them on ``device``.

    Raises:
        UnsupportedError: Correlated posterior (``correlated-posterior``), or nothing random to train.
        SymmetryError: The prior is not invariant under the group (``prior-not-invariant``): L^G is then no bound.
        UsageError: No prior is known (``prior-unknown``) or its options name no tensor.
        InputError: The data do not fit the network (``bad-data``).
    """
    _check_trainable(posterior)
    prior = resolve_prior(posterior, model)
    check_prior_invariance(prior, posterior, spec)
    dtype = torch.float64 if posterior.num_parameters <= FLOAT64_LIMIT else torch.float32
    likelihood = find_likelihood(model.likelihood)
    prepare = _Preparation(posterior, forward, likelihood, dtype, device)
    points = prepare.points(train)
    return Problem(
        posterior=posterior,
        spec=spec,
        forward=forward,
        likelihood=likelihood,
        prior=prior,
        flat_prior=FlatPrior.of(prior, Layout.of(posterior), dtype=dtype, device=device),
        train=points,
        test=None if test is None else prepare.points(test),
        log_noise=prepare.log_noise(points, model),
        learn_noise=model.likelihood == "gaussian" and model.noise in (None, "learn"),
        dtype=dtype,
        device=device,
    )


def _check_trainable(posterior: Posterior) -> None:
    if posterior.covariance is not None:
        raise UnsupportedError(
            "retraining a posterior with correlated weights is not supported",
            code="correlated-posterior",
            hint="Only mean-field (diagonal) Gaussians can be written back after retraining.",
        )
    if not any((scale > 0).any() for scale in posterior.scale.values()):
        raise UnsupportedError(
            "every weight is deterministic: nothing to train", code="deterministic-weights"
        )


@dataclass(frozen=True)
class _Preparation:
    posterior: Posterior
    forward: Forward
    likelihood: Likelihood
    dtype: torch.dtype
    device: str

    def points(self, data: Dataset) -> Points:
        """Tensors of the data set, after one trial forward pass."""
        inputs = torch.tensor(data.inputs, dtype=self.dtype, device=self.device)
        targets = torch.tensor(data.targets, dtype=self.dtype, device=self.device)
        return Points(inputs, self.likelihood.targets(targets, self._outputs(inputs[:1]).shape[-1]))

    def log_noise(self, points: Points, model: ModelConfig) -> float:
        """Given, or where learning starts: the residual std of the mean network."""
        if model.likelihood != "gaussian":
            return 0.0
        if isinstance(model.noise, (int, float)):
            return math.log(model.noise)
        residual = self._outputs(points.inputs)[0] - points.targets
        return math.log(max(1e-3, float(residual.square().mean().sqrt())))

    def _outputs(self, inputs: Tensor) -> Tensor:
        weights = {
            name: torch.tensor(loc, dtype=self.dtype, device=self.device)[None]
            for name, loc in self.posterior.loc.items()
        }
        try:
            with torch.no_grad():
                outputs = self.forward(weights, inputs)
        except (RuntimeError, ValueError, IndexError) as error:
            first = str(error).splitlines()[0]
            raise InputError(
                f"the network cannot be evaluated on inputs of shape {tuple(inputs.shape[1:])}: {first}",
                code="bad-data",
                hint="The inputs (array X) must have the features that the network was trained on.",
            ) from error
        return outputs
